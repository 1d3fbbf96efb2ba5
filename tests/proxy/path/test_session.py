"""Under which name the upstream knows a conversation, which no client can say in the sidecar's place."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

import pytest
from aiohttp import WSServerHandshakeError

from tests.proxy.client import CHAT, Sidecar, chat, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says, waits

HERMES = "X-Hermes-Session-Id"
OWN = {"headers": [HERMES]}
VICTIM = "conv_" + "0" * 32


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(session=OWN)


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        (CHAT, {"X-Sidecar-History": "off"}),
        (CHAT, {"X-Sidecar-History": "append"}),
        (CHAT, {"X-Task": "title"}),
        (CHAT, {"X-Conversation-ID": "temporary:1"}),
        (CHAT, {"X-Conversation-ID": "channel:1", "X-OpenWebUI-User-Id": "ada"}),
        (CHAT, {"X-Conversation-ID": "a"}),
        (CHAT, {}),
        (CHAT + "/", {}),
        ("/v1/responses", {}),
        ("/v1/models", {}),
        ("/elsewhere", {"X-Conversation-ID": "a"}),
    ],
)
async def test_what_a_client_puts_into_the_sidecars_header_reaches_nobody(
    sidecar: Sidecar, upstream: Upstream, path: str, headers: dict[str, str]
):
    body = json.dumps({"messages": chat("hi")}).encode()
    await sidecar.send("POST", path, data=body, headers={HERMES.upper(): VICTIM, **headers})
    said = upstream.last.headers.getall(HERMES, [])
    assert VICTIM not in said
    assert len(said) <= 1


async def test_nor_does_it_over_a_websocket(sidecar: Sidecar, upstream: Upstream):
    headers = {HERMES: VICTIM, "X-Other": "1"}
    with pytest.raises(WSServerHandshakeError):  # this upstream speaks none
        await sidecar.http.ws_connect(f"{sidecar.url}/v1/realtime", headers=headers)
    assert HERMES not in upstream.last.headers
    assert upstream.last.headers["X-Other"] == "1"


async def test_nor_with_tasks_that_go_elsewhere_or_with_the_id(start: Start, upstream: Upstream):
    for more in ({}, {"upstream": upstream.url}):
        sidecar = await start(session=OWN, tasks={"forward_id": True, **more})
        await sidecar.ask("title?", id="a", headers={"X-Task": "title", HERMES: VICTIM})
        assert HERMES not in upstream.last.headers
        assert upstream.last.headers["X-Conversation-ID"] == "a"


async def test_it_names_the_chat_of_its_own_tenant(sidecar: Sidecar, upstream: Upstream):
    async def ask(key: str, *messages: str) -> str:
        reply = await sidecar.ask(*messages, headers={HERMES: "mine", "Authorization": key})
        return f"{reply.outcome} {upstream.last.headers[HERMES]}"

    outcome, session = (await ask("k", "hi")).split()
    assert (outcome, session[:5]) == ("start", "conv_")
    assert await ask("k", "hi", "ok", "and?") == f"continue {session}"
    other = await ask("l", "hi", "ok", "and?")
    assert other.startswith("start conv_")
    assert other != f"start {session}"
    assert {each.key for each in await sidecar.stored()} == {"mine"}


async def test_a_header_that_agents_send_by_themselves_is_no_sign_of_a_client_that_sends_only_what_is_new(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask("one", headers={HERMES: "login"})
    first = upstream.last.headers[HERMES]
    reply = await sidecar.ask("two", headers={HERMES: "login"})
    assert (reply.outcome, upstream.last.said) == ("start", ["two"])
    second = upstream.last.headers[HERMES]
    assert second != first  # two chats of one login are two sessions
    reply = await sidecar.ask("two", "ok", "more", headers={HERMES: "login"})
    assert (reply.outcome, upstream.last.headers[HERMES]) == ("continue", second)
    reply = await sidecar.ask("one", "ok", "more", headers={HERMES: "login"})
    assert (reply.outcome, upstream.last.headers[HERMES]) == ("continue", first)


@pytest.mark.parametrize("name", ["X-Session-Affinity", "x-session-id", "session_id"])
async def test_agents_name_their_chats_without_being_told_to(start: Start, upstream: Upstream, name: str):
    sidecar = await start()
    named = {name: "ses_1"}
    for messages in (["one"], ["one", "ok", "more"], ["two"]):
        await sidecar.ask(*messages, headers=named)
        assert upstream.last.headers.getall(name) == ["ses_1"]  # who knows the chat by that name still does
    first, again, other = (each.headers["X-Conversation-ID"] for each in upstream.requests)
    assert first == again != other
    assert [each.key for each in await sidecar.stored()] == ["ses_1", "ses_1"]

    reply = await sidecar.ask("hi", id="a", headers=named)  # a chat header wins
    assert (reply.headers["X-Conversation-ID"], reply.outcome) == ("a", "start")
    reply = await sidecar.ask("hi", headers={name: "x" * 300})
    assert (reply.status, reply.outcome) == (200, "start")


async def test_a_task_goes_without_the_agents_name_of_the_chat(start: Start, upstream: Upstream):
    named = {"X-Task": "title", "X-Session-Affinity": "ses_1", "session_id": "ses_1"}
    sidecar = await start()
    await sidecar.ask("title?", headers=named)
    assert "ses_1" not in upstream.last.headers.values()
    sidecar = await start(tasks={"forward_id": True, "upstream": upstream.url})
    await sidecar.ask("title?", headers=named)
    assert upstream.last.headers["session_id"] == "ses_1"


async def test_opencodes_title_and_first_turn_come_together(start: Start, upstream: Upstream):
    """Both have the same id; the title may end first, or last, or its prompt may have been rewritten."""
    tools = [{"type": "function", "function": {"name": "bash", "parameters": {"type": "object"}}}]
    usual = "You are a title generator. You output ONLY a thread title. Nothing else."
    sidecar = await start()
    for at, (name, prompt) in enumerate(
        (name, prompt)
        for name in ("X-Conversation-ID", "X-Session-Affinity")
        for prompt in (usual, "Name it in three words, please.")
    ):
        id, system = {name: f"ses_{at}"}, {"role": "system", "content": "You are opencode."}
        title = [{"role": "system", "content": prompt}, *map(user, ("Generate a title:\n", "Mend a.py"))]
        gate = asyncio.Event()
        upstream.will(waits(gate, says("Mending")))
        asking = asyncio.ensure_future(sidecar.ask(*title, headers=id))
        await eventually(partial(reached, upstream, prompt))
        turn = [system, user("Mend a.py")]
        reply = await sidecar.ask(*turn, headers=id, tools=tools)
        assert upstream.last.json["messages"] == turn
        gate.set()
        assert (await asking).outcome == ("task" if prompt == usual else "start")
        await sidecar.ask(
            *turn, {"role": "assistant", "content": "ok"}, user("More"), headers=id, tools=tools
        )
        assert upstream.last.said == ["You are opencode.", "Mend a.py", "ok", "More"]
        assert (reply.status, upstream.last.headers[name]) == (200, f"ses_{at}")


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


def reached(upstream: Upstream, prompt: str) -> bool:
    return bool(upstream.requests) and upstream.last.json["messages"][0]["content"] == prompt


@pytest.mark.parametrize("value", ["x" * 300, "ä", "{{ID}}", "undefined"])
async def test_what_cannot_be_a_name_in_it_is_passed_over(sidecar: Sidecar, upstream: Upstream, value: str):
    reply = await sidecar.ask("hi", headers={HERMES: value})
    assert reply.outcome == "start"
    assert upstream.last.headers.getall(HERMES) == [reply.headers["X-Conversation-ID"]]


async def test_a_temporary_chat_gets_no_session_id(start: Start, upstream: Upstream):
    sidecar = await start(session={**OWN, "body_field": "prompt_cache_key"})
    for id in ("temporary:1", "local:1", "channel:1"):
        await sidecar.ask("hi", id=id, headers={"X-OpenWebUI-User-Id": "ada"})
        assert HERMES not in upstream.last.headers
        assert "prompt_cache_key" not in upstream.last.json


OPAQUE: dict[str, Any] = {
    "opaque": True,
    "headers": ["X-Conversation-ID", HERMES],
    "body_field": "prompt_cache_key",
}


async def test_an_opaque_session_takes_the_place_of_the_clients_own_name(start: Start, upstream: Upstream):
    sidecar = await start(session=OPAQUE)
    named = {"X-OpenWebUI-Chat-Id": "mine", "X-Conversation-ID": "mine"}
    sessions = []
    for key in ("k", "l"):
        await sidecar.ask("hi", headers={**named, "Authorization": key}, prompt_cache_key="mine", seed=1)
        session = upstream.last.headers[HERMES]
        assert session.startswith("conv_")
        assert [upstream.last.headers.getall(each) for each in named] == [[session]] * 2
        assert (upstream.last.json["prompt_cache_key"], upstream.last.json["seed"]) == (session, 1)
        sessions.append(session)
    assert len(set(sessions)) == 2


@pytest.mark.parametrize("headers", [{"X-Sidecar-History": "off"}, {"X-Task": "title"}])
async def test_an_opaque_session_is_one_in_every_mode(
    start: Start, upstream: Upstream, headers: dict[str, str]
):
    sidecar = await start(session=OPAQUE, tasks={"forward_id": True})
    await sidecar.ask("hi", id="mine", prompt_cache_key="mine")
    session = upstream.last.headers["X-Conversation-ID"]
    await sidecar.ask("hi", id="mine", headers=headers, prompt_cache_key="mine")
    assert upstream.last.headers["X-Conversation-ID"] == session
    assert upstream.last.json["prompt_cache_key"] == session
    await sidecar.ask("hi", id="mine", headers=headers)
    assert "prompt_cache_key" not in upstream.last.json


async def test_an_opaque_name_goes_nowhere_else_either(start: Start, upstream: Upstream):
    sidecar = await start(session=OPAQUE)
    await sidecar.send("POST", "/v1/embeddings", data=b"{}", headers={"X-Conversation-ID": "mine"})
    assert "X-Conversation-ID" not in upstream.last.headers
