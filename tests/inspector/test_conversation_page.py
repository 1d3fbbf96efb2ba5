"""One conversation as people read it."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from contextlib import suppress

import pytest
from aiohttp import ClientError

from sidecar.conversation.overview import Outline
from sidecar.conversation.tree import Conversation
from sidecar.inspector.conversation_page import PAGE, page_of, window_of
from sidecar.inspector.exchange_line import line_of
from sidecar.inspector.text import conversation_text
from tests.inspector.conftest import Visitor
from tests.inspector.test_tree_shape import stem
from tests.proxy.mock_upstream import CUT, Upstream, completion, event, says, sends, streams
from tests.store.trees import exchange, question

CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Oslo"}'}}
IMAGE = "data:image/png;base64," + base64.b64encode(b"\x89PNG\r\n\x1a\n").decode()


async def opened(visitor: Visitor, key: str) -> str:
    """The way to the page of the conversation with this key."""
    rows = (await visitor.value())["rows"]
    (id,) = (each["id"] for each in rows if each["key"] == key)
    return f"c/{id}/"


def texts(page):
    return [
        "".join(piece["text"]["seen"] + piece["text"]["rest"] for piece in entry["message"]["pieces"])
        for entry in page["entries"]
    ]


async def test_a_conversation_is_read_from_its_first_message_to_its_last(
    visitor: Visitor, upstream: Upstream
):
    upstream.will(says("Hello."), says("So it is."))
    await visitor.sidecar.ask("Hi!", id="a")
    system = {"role": "system", "content": "Be kind."}
    history = ({"role": "user", "content": "Hi!"}, {"role": "assistant", "content": "Hello."})
    await visitor.sidecar.ask(system, *history, {"role": "user", "content": "A day."}, id="a")

    path = await opened(visitor, "a")
    page = await visitor.value(path)
    assert texts(page) == ["Hi!", "Hello.", "A day.", "So it is."]
    assert [(each["message"]["role"], each["message"]["number"]) for each in page["entries"]] == [
        ("user", 1),
        ("assistant", 2),
        ("user", 3),
        ("assistant", 4),
    ]
    assert [each["exchange"] and each["exchange"]["outcome"] for each in page["entries"]] == [
        None,
        "start",
        None,
        "continue",
    ]
    assert "Be kind." in page["system"]["seen"]
    html = (await visitor.get(path)).text
    assert "Messages 1 to 4 of 4 on this branch" in html
    assert html.index("Hi!") < html.index("Hello.") < html.index("So it is.")


async def test_the_foot_of_an_exchange_tells_what_it_cost(visitor: Visitor, upstream: Upstream):
    usage = {
        "prompt_tokens": 200,
        "completion_tokens": 30,
        "prompt_tokens_details": {"cached_tokens": 150},
    }
    body = json.loads(completion("Hello.")) | {"usage": usage}
    upstream.will(sends(json.dumps(body).encode(), headers={"Content-Type": "application/json"}))
    await visitor.sidecar.ask("Hi!", id="a")

    path = await opened(visitor, "a")
    (line,) = (each["exchange"] for each in (await visitor.value(path))["entries"] if each["exchange"])
    assert (line["input_tokens"], line["cached"], line["output_tokens"], line["status"]) == (200, 75, 30, 200)
    html = (await visitor.get(path)).text
    assert "in 200 (75 % cached)" in html
    assert "out 30" in html
    (row,) = (await visitor.value())["rows"]
    assert row["last"] == line


async def test_branches_are_counted_and_lead_to_each_other(visitor: Visitor, upstream: Upstream):
    upstream.will(says("Red."), says("Blue."), says("Cold."))
    await visitor.sidecar.ask("A colour?", id="a")
    await visitor.sidecar.ask("A colour?", id="a")
    await visitor.sidecar.ask("A colour?", "Blue.", "And the sea?", id="a")

    path = await opened(visitor, "a")
    page = await visitor.value(path)
    assert texts(page) == ["A colour?", "Blue.", "And the sea?", "Cold."]
    beside = page["entries"][1]["beside"]
    assert (beside["number"], beside["of"], beside["after"]) == (2, 2, None)
    assert [(each["messages"], each["depth"], each["is_shown"]) for each in page["runs"]] == [
        (1, 0, True),
        (1, 1, False),
        (3, 1, True),
    ]
    assert [each["words"] for each in page["runs"]] == ["A colour?", "Red.", "Blue."]
    assert '<span class="about" dir="auto">Red.</span>' in (await visitor.get(path)).text
    other = await visitor.value(f"{path}?at={beside['before']}")
    assert texts(other) == ["A colour?", "Red."]
    assert f'href="?at={beside["before"]}"' in (await visitor.get(path)).text


async def test_calls_reasoning_and_results_of_tools_are_folded(visitor: Visitor, upstream: Upstream):
    upstream.will(
        says(None, finish="tool_calls", tool_calls=[CALL], reasoning_content="Look it up."), says("Cold.")
    )
    await visitor.sidecar.ask("Oslo?", id="a")
    tool = {"role": "tool", "tool_call_id": "call_1", "content": "-3"}
    asked = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    await visitor.sidecar.ask({"role": "user", "content": "Oslo?"}, asked, tool, id="a")

    path = await opened(visitor, "a")
    page = await visitor.value(path)
    kinds = [
        [(piece["kind"], piece["title"]) for piece in each["message"]["pieces"]] for each in page["entries"]
    ]
    assert kinds == [
        [("text", "")],
        [("reasoning", "reasoning_content"), ("call", "weather call_1")],
        [("text", "result of call_1")],
        [("text", "")],
    ]
    html = (await visitor.get(path)).text
    assert html.count('<details class="fold') == 2
    assert "Look it up." in html


async def test_an_image_is_shown_and_a_link_to_one_is_text(visitor: Visitor):
    parts = [
        {"type": "text", "text": "What is it?"},
        {"type": "image_url", "image_url": {"url": IMAGE}},
        {"type": "image_url", "image_url": {"url": "https://example.org/x.png"}},
    ]
    await visitor.sidecar.ask({"role": "user", "content": parts}, id="a")

    html = (await visitor.get(await opened(visitor, "a"))).text
    assert f'<img src="{IMAGE}"' in html
    assert html.count("<img") == 1
    assert "https://example.org/x.png" in html


async def test_a_reply_that_broke_off_is_marked(visitor: Visitor, upstream: Upstream):
    upstream.will(streams(event({"role": "assistant", "content": "The sea is"}), CUT))
    with suppress(ClientError):
        await visitor.sidecar.ask("Of the sea.", id="a", stream=True)
    for _ in range(200):
        if (await visitor.value())["total"]:
            break
        await asyncio.sleep(0.01)
    path = await opened(visitor, "a")
    page = await visitor.value(path)
    assert [each["message"]["state"] for each in page["entries"]] == ["complete", "failed"]
    assert page["entries"][1]["exchange"]["error"] == "upstream_broke_off"
    assert '<span class="bad">upstream_broke_off</span>' in (await visitor.get(path)).text
    assert (await visitor.value())["rows"][0]["errors"] == 1


async def test_what_failed_stands_where_it_was_asked(visitor: Visitor, upstream: Upstream):
    upstream.will(says("Hello."), sends(b'{"error":{"code":"rate_limit_exceeded"}}', status=429))
    await visitor.sidecar.ask("Hi!", id="a")
    await visitor.sidecar.ask("Hi!", "Hello.", "More.", id="a")
    path = await opened(visitor, "a")

    failed: list[str] = []
    for _ in range(200):  # it is recorded once the client has its answer
        entries = (await visitor.value(path))["entries"]
        if failed := [each["error"] for entry in entries for each in entry["failed"]]:
            break
        await asyncio.sleep(0.01)
    assert failed == ["rate_limit_exceeded"]
    assert [each["asked_more"] for each in entries] == [False, True]
    # It is none of the answer before it.
    html = (await visitor.get(path)).text
    assert html.index("</article>") < html.index("asked after message 2:") < html.index("no answer:")


def test_in_the_terminal_what_failed_stands_with_its_question_or_alone():
    stems = [stem("a"), stem("b", "a", role="assistant", source="upstream"), stem("c", "b")]
    store_of = Conversation("conv_1", b"t" * 16, "a", 1.0, 1.0)
    behind, in_vain, unread = (
        exchange("conv_1", None, parent=stems[number].id, error=error)
        for number, error in [(1, "refused"), (2, "upstream_error"), (2, None)]
    )
    window = window_of(Outline(store_of, tuple(stems)), None, None)
    page = page_of(store_of, window, {}, {}, [unread, in_vain, behind], None)
    lines = [re.sub(" · in 3 .*--exchange.*", "", line) for line in conversation_text(page).split("\n")]
    alone = lines.index("asked after message 2:")
    assert lines[alone - 1 : alone + 4] == [
        "",
        "asked after message 2:",
        "    -- no answer: continue · error refused",
        "",
        "3. user, 1970-01-01 00:00:01",
    ]
    assert lines[-3:-1] == [
        "    -- no answer: continue · error upstream_error",
        "    -- no answer is kept: continue",
    ]


async def test_a_conversation_that_is_gone_says_so(visitor: Visitor):
    page = await visitor.get("c/conv_gone/")
    assert page.status == 404
    assert "it was deleted, or never was here" in page.text
    assert (await visitor.get("c/conv_gone/?format=json")).json["error"]["code"] == "not_found"


async def test_a_message_that_is_not_there_says_so(visitor: Visitor):
    await visitor.sidecar.ask("Hi!", id="a")
    path = await opened(visitor, "a")
    for way, status in (
        (f"{path}?at={'00' * 24}", 404),
        (f"{path}?at=xyz", 400),
        (f"{path}m/{'00' * 24}", 404),
        (f"{path}m/00", 400),
        (f"{path}x/{'00' * 10}", 404),
        (f"{path}x/zz", 400),
        (f"{path}?from=99999", 200),
        (f"{path}?from=-1", 200),
    ):
        assert (way, (await visitor.get(way)).status) == (way, status)


async def test_who_looked_is_said(visitor: Visitor, caplog):
    await visitor.sidecar.ask("Hi!", id="a")
    path = await opened(visitor, "a")
    with caplog.at_level("INFO", "sidecar.inspector"):
        await visitor.get(path)
    (said,) = (each for each in caplog.records if each.message == "looked at")
    assert (said.conversation, said.page, said.by) == (path[2:-1], "conversation", "127.0.0.1")
    assert visitor.door.token not in caplog.text


def outline(many):
    stems, parent = [], None
    for at in range(many):
        stems.append(stem(f"n{at}", parent))
        parent = f"n{at}"
    return Outline(Conversation("a", b"t", None, 1.0, 2.0), tuple(stems))


@pytest.mark.parametrize("opaque", [False, True])
async def test_it_says_by_which_name_the_upstream_knows_the_chat(visit, upstream: Upstream, opaque: bool):
    visitor: Visitor = await visit(session={"opaque": opaque})
    await visitor.sidecar.ask("hi", id="mine")
    await visitor.sidecar.ask("hi", headers={"X-OpenWebUI-Chat-Id": "theirs"})
    named, added = (each.headers for each in upstream.requests)
    by_key = {each["key"]: each["id"] for each in (await visitor.value())["rows"]}

    for key, got in (("mine", named["X-Conversation-ID"]), ("theirs", added["X-OpenWebUI-Chat-Id"])):
        html = (await visitor.get(f"c/{by_key[key]}/")).text
        assert got == (by_key[key] if opaque else key)
        one = f"session upstream <b>{got}</b>"
        assert (
            f"id, and {one}" if opaque else f"{one} in the header in which the client named the chat"
        ) in html
    assert added["X-Conversation-ID"] == by_key["theirs"], "the id in any other"


def test_a_long_path_is_shown_in_windows_that_lead_to_each_other():
    whole = outline(100)
    window = window_of(whole, None, None)
    page = page_of(whole.conversation, window, {}, {}, [], None)
    assert (page.start, page.end, page.length) == (100 - PAGE, 100, 100)
    assert (page.earlier, page.later) == (100 - 2 * PAGE, None)
    front = page_of(whole.conversation, window_of(whole, None, 0), {}, {}, [], None)
    assert (front.start, front.earlier, front.later) == (0, None, PAGE)
    assert [each.message.number for each in front.entries] == list(range(1, PAGE + 1))


def test_the_message_that_is_asked_for_is_in_the_window():
    whole = outline(100)
    window = window_of(whole, whole.stems[50].id, None)
    assert whole.stems[50] in window.shown
    assert len(window.path) == 100


def test_a_conversation_without_messages_has_a_page():
    whole = outline(0)
    page = page_of(whole.conversation, window_of(whole, None, None), {}, {}, [], None)
    assert (page.entries, page.at, page.start) == ((), "", 0)


def test_what_is_too_large_for_the_page_is_told_by_its_size():
    stems = (stem("a", size=2 << 20), *(stem(f"b{at}", size=1 << 20) for at in range(10)))
    whole = Outline(Conversation("a", b"t", None, 1.0, 2.0), stems)
    line = [window_of(whole, each.id, None) for each in stems]
    assert line[0].readable == ()
    assert line[1].readable == (stems[1].id,)
    page = page_of(whole.conversation, line[0], {}, {}, [], None)
    assert page.entries[0].message.problem == "it is too large for this page"


def test_of_many_large_messages_so_many_are_read_as_there_is_room_for():
    stems, parent = [], None
    for at in range(12):
        stems.append(stem(f"n{at}", parent, size=1 << 20))
        parent = f"n{at}"
    whole = Outline(Conversation("a", b"t", None, 1.0, 2.0), tuple(stems))
    window = window_of(whole, None, None)
    assert len(window.readable) == 8
    page = page_of(whole.conversation, window, {}, {}, [], None)
    assert page.entries[-1].message.problem == "this page is full"


def test_a_line_of_an_exchange_without_numbers_has_none():
    line = line_of(exchange("a", question("hi"), input_tokens=None))
    assert (line.cached, line.cached_tokens, line.error) == (None, None, "")
