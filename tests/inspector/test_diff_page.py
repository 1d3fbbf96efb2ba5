"""In which words a prompt differs from the one before: to be read, where it is kept."""

from __future__ import annotations

import asyncio
import json

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Sent
from sidecar.exchange.client_request import ClientRequest, packed_request
from sidecar.inspector import diff_page as differing
from sidecar.inspector.diff_page import diff_page
from sidecar.inspector.reading import exchange_page
from sidecar.inspector.render import as_html
from sidecar.inspector.restored import copies_of, pair_of
from sidecar.inspector.system_diff import system_diff
from sidecar.store import MemoryStore
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.inspector.test_tree_shape import stem
from tests.proxy.mock_upstream import Upstream, says
from tests.proxy.path.test_outcomes import CALL, RESPELLED, RESULT, template
from tests.store.trees import TENANT, chat, exchange, message, question, talk, update


async def last_diff(visitor: Visitor, key: str = "a"):
    """The page of the newest exchange of this chat, and the way to it."""
    path = await opened(visitor, key)
    last = (await visitor.value(path))["entries"][-1]["exchange"]["id"]
    return await visitor.value(f"{path}x/{last}/diff"), f"{path}x/{last}"


def changes(part):
    return [(each["kind"], each["text"]) for each in part["changes"] if each["kind"] != "same"]


def system(text):
    return {"role": "system", "content": text}


def asked(*texts):
    return [{"role": ("user", "assistant")[at % 2], "content": text} for at, text in enumerate(texts)]


async def test_an_edited_question_is_told_word_by_word(visitor: Visitor, upstream: Upstream):
    upstream.will(says("Hello."), says("Green."), says("Blue."))
    await visitor.sidecar.ask("Hi!", id="a")
    await visitor.sidecar.ask("Hi!", "Hello.", "What is green here?", id="a")
    await visitor.sidecar.ask("Hi!", "Hello.", "What is blue here?", id="a")
    page, way = await last_diff(visitor)
    (part,) = page["parts"]
    assert (part["title"], part["note"]) == ("Message 3", "user, then user.")
    assert changes(part) == [("out", " green"), ("in", " blue")]
    html = (await visitor.get(f"{way}/diff")).text
    assert "What is<del> green</del><ins> blue</ins> here?" in html
    assert f'href="{way.rpartition("/")[2]}/diff"' in (await visitor.get(way)).text


async def test_a_clock_in_the_system_prompt_is_told(visitor: Visitor, upstream: Upstream):
    upstream.will(says("Hello."), says("Yes."))
    await visitor.sidecar.ask(system("Be kind. It is 10:01."), *asked("Hi!"), id="a")
    await visitor.sidecar.ask(system("Be kind. It is 10:02."), *asked("Hi!", "Hello.", "So?"), id="a")
    page, _ = await last_diff(visitor)
    (part,) = page["parts"]
    assert (page["cause"], part["title"]) == ("system", "The system prompt")
    assert part["note"].startswith("Only numbers differ")
    assert changes(part) == [("out", "01"), ("in", "02")]


async def test_of_many_system_prompts_the_first_and_the_last_are_compared(
    visitor: Visitor, upstream: Upstream
):
    said = ["Hi!"]
    for at in range(4):
        upstream.will(says(f"answer {at}"))
        await visitor.sidecar.ask(system(f"It is 10:0{at}."), *asked(*said), id="a")
        said += [f"answer {at}", f"question {at}"]
    page, _ = await last_diff(visitor)
    (part,) = page["parts"]
    assert part["note"].startswith("Of the system prompts of a conversation the first and the last are kept")
    assert changes(part) == [("out", "00"), ("in", "03")]


@pytest.mark.parametrize("is_kept", [False, True])
async def test_a_clock_is_shown_on_the_page_of_its_exchange_itself(visit, upstream: Upstream, is_kept: bool):
    visitor = await visit(inspector={"keep_requests": "all" if is_kept else "none"})
    said, rules = ["Hi!"], "Be kind, and brief. " * 20
    for at in range(4):
        upstream.will(says(f"answer {at}"))
        await visitor.sidecar.ask(system(f"{rules}It is 10:0{at}. {rules}"), *asked(*said), id="a")
        said += [f"answer {at}", f"question {at}"]
    path = await opened(visitor, "a")
    third = (await visitor.value(path))["entries"][5]["exchange"]["id"]
    page = await visitor.value(f"{path}x/{third}")
    told = [(each["kind"], each["text"]) for each in page["system_changes"]]
    assert [each for each in told if each[0] != "same"] == (
        [("out", "01"), ("in", "02")] if is_kept else [("out", "00"), ("in", "03")]
    )
    assert max(len(text) for _kind, text in told) < 70
    assert "Only numbers differ, such as those of a clock" in page["system_note"]
    assert ("the first and the last are kept" in page["system_note"]) is not is_kept
    first, second = ("01", "02") if is_kept else ("00", "03")
    assert f"It is 10:<del>{first}</del><ins>{second}</ins>." in (await visitor.get(f"{path}x/{third}")).text


async def test_a_request_that_is_not_what_went_is_not_compared():
    store = MemoryStore()
    nodes = chat("a", "b", "c")
    before, now = (
        exchange("conv_1", nodes[at], at=at, detail=Detail(system=bytes([at]) * 16)) for at in (1, 2)
    )
    for each in (before, now):
        await store.record(update(talk(), *nodes, exchange=each))
    bodies = [b'{"messages": [{"role": "system", "content": "x"}, {"role": "user"}]}', b"[]"]
    for each, body in zip((before, now), bodies, strict=True):
        packed = packed_request(ClientRequest("/v1/chat/completions"), body, 1000)
        await store.keep_request("conv_1", each.id, packed, most=10_000)
    assert await system_diff(store, TENANT, before, now) is None
    page = await exchange_page(store, "conv_1", now.id)
    assert (page.system, page.system_changes) == ("other than in the exchange before", ())
    assert "their words are not kept" in as_html("exchange.html", "./", page=page).decode()


async def test_where_nothing_differs_that_is_kept_that_is_said(visitor: Visitor, upstream: Upstream):
    upstream.will(says("Hello."), says("Yes."))
    await visitor.sidecar.ask("Hi!", id="a")
    await visitor.sidecar.ask("Hi!", "Hello.", "So?", id="a", model="other")
    page, way = await last_diff(visitor)
    assert page["parts"] == []
    assert "No message that both asked reads otherwise" in (await visitor.get(f"{way}/diff")).text


async def test_without_an_exchange_before_there_is_no_page(visitor: Visitor):
    await visitor.sidecar.ask("Hi!", id="a")
    path = await opened(visitor, "a")
    (first,) = [each["exchange"]["id"] for each in (await visitor.value(path))["entries"] if each["exchange"]]
    assert "no exchange before" in (await visitor.get(f"{path}x/{first}/diff")).text
    assert (await visitor.get(f"{path}x/{'00' * 10}/diff")).status == 404
    assert (await visitor.get(f"c/conv_x/x/{'00' * 10}/diff")).status == 404


@pytest.mark.parametrize("damaged", [False, True])
async def test_messages_that_say_the_same_are_compared_as_they_are_stored(damaged, monkeypatch):
    fields = {"role": "user", "content": "x"}
    ask, *others = question("hi"), message(fields), message({**fields, "name": "ada"})
    if damaged:
        others[1] = replace(others[1], body=b"[1]")
    store = MemoryStore()
    before, now = (exchange("conv_1", each, at=at) for at, each in enumerate(others))
    await store.record(update(talk(), ask, *others, exchange=before))
    await store.record(update(talk(), exchange=now))
    (part,) = (await diff_page(store, "conv_1", now.id)).parts
    assert any(each.kind == "in" for each in part.changes)
    monkeypatch.setattr(differing, "_LARGE", 3)
    (part,) = (await diff_page(store, "conv_1", now.id)).parts
    assert (part.changes, part.note) == ((), "One of the two is too large to be compared.")


async def test_a_path_that_only_grew_has_nothing_to_compare():
    store = MemoryStore()
    nodes = chat("a", "b", "c")
    before, now = exchange("conv_1", nodes[0], at=1), exchange("conv_1", nodes[2], at=2)
    await store.record(update(talk(), *nodes, exchange=before))
    await store.record(update(talk(), exchange=now))
    assert (await diff_page(store, "conv_1", now.id)).parts == ()


async def respelled(visitor: Visitor, upstream: Upstream) -> None:
    upstream.will(says(None, tool_calls=[CALL]), says("It is 5"))
    await visitor.sidecar.ask("add", headers=template("m1", "u1"))
    echo = {"role": "assistant", "content": "", "tool_calls": [RESPELLED]}
    reply = await visitor.sidecar.ask(
        {"role": "system", "content": "Be kind."}, *asked("add"), echo, RESULT, headers=template("m1", "u1")
    )
    assert reply.headers["X-Sidecar-Restored"] == "1"


async def test_what_the_client_made_of_an_answer_is_told_word_by_word_where_its_request_is_kept(
    visit, upstream: Upstream
):
    visitor = await visit(inspector={"keep_requests": "all"})
    await respelled(visitor, upstream)
    (key,) = [each["key"] for each in (await visitor.value())["rows"]]
    async with asyncio.timeout(10):
        while not (page := (await last_diff(visitor, key))[0])["restored"]:
            await asyncio.sleep(0.01)
    (part,) = page["restored"]
    assert part["title"] == "Message 2: assistant"
    own, kept = (
        json.loads("".join(each["text"] for each in part["changes"] if each["kind"] != other))
        for other in ("in", "out")
    )
    assert (own["tool_calls"], kept["tool_calls"]) == ([RESPELLED], [CALL])
    _, way = await last_diff(visitor, key)
    assert "What was restored in this exchange" in (await visitor.get(f"{way}/diff")).text
    assert "/diff#restored" in (await visitor.get(way)).text


async def test_without_the_request_nothing_is_said_of_what_the_client_made_of_an_answer(
    visitor: Visitor, upstream: Upstream
):
    await respelled(visitor, upstream)
    (key,) = [each["key"] for each in (await visitor.value())["rows"]]
    page, way = await last_diff(visitor, key)
    assert page["restored"] == []
    assert "#restored" not in (await visitor.get(way)).text


STEMS = [stem("q"), stem("a", role="assistant", source="upstream"), stem("t", role="tool"), stem("n")]
SENT = exchange("conv_1", None, detail=Detail(sent=Sent("restored"), restored=1))


def told(*roles: str) -> bytes:
    return json.dumps({"messages": [{"role": each, "content": each} for each in roles]}).encode()


def test_a_copy_is_paired_with_what_stands_in_its_place():
    pairs = copies_of(SENT, STEMS, told("system", "user", "assistant", "tool", "user"))
    assert [(each.number, each.stem.id, each.sent["content"]) for each in pairs] == [
        (2, STEMS[1].id, "assistant"),
        (3, STEMS[2].id, "tool"),
    ]
    assert [each.number for each in copies_of(SENT, STEMS, told("tool", "user"))] == [3], "its end alone"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"messages": 5}',
        b'{"messages": [5]}',
        b"[" * 100_000,
        told("user", "user", "tool", "user"),
        told("user", "user", "assistant", "tool", "user"),
    ],
)
def test_where_it_is_not_sure_which_message_a_copy_is_of_none_is_compared(body: bytes):
    assert copies_of(SENT, STEMS, body) == []


def test_only_of_what_went_in_its_stored_form_copies_are_looked_at():
    for detail in (Detail(), Detail(sent=Sent("client"))):
        assert copies_of(replace(SENT, detail=detail), STEMS, told("tool", "user")) == []


def test_copies_that_say_the_same_are_compared_whole():
    (copy,) = copies_of(SENT, STEMS, told("tool", "user"))
    node = question("tool", role="tool")
    assert pair_of(copy, node) is None
    own, kept = pair_of(copy, replace(node, body=b'{"role":"tool","content":"tool","name":"x"}')) or ("", "")
    assert ('"name"' in own, '"name": "x"' in kept) == (False, True)
    assert pair_of(copy, replace(node, body=b"7")) is None
