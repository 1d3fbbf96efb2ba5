"""The inspector in a real browser: whoever looks at it, and however, sees all of it; nothing runs or leaves.

All pages are visited that links lead to, from the list of conversations on.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Literal
from urllib.parse import urldefrag, urljoin

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.e2e.inspector.conftest import HOSTILE
from tests.inspector.conftest import Visitor

#: More pages than what has happened there can have.
_MOST = 200
_OF_EACH = 2
#: Of a message or an exchange anywhere, of a conversation at the end alone.
_ID = re.compile(r"(?<=/)[0-9a-f]{16,}(?=/|$)|(?<=_)[0-9a-f]{16,}/?$")
Scheme = Literal["light", "dark"]
_LISTEN = """addEventListener('securitypolicyviolation',
    event => console.error('REFUSED ' + event.violatedDirective + ' ' + event.blockedURI))"""


class Watched:
    """A page, and what a browser has to say of it. `asked`: what was loaded; `said`: errors and warnings."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.said: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("console", lambda line: self.said.append(line.text))
        page.on("pageerror", lambda error: self.said.append(str(error)))
        page.on("dialog", lambda dialog: self.said.append(f"a dialog: {dialog.message}"))


@asynccontextmanager
async def watched(
    browser: Browser, *, scheme: Scheme = "light", scripts: bool = True
) -> AsyncIterator[Watched]:
    context: BrowserContext = await browser.new_context(
        viewport={"width": 1280, "height": 900}, color_scheme=scheme, java_script_enabled=scripts
    )
    try:
        await context.add_init_script(_LISTEN)
        page = await context.new_page()
        page.set_default_timeout(10_000)
        yield Watched(page)
    finally:
        await context.close()


async def visited(page: Page, root: str) -> AsyncIterator[str]:
    """The address of each page, once the browser is there; of pages alike (messages of one chat, say)
    the first two."""
    waiting, seen, alike = [root], {root}, Counter[str]()
    while waiting:
        address = waiting.pop(0)
        response = await page.goto(address)
        assert response is not None
        assert response.status == 200, address
        yield address
        for link in await page.locator("a[href]").all():
            href = urldefrag(urljoin(address, await link.get_attribute("href") or ""))[0]
            path, is_asked, _values = href.partition("?")
            kind = _ID.sub("*", path) + is_asked
            if href not in seen and not re.search("format=(json|csv)|/export|/request$", href):
                seen.add(href)
                alike[kind] += 1
                if alike[kind] <= _OF_EACH:
                    waiting.append(href)
        assert len(seen) < _MOST, "links without an end"


async def serious(page: Page, axe: str) -> list[tuple[str, list[str]]]:
    """What shuts people out of this page."""
    await page.evaluate(axe)
    found = await page.evaluate("axe.run()")
    return [
        (each["id"], [node["html"][:200] for node in each["nodes"]])
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nobody_is_shut_out_and_nothing_is_beyond_the_edge(
    visitor: Visitor, browser: Browser, axe: str, scheme: Scheme
):
    async with watched(browser, scheme=scheme) as at:
        async for address in visited(at.page, visitor.root):
            found = await serious(at.page, axe)
            assert not found, (address, found)
            for width in (360, 1280):
                await at.page.set_viewport_size({"width": width, "height": 900})
                wide = await at.page.evaluate("document.documentElement.scrollWidth")
                assert wide <= width, (address, wide)


async def test_nothing_runs_that_was_said_and_nothing_leaves(visitor: Visitor, browser: Browser):
    async with watched(browser) as at:
        seen = ""
        async for address in visited(at.page, visitor.root):
            assert await at.page.title() != "run", address
            await unfolded(at.page)
            seen += await at.page.locator("body").inner_text()
        assert not at.said
        assert all(each.startswith((visitor.root, "data:image/")) for each in at.asked), at.asked
        assert HOSTILE[:40] in seen, "it was never shown"


async def test_without_scripts_the_pages_say_the_same(visitor: Visitor, browser: Browser):
    async with watched(browser) as with_scripts, watched(browser, scripts=False) as without:
        async for address in visited(without.page, visitor.root):
            await with_scripts.page.goto(address)
            plain = await without.page.locator("body").inner_text()
            assert await with_scripts.page.locator("body").inner_text() == plain
            assert len(plain) > 40


async def test_the_keyboard_alone_leads_from_the_list_to_what_went_where(visitor: Visitor, browser: Browser):
    async with watched(browser) as at:
        await at.page.goto(visitor.root)
        await tabbed_to(at.page, "Plan a weekend in Lisbon.")
        await at.page.keyboard.press("Enter")
        await at.page.wait_for_url("**/c/**")
        assert "Lisbon" in await at.page.locator("h1").inner_text()
        await tabbed_to(at.page, "what went where")
        await at.page.keyboard.press("Enter")
        await at.page.get_by_role("heading", name="What went where").wait_for()


async def test_every_page_has_a_twin_in_json(visitor: Visitor, browser: Browser):
    async with watched(browser, scripts=False) as at:
        async for address in visited(at.page, visitor.root):
            twin = await visitor.http.get(address + ("&" if "?" in address else "?") + "format=json")
            assert twin.status == 200, address
            assert json.loads(await twin.text()), address


async def unfolded(page: Page) -> None:
    await page.evaluate("for (const each of document.querySelectorAll('details')) each.open = true")


async def tabbed_to(page: Page, text: str) -> None:
    """Press Tab until a link with these words has the focus, which has to be seen."""
    for _ in range(60):
        await page.keyboard.press("Tab")
        told = await page.evaluate(
            """(() => { const at = document.activeElement, style = getComputedStyle(at);
                const is_seen = style.outlineStyle != 'none' && style.outlineWidth != '0px';
                return [at.innerText || '', is_seen] })()"""
        )
        if told[0].strip() == text:
            assert told[1], "the focus cannot be seen"
            return
    raise AssertionError(f"no Tab leads to {text!r}")
