"""What others that do this job were seen to get wrong, one test for each fault: whose is what?"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import ClientSession

from sidecar.settings import Settings
from tests.proxy.client import CHAT, Sidecar, chat
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    Exchange,
    Upstream,
    completion,
    says,
    sends,
)

CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 2,  "b": 3}'}}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "5"}


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


async def test_another_key_with_the_same_id_does_not_get_the_history(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("my secret", id="a", headers=bearer("alice"))
    reply = await sidecar.ask("what did I say?", id="a", headers=bearer("mallory"))
    assert upstream.last.said == ["what did I say?"]
    assert reply.outcome == "start"
    assert len(await sidecar.stored()) == 2


async def test_the_id_that_another_key_was_told_opens_nothing(sidecar: Sidecar, upstream: Upstream):
    told_id = (await sidecar.ask("my secret", headers=bearer("alice"))).headers["X-Conversation-ID"]
    reply = await sidecar.ask("and?", id=told_id, headers=bearer("mallory"))
    assert upstream.last.said == ["and?"]
    assert reply.outcome == "start"
    mine = await sidecar.ask("and?", id=told_id, headers=bearer("alice"))
    assert upstream.last.said == ["my secret", "ok", "and?"]
    assert mine.outcome == "append"


async def test_keys_that_begin_alike_are_two_tenants(sidecar: Sidecar, upstream: Upstream):
    common = "sk-" + "x" * 100
    await sidecar.ask("my secret", id="a", headers=bearer(common + "1"))
    await sidecar.ask("what did I say?", id="a", headers=bearer(common + "2"))
    assert upstream.last.said == ["what did I say?"]


async def test_another_user_behind_the_same_key_does_not_get_the_history(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("my secret", id="a", headers={**bearer("k"), "X-User-ID": "alice"})
    await sidecar.ask("and?", id="a", headers={**bearer("k"), "X-User-ID": "mallory"})
    assert upstream.last.said == ["and?"]
    await sidecar.ask("and?", id="a", headers={**bearer("k"), "X-User-ID": "alice"})
    assert upstream.last.said == ["my secret", "ok", "and?"]


@pytest.mark.parametrize("id", ["../../x", "/etc/passwd", "..\\..\\x", "a%2F..%2Fb", "' OR 1=1 --"])
async def test_an_id_like_a_path_is_a_key_and_nothing_else(
    sidecar: Sidecar, upstream: Upstream, tmp_path: Path, id: str
):
    around = set(tmp_path.parent.iterdir())
    await sidecar.ask("hi", id=id)
    await sidecar.ask("and?", id=id)
    assert upstream.last.said == ["hi", "ok", "and?"]
    assert upstream.last.headers["X-Conversation-ID"] == id
    assert (await sidecar.only()).key == id
    assert {each.name for each in tmp_path.iterdir()} <= {
        "sidecar.db",
        "sidecar.db-wal",
        "sidecar.db-shm",
        "sidecar.db-turns",
    }
    assert set(tmp_path.parent.iterdir()) == around


def test_by_default_only_this_machine_is_served():
    assert Settings(upstream="demo").listen_host == "127.0.0.1"


async def test_nobody_can_tell_an_id_from_the_first_message(sidecar: Sidecar):
    ids = [(await sidecar.ask("hi")).headers["X-Conversation-ID"] for _ in range(3)]
    assert len(set(ids)) == 3
    assert all(len(id) >= 32 for id in ids)


async def test_the_credential_is_not_stored(sidecar: Sidecar, tmp_path: Path):
    await sidecar.ask("hi", id="a", headers={**bearer("sk-very-secret"), "X-User-ID": "alice@example.org"})
    for each in tmp_path.iterdir():
        kept = each.read_bytes()
        assert b"sk-very-secret" not in kept
        assert b"alice@example.org" not in kept


async def test_nothing_is_put_into_a_chat_that_named_no_conversation(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says(None, tool_calls=[CALL]), says("It is 5"))
    await sidecar.ask("add", headers=bearer("a"))
    assistant = {"role": "assistant", "content": None, "tool_calls": [CALL]}
    await sidecar.ask("add", assistant, RESULT, headers=bearer("a"))
    body = json.dumps({"model": "m", "messages": chat("add", "It is 5", "and?")}).encode()
    await sidecar.send("POST", CHAT, data=body, headers=bearer("a"))
    assert upstream.last.body == body
    await sidecar.send("POST", CHAT, data=body, headers=bearer("b"))
    assert upstream.last.body == body


@pytest.mark.parametrize("fallback", ["match", "hash"])
async def test_without_an_id_another_key_or_first_message_is_another_conversation(
    start: Start, fallback: str
):
    sidecar = await start(identity={"fallback": fallback})
    ids = {
        (await sidecar.ask(text, headers=bearer(key))).headers["X-Conversation-ID"]
        for text in ("hi", "hello")
        for key in ("alice", "bob")
    }
    assert len(ids) == 4
    assert len(await sidecar.stored()) == 4


@pytest.mark.parametrize(
    ("one", "other"),
    [("a_b", "a-b"), ("A", "a"), ("a", "a."), ("x" * 59 + "1", "x" * 59 + "2"), ("y" * 255 + "1", "y" * 256)],
)
async def test_ids_that_look_alike_are_two_conversations(
    sidecar: Sidecar, upstream: Upstream, one: str, other: str
):
    await sidecar.ask("said to one", id=one)
    await sidecar.ask("said to the other", id=other)
    assert upstream.last.said == ["said to the other"]
    assert {each.key for each in await sidecar.stored()} == {one, other}


async def test_a_cancelled_request_does_not_spoil_a_kept_connection(sidecar: Sidecar, upstream: Upstream):
    """Else the rest of one user's answer is read as the answer to another's question."""

    async def echo(exchange: Exchange) -> None:
        text = exchange.request.said[-1]
        half = completion(f"secret of {text}" * 500)
        await sends(half[:400], 0.003, half[400:])(exchange)

    upstream.otherwise = echo

    async def ask(http: ClientSession, number: int) -> None:
        body = json.dumps({"messages": chat(f"user {number}")}).encode()
        async with http.post(sidecar.url + CHAT, data=body, headers=bearer(f"key {number}")) as response:
            text = (await response.json())["choices"][0]["message"]["content"]
            assert text == f"secret of user {number}" * 500

    async with ClientSession() as http:
        for round in range(8):
            asked = [asyncio.create_task(ask(http, round * 10 + number)) for number in range(10)]
            await asyncio.sleep(0.001 * round)
            for task in asked[::2]:
                task.cancel()
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [each for each in results if not isinstance(each, asyncio.CancelledError | None)] == []
    for each in await sidecar.stored():
        assert not each.texts[1:] or each.texts[1].startswith(f"secret of {each.texts[0]}")


async def test_an_answer_that_nobody_asked_for_is_nobodys_answer(sidecar: Sidecar, upstream: Upstream):
    """Else what an upstream says on an idle connection is read as the answer to whoever comes next."""
    said = asyncio.Event()

    async def says_more(exchange: Exchange) -> None:
        await sends(completion("mine"))(exchange)
        await asyncio.sleep(0.05)  # the answer is read, and the connection kept
        await sends(completion("a stranger's"))(exchange)
        said.set()

    upstream.will(says_more)
    await sidecar.ask("hi", headers=bearer("one"))
    await said.wait()
    await asyncio.sleep(0.05)
    reply = await sidecar.ask("hi", headers=bearer("two"))
    assert reply.json["choices"][0]["message"]["content"] == "ok"
    assert upstream.last.headers["Authorization"] == "Bearer two"
