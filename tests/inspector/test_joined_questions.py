"""Questions that no answer parts: of a client that sends only what is new, the upstream gets them as one."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.commands.verify import wrongs
from sidecar.store import make_store
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.inspector.test_thin_exchange import CALL, TOOLS
from tests.proxy.mock_upstream import Upstream, says, sends


async def page_of_last(visitor: Visitor) -> Any:
    path = await opened(visitor, "a")
    last = (await visitor.value(path))["entries"][-1]["exchange"]["id"]
    return await visitor.value(f"{path}x/{last}")


def rows(page):
    return [(each["first"], each["last"], each["client"], each["upstream"]) for each in page["groups"]]


IN_ONE = "not as a message of its own"


async def test_a_question_behind_a_call_without_a_result_is_said_to_stand_in_the_one_before(
    visit, upstream: Upstream
):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(says("Hi."), says(None, tool_calls=[CALL], finish="tool_calls"))
    for question in ("Hello!", "Rome?", "Paris?"):
        await visitor.sidecar.ask(question, id="a", tools=TOOLS)

    assert upstream.last.said == ["Hello!", "Hi.", "Rome?\n\nParis?"]
    joined = await page_of_last(visitor)
    assert rows(joined) == [
        (1, 3, "not sent", "put in as stored"),
        (4, 4, "not sent", "left out"),
        (5, 5, "sent", IN_ONE),
    ]
    assert joined["groups"][2]["why"] == "its words stand in the question before it"
    assert (joined["cause"], joined["difference"]) == ("joined", 3)
    assert joined["why_difference"].startswith("Two questions are one message here")

    await visitor.sidecar.ask("Bonn?", id="a", tools=TOOLS)
    after = await page_of_last(visitor)
    assert (5, 5, "not sent", IN_ONE) in rows(after)
    assert after["cause"] == "grown"


@pytest.mark.parametrize("status", [429, 500])
async def test_a_question_that_failed_is_not_said_to_be_sent_with_the_one_that_follows(
    visit, upstream: Upstream, status: int
):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(says("Hi."), sends(b"{}", status=status))
    for question in ("Hello!", "Rome?", "Paris?"):
        await visitor.sidecar.ask(question, id="a")

    assert upstream.last.said == ["Hello!", "Hi.", "Rome?\n\nParis?"]
    page = await page_of_last(visitor)
    assert rows(page) == [
        (1, 2, "not sent", "put in as stored"),
        (3, 3, "sent before, and not answered", "as it came"),
        (4, 4, "sent", IN_ONE),
    ]
    assert page["cause"] == "joined"


async def failed_ones(visitor: Visitor, number: int) -> list[tuple[int, str, Any]]:
    """Exchanges without a reply, each with the number of the message under which it is told."""
    path = await opened(visitor, "a")
    async with asyncio.timeout(10):  # they are recorded once the client has its answer
        while True:
            entries = (await visitor.value(path))["entries"]
            found = [(one["message"]["number"], path, each) for one in entries for each in one["failed"]]
            if len(found) >= number:
                return found
            await asyncio.sleep(0.01)


async def test_a_question_that_is_kept_without_an_answer_is_that_of_the_exchange_that_failed(
    visit, upstream: Upstream
):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(says("Hi."), *[sends(b"{}", status=503)] * 2)
    for question in ("Hello!", "Rome?", "Rome?"):
        await visitor.sidecar.ask(question, id="a")

    first, second = await failed_ones(visitor, 2)
    assert (first[0], second[0]) == (3, 3)
    assert [each["outcome"] for _, _, each in (first, second)] == ["append", "retry"]
    page = await visitor.value(f"{first[1]}x/{first[2]['id']}")
    assert page["unstored"] == ""
    assert rows(page) == [(1, 2, "not sent", "put in as stored"), (3, 3, "sent", "as it came")]


async def test_an_exchange_names_nothing_of_a_question_that_was_refused(visit, upstream: Upstream):
    visitor: Visitor = await visit(history={"mode": "append"}, trim={"max_messages": 2})
    upstream.will(says("Hi."), sends(b"{}", status=503), *[sends(b"{}", status=400)] * 5)
    for question in ("Hello!", "Rome?", "Paris?"):
        await visitor.sidecar.ask(question, id="a")

    assert upstream.last.said[-1] == "Rome?\n\nParis?"
    (_, (number, path, refused)) = await failed_ones(visitor, 2)
    assert number == 3
    page = await visitor.value(f"{path}x/{refused['id']}")
    assert page["groups"][-1]["last"] == 3
    store = make_store(visitor.sidecar.settings.store_path)
    await store.open()
    try:
        whole = await store.snapshot(page["conversation"])
        assert whole is not None
        assert list(wrongs(whole, store.secret)) == []
    finally:
        await store.close()
