"""What is live in a real browser: it follows what happens while somebody looks, and can be held."""

from __future__ import annotations

import asyncio

from playwright.async_api import Browser, expect

from tests.e2e.inspector.test_pages import serious, watched
from tests.inspector.conftest import Visitor
from tests.proxy.mock_upstream import Upstream, event, says, streams

HALF = event({"role": "assistant", "content": "half an"})
REST = event({"content": " answer"}, finish="stop")


async def test_an_open_stream_comes_and_goes_by_itself(
    visitor: Visitor, upstream: Upstream, browser: Browser, axe: str
):
    end = asyncio.Event()
    async with watched(browser) as at:
        await at.page.goto(f"{visitor.root}live")
        await expect(at.page.get_by_text("Nothing is being answered now")).to_be_visible()
        upstream.will(streams(HALF, end, REST))
        asking = asyncio.ensure_future(visitor.sidecar.ask("hi", id="open", stream=True))
        row = at.page.get_by_role("row").filter(has_text="open")
        await expect(row).to_contain_text("more of the answer")
        before = await row.inner_text()
        await expect(row).not_to_have_text(before)  # its age
        assert not await serious(at.page, axe)
        end.set()
        await asking
        await expect(at.page.get_by_text("Nothing is being answered now")).to_be_visible()
        assert not at.said


async def test_the_list_moves_up_what_was_used_and_says_how_many_are_new(
    visitor: Visitor, upstream: Upstream, browser: Browser
):
    async with watched(browser) as at:
        await at.page.goto(visitor.root)
        link = at.page.get_by_role("link", name="Plan a weekend in Lisbon.")
        await link.focus()
        upstream.will(says("Sure."))
        await visitor.sidecar.ask("Something new?", id="newest")
        await expect(at.page.locator("tbody tr").first).to_contain_text("Something new?")
        await expect(at.page.get_by_role("status")).to_have_text("1 used since you opened this page")
        await expect(at.page).to_have_title("(1) Conversations - sidecar")
        await expect(link).to_be_focused()

        await at.page.get_by_role("button", name="Pause updates of this page").click()
        upstream.will(says("Yes."))
        await visitor.sidecar.ask("While it is held?", id="held")
        await asyncio.sleep(4)
        await expect(at.page.get_by_text("While it is held?")).to_have_count(0)
        await at.page.get_by_role("button", name="Pause updates of this page").click()
        await expect(at.page.locator("tbody tr").first).to_contain_text("While it is held?")
        assert not at.said


async def test_a_sidecar_that_is_gone_is_said(visitor: Visitor, browser: Browser):
    async with watched(browser) as at:
        await at.page.goto(f"{visitor.root}live")
        await at.page.route("**/live*", lambda route: route.abort())
        await expect(at.page.get_by_role("status")).to_have_text(
            "Not up to date: the sidecar does not answer."
        )


async def test_a_chat_is_forked_by_a_click(visitor: Visitor, browser: Browser):
    async with watched(browser) as at:
        await at.page.goto(visitor.root)
        await at.page.get_by_role("link", name="Plan a weekend in Lisbon.").click()
        await at.page.get_by_role("link", name="fork").first.click()
        await at.page.get_by_role("button", name="Fork it").click()
        await expect(at.page.get_by_role("status")).to_contain_text("X-Conversation-ID: fork-")
        await expect(at.page.get_by_text("Messages 1 to 1 of 1 on this branch")).to_be_visible()
        assert not at.said
