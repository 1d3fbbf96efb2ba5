"""A chat forked at a message goes on by an id of its own, and the first one stays as it is."""

from __future__ import annotations

import logging

import pytest

from sidecar.conversation.records import Summary
from sidecar.errors import BadRequest, NotFound
from sidecar.inspector.fork import fork
from sidecar.store import MemoryStore, make_store
from tests.inspector.conftest import Visitor
from tests.inspector.test_actions import origin_of
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import Upstream, says
from tests.store.conftest import made as made
from tests.store.conftest import store as store
from tests.store.trees import TENANT, chat, exchange, reply, talk, thread, update


async def test_it_holds_what_was_said_up_to_there_and_nothing_else(store):
    nodes = chat("hi", "hello", "and?", "no")
    other = reply("hey", nodes[0])
    done = exchange("conv_1", nodes[0], nodes[1])
    about = talk(key="mine", system=b"digest", tip=nodes[3].id, full=True)
    known = thread(nodes[0], nodes[3], is_whole=True)
    await store.record(update(about, *nodes, other, system=b"[1]", exchange=done, thread=known))
    summary = Summary(nodes[0].hash, "It began.", "m", 1.0)
    await store.add_summary("conv_1", summary)
    before = await store.snapshot("conv_1")

    made = await fork(store, "conv_1", nodes[1].id, now=9.0)
    found = await store.snapshot(made.id)
    assert found.conversation == made
    assert (made.key or "").startswith("fork-")
    assert (made.tenant, made.tip, made.full, made.created_at) == (TENANT, nodes[1].id, False, 9.0)
    assert found.nodes == tuple(nodes[:2])
    assert (found.system, found.exchanges, found.summaries) == ((b"[1]", b"[1]"), (), (summary,))
    (told,) = found.threads
    assert (told.root, told.head, told.system) == (nodes[0].id, nodes[1].id, known.system)
    assert (told.is_thin, told.is_whole, told.is_answered) == (True, False, True)
    assert await store.snapshot("conv_1") == before


async def test_two_forks_are_two(store):
    nodes = chat("hi", "hello")
    await store.record(update(talk(), *nodes))
    one, other = [await fork(store, "conv_1", nodes[0].id) for _ in range(2)]
    assert one.id != other.id
    assert (await store.snapshot(one.id)).threads[0].is_answered is False
    await store.delete(one.id)
    assert [each.id async for each in store.conversations()] == ["conv_1", other.id]


async def test_a_long_one_is_forked_step_by_step_and_wholly_or_not_at_all(monkeypatch):
    class Failing(MemoryStore):
        steps = 0

        async def messages(self, conversation, nodes):
            self.steps += 1
            return [] if self.steps == 3 else await super().messages(conversation, nodes)

    monkeypatch.setattr("sidecar.inspector.fork._STEP", 3)
    store = Failing()
    nodes = chat(*map(str, range(8)))
    await store.record(update(talk(), *nodes))
    with pytest.raises(NotFound, match="just now"):
        await fork(store, "conv_1", nodes[7].id)
    assert [each.id async for each in store.conversations()] == ["conv_1"]
    made = await fork(store, "conv_1", nodes[7].id)
    assert await store.tree(made.id) == nodes


async def test_what_is_not_there_or_broke_off_or_is_too_large_is_not_forked(monkeypatch):
    store = make_store(None)
    nodes = chat("hi")
    broken = reply("I was", nodes[0], state="failed")
    await store.record(update(talk(), *nodes, broken))
    with pytest.raises(BadRequest, match="broke off"):
        await fork(store, "conv_1", broken.id)
    with pytest.raises(NotFound):
        await fork(store, "conv_1", b"x" * 24)
    with pytest.raises(NotFound):
        await fork(store, "conv_2", nodes[0].id)
    monkeypatch.setattr("sidecar.inspector.fork._LARGEST", 3)
    with pytest.raises(BadRequest, match="too much to fork"):
        await fork(store, "conv_1", nodes[0].id)


async def forked(visitor: Visitor, way: str, number: int):
    """The page of the fork behind message `number`, from 0."""
    value = await visitor.value(way)
    message = value["entries"][number]["message"]["id"]
    asked = await visitor.get(f"{way}m/{message}/fork")
    assert f"behind message {number + 1}?" in asked.text
    assert asked.headers["Referrer-Policy"] == "same-origin"
    url = f"{visitor.root}{way}m/{message}/fork"
    done = await visitor.send("POST", url, headers={"Origin": origin_of(visitor)})
    assert done.status == 303
    return done.headers["Location"].removeprefix("../../../../")


@pytest.mark.parametrize("mode", ["append", "auto"])
async def test_a_client_goes_on_in_the_fork_by_its_id(visitor: Visitor, upstream: Upstream, mode, caplog):
    caplog.set_level(logging.INFO)
    system = {"role": "system", "content": "Be kind."}
    upstream.will(says("hello"), says("fine"), says("in the fork"), says("in the first"))
    await visitor.sidecar.ask(system, {"role": "user", "content": "hi"}, id="a")
    said = ({"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"})
    await visitor.sidecar.ask(system, *said, {"role": "user", "content": "how?"}, id="a")
    first = await opened(visitor, "a")
    place = await forked(visitor, first, 1)
    page = await visitor.get(place)
    key = page.text.partition("X-Conversation-ID: ")[2].partition("<")[0]
    assert (page.status, key[:5]) == (200, "fork-")
    assert "forked" in [record.message for record in caplog.records]

    headers = {"X-Sidecar-History": mode}
    reply = await visitor.sidecar.ask(system, {"role": "user", "content": "why?"}, id=key, headers=headers)
    assert reply.outcome == "append"
    assert upstream.requests[-1].said == ["Be kind.", "hi", "hello", "why?"]
    await visitor.sidecar.ask("and?", id="a", headers={"X-Sidecar-History": "append"})
    assert upstream.requests[-1].said[-4:] == ["hello", "how?", "fine", "and?"]
    assert (await visitor.value())["total"] == 2


async def test_one_that_sends_its_history_goes_on_too(visitor: Visitor, upstream: Upstream):
    upstream.will(says("hello"), says("fine"), says("good"))
    await visitor.sidecar.ask("hi", id="a")
    await visitor.sidecar.ask("hi", "hello", "how?", id="a")
    place = await forked(visitor, await opened(visitor, "a"), 3)
    key = (await visitor.value(place))["key"]
    reply = await visitor.sidecar.ask("hi", "hello", "how?", "fine", "and?", id=key)
    assert (reply.outcome, upstream.requests[-1].said[-1]) == ("continue", "and?")
    assert (await visitor.value(place))["messages"] == 6


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}])
async def test_nobody_elsewhere_can_fork(visitor: Visitor, upstream: Upstream, headers):
    await visitor.sidecar.ask("hi", id="a")
    way = await opened(visitor, "a")
    message = (await visitor.value(way))["entries"][0]["message"]["id"]
    page = await visitor.send("POST", f"{visitor.root}{way}m/{message}/fork", headers=headers)
    assert page.status == 403
    assert (await visitor.value())["total"] == 1
