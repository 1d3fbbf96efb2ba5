"""Whose conversation is it, which one, and is it one at all?"""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest

from sidecar.settings.openings import OPENINGS
from tests.proxy.client import CHAT, Sidecar, assert_error, chat, named
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says

KEY = "a key that is long enough for HS256, by the rules"


def on_disk(folder: Path) -> bytes:
    return b"".join(each.read_bytes() for each in folder.iterdir())


async def test_the_first_header_that_is_not_empty_names_the_conversation(start: Start, upstream: Upstream):
    sidecar = await start(identity={"headers": ["X-Chat", "X-Conversation-ID"]})
    await sidecar.ask("hi", headers={"X-Chat": "", "X-Conversation-ID": "a"})
    await sidecar.ask("hi", headers={"X-Chat": "b", "X-Conversation-ID": "a"})
    assert [each.key for each in await sidecar.stored()] == ["a", "b"]


@pytest.mark.parametrize("value", ["{{LIBRECHAT_BODY_CONVERSATIONID}}", "undefined", "null", "None", "new"])
async def test_what_names_no_conversation_makes_no_two_chats_one(
    sidecar: Sidecar, upstream: Upstream, value: str
):
    first = await sidecar.ask("my secret", id=value)
    other = await sidecar.ask("hi", id=value)
    assert (first.outcome, other.outcome) == ("start", "start")
    assert upstream.last.said == ["hi"]
    ids = [each.headers["X-Conversation-ID"] for each in upstream.requests]
    assert ids == [first.headers["X-Conversation-ID"], other.headers["X-Conversation-ID"]]
    assert len({*ids, value}) == 3
    again = await sidecar.ask("hi", "ok", "and?", id=value)
    assert again.headers["X-Conversation-ID"] == ids[1]
    assert len(await sidecar.stored()) == 2


async def test_which_words_name_no_conversation_can_be_set(start: Start, upstream: Upstream):
    sidecar = await start(identity={"no_id": ["0"]})
    await sidecar.ask("one", id="new")
    await sidecar.ask("two", id="new")
    assert upstream.last.said == ["one", "ok", "two"]
    await sidecar.ask("three", id="0")
    assert upstream.last.said == ["three"]


async def test_a_template_that_was_not_filled_in_names_no_message_and_no_task(
    sidecar: Sidecar, upstream: Upstream
):
    unfilled = {"X-Message-ID": "{{MESSAGE_ID}}", "X-User-Message-ID": "undefined", "X-Task": "{{TASK}}"}
    await sidecar.ask("hi", id="a", headers=unfilled)
    await sidecar.ask("and?", id="a", headers=unfilled)
    assert upstream.last.said == ["hi", "ok", "and?"]
    assert {each["message_id"] for each in (await sidecar.only()).messages} == {None}
    title = await sidecar.ask(OPENINGS[0], id="a", headers=unfilled)
    assert title.outcome == "task"


@pytest.mark.parametrize("id", ["temporary:socket1", "local:socket1"])
async def test_a_temporary_chat_leaves_nothing_on_the_disk(
    sidecar: Sidecar, upstream: Upstream, tmp_path: Path, id: str
):
    reply = await sidecar.ask("a dark secret", id=id)
    assert (reply.outcome, reply.headers["X-Conversation-ID"]) == ("bypass", id)
    await sidecar.ask("more", id=id, stream=True)
    assert upstream.last.said == ["more"]
    assert upstream.last.headers["X-Conversation-ID"] == id
    assert await sidecar.stored() == []
    assert b"dark secret" not in on_disk(tmp_path)
    assert id.encode() not in on_disk(tmp_path)


async def test_what_only_looks_like_a_channel_is_a_chat_where_nothing_tells_of_open_webui(
    sidecar: Sidecar, upstream: Upstream
):
    for question in ("hi", "and?"):
        await sidecar.ask(question, id="channel:bot")
    assert upstream.last.said == ["hi", "ok", "and?"]


async def test_a_channel_is_kept_and_never_gone_on_from(sidecar: Sidecar, upstream: Upstream):
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{ }"}}
    upstream.will(says(None, tool_calls=[call]))
    shown = {"X-OpenWebUI-User-Id": "ada"}
    await sidecar.ask("hi", id="channel:1", headers=shown)
    await sidecar.ask("somebody else", id="channel:1", headers=shown)
    assert upstream.last.said == ["somebody else"]
    echo = {
        "role": "assistant",
        "content": "",
        "tool_calls": [{**call, "function": {"name": "f", "arguments": "{}"}}],
    }
    result = {"role": "tool", "tool_call_id": "c", "content": "5"}
    body = json.dumps({"messages": chat("hi", echo, result)}).encode()
    await sidecar.send("POST", CHAT, data=body, headers={**named("channel:1"), **shown})
    assert upstream.last.body == body
    assert len((await sidecar.only()).branches) == 2


async def test_without_an_id_a_conversation_is_known_by_its_history(sidecar: Sidecar, upstream: Upstream):
    upstream.will(says("one"), says("one"), says("two"), says("three"))
    first = await sidecar.ask("hi")
    other = await sidecar.ask("hi")
    assert first.outcome == other.outcome == "start"
    assert first.headers["X-Conversation-ID"] != other.headers["X-Conversation-ID"]
    second = await sidecar.ask("hi", "one", "more")
    assert second.outcome == "continue"
    third = await sidecar.ask("hi", "one", "more", "two", "again")
    assert third.headers["X-Conversation-ID"] == second.headers["X-Conversation-ID"]
    assert upstream.last.headers["X-Conversation-ID"] == third.headers["X-Conversation-ID"]
    assert sorted(len(each.messages) for each in await sidecar.stored()) == [2, 6]


async def test_a_history_that_nobody_knows_starts_a_conversation(sidecar: Sidecar):
    reply = await sidecar.ask("hi", "from elsewhere", "and?")
    assert reply.outcome == "start"
    assert (await sidecar.only()).branches == [["hi", "from elsewhere", "and?", "ok"]]


async def test_with_hash_the_id_is_the_same_for_the_same_beginning(start: Start, upstream: Upstream):
    sidecar = await start(identity={"fallback": "hash"})
    ids = [
        (await sidecar.ask(*messages)).headers["X-Conversation-ID"]
        for messages in (["hi"], ["hi"], ["hi", "ok", "and?"])
    ]
    assert len(set(ids)) == 1
    assert ids[0].startswith("api-")
    system = {"role": "system", "content": "x"}
    other = await sidecar.ask(system, {"role": "user", "content": "hi"})
    assert other.headers["X-Conversation-ID"] != ids[0]


async def test_with_none_nothing_is_kept_of_it(start: Start, upstream: Upstream):
    sidecar = await start(identity={"fallback": "none"})
    reply = await sidecar.ask("hi")
    assert reply.outcome == "bypass"
    assert "X-Conversation-ID" not in reply.headers
    assert "X-Conversation-ID" not in upstream.last.headers
    assert await sidecar.stored() == []


async def test_the_upstream_gets_one_session_id_for_all_turns(start: Start, upstream: Upstream):
    sidecar = await start(
        session={"headers": ["X-Hermes-Session-Id", "X-Session-ID"], "body_field": "prompt_cache_key"}
    )
    await sidecar.ask("hi", headers={"X-OpenWebUI-Chat-Id": "a"}, seed=7)
    first = upstream.last
    await sidecar.ask("hi", "ok", "and?", headers={"X-OpenWebUI-Chat-Id": "a"}, seed=7)
    id = (await sidecar.only()).conversation["id"]
    for each in (first, upstream.last):
        assert each.headers["X-Hermes-Session-Id"] == each.headers["X-Session-ID"] == id
        assert each.json["prompt_cache_key"] == id
        assert each.json["seed"] == 7
        assert "X-Conversation-ID" not in each.headers
    await sidecar.ask("hi", headers={"X-OpenWebUI-Chat-Id": "b"})
    assert upstream.last.json["prompt_cache_key"] != id


async def test_what_the_client_set_in_the_body_itself_stays(start: Start, upstream: Upstream):
    sidecar = await start(session={"body_field": "prompt_cache_key"})
    await sidecar.ask("hi", id="a", prompt_cache_key="mine", x=1.50)
    assert upstream.last.json["prompt_cache_key"] == "mine"
    await sidecar.ask("and?", id="a", prompt_cache_key="mine")
    assert (upstream.last.said, upstream.last.json["prompt_cache_key"]) == (["hi", "ok", "and?"], "mine")
    await sidecar.ask("so?", id="a", prompt_cache_key=None)
    assert upstream.last.json["prompt_cache_key"] == (await sidecar.only()).conversation["id"]


async def test_the_clients_own_id_goes_upstream_as_it_said_it(sidecar: Sidecar, upstream: Upstream):
    await sidecar.ask("hi", id="mine")
    assert upstream.last.headers.getall("X-Conversation-ID") == ["mine"]
    await sidecar.ask("hi", headers={"X-OpenWebUI-Chat-Id": "theirs", "X-Conversation-ID": ""})
    (made,) = upstream.last.headers.getall("X-Conversation-ID")
    assert made.startswith("conv_")
    assert upstream.last.headers["X-OpenWebUI-Chat-Id"] == "theirs"


@pytest.mark.parametrize("opening", OPENINGS)
async def test_a_task_is_known_by_its_opening_where_no_header_tells(
    sidecar: Sidecar, upstream: Upstream, opening: str
):
    body = json.dumps({"messages": chat(f"{opening}\n\nAnd so on."), "stream": False}).encode()
    reply = await sidecar.send("POST", CHAT, data=body, headers={"X-OpenWebUI-Chat-Id": "a"})
    assert reply.outcome == "task"
    assert upstream.last.body == body
    assert "X-OpenWebUI-Chat-Id" not in upstream.last.headers
    assert "X-Conversation-ID" not in upstream.last.headers
    assert await sidecar.stored() == []


RAG = "### Task:\nRespond to the user query using the provided context\n<context>x</context>\nhi"


async def test_a_turn_with_documents_is_no_task(sidecar: Sidecar, upstream: Upstream):
    reply = await sidecar.ask(RAG, headers={"X-OpenWebUI-Chat-Id": "a"})
    assert reply.outcome == "start"
    assert upstream.last.said == [RAG]


async def test_an_empty_mark_says_that_it_is_a_turn(sidecar: Sidecar):
    reply = await sidecar.ask(OPENINGS[0], id="a", headers={"X-Task": ""})
    assert reply.outcome == "start"


async def test_a_task_before_between_and_after_turns_leaves_no_trace(sidecar: Sidecar, upstream: Upstream):
    task = {"X-Task": "title_generation", "X-Message-ID": "m9"}
    await sidecar.ask("title?", id="a", headers=task)
    await sidecar.ask("1", id="a")
    await sidecar.ask("tags?", id="a", headers=task, stream=True)
    await sidecar.ask("2", id="a")
    assert upstream.last.said == ["1", "ok", "2"]
    assert (await sidecar.only()).branches == [["1", "ok", "2", "ok"]]


async def test_a_task_may_be_sent_with_the_id(start: Start, upstream: Upstream):
    sidecar = await start(tasks={"forward_id": True})
    await sidecar.ask("title?", id="a", headers={"X-Task": "title_generation"})
    assert upstream.last.headers["X-Conversation-ID"] == "a"


async def ask_as(sidecar: Sidecar, **headers: str) -> str | None:
    named_so = {name.replace("_", "-"): value for name, value in headers.items()}
    return (await sidecar.ask("hi", "ok", "and?", id="a", headers=named_so)).outcome


U1 = {"Authorization": "1", "X_User_ID": "u"}
U2 = {"Authorization": "2", "X_User_ID": "u"}
V1 = {"Authorization": "1", "X_User_ID": "v"}


@pytest.mark.parametrize(
    ("mode", "shared", "apart"),
    [
        ("credential+user", [U1], [U2, V1]),
        ("credential", [U1, V1], [U2]),
        ("user", [U1, U2], [V1]),
        ("fixed", [U1, U2, V1], []),
    ],
)
async def test_the_tenant_is_what_the_mode_says(
    start: Start, mode: str, shared: list[dict[str, str]], apart: list[dict[str, str]]
):
    sidecar = await start(tenant={"mode": mode})
    assert await ask_as(sidecar, **U1) == "start"
    assert [await ask_as(sidecar, **each) for each in shared] == ["retry"] * len(shared)
    assert [await ask_as(sidecar, **each) for each in apart] == ["start"] * len(apart)


async def test_a_credential_is_not_a_user_of_the_same_name(start: Start):
    sidecar = await start(tenant={"mode": "user"})
    assert await ask_as(sidecar, X_User_ID="x") == "start"
    assert await ask_as(sidecar, Authorization="x") == "start"


async def test_the_signed_user_counts_and_a_forged_one_is_refused(start: Start):
    sidecar = await start(tenant={"user_jwt_secret": KEY})

    def token(sub: str, key: str = KEY) -> str:
        return jwt.encode({"sub": sub, "iss": "open-webui"}, key, algorithm="HS256")

    assert await ask_as(sidecar, X_OpenWebUI_User_Jwt=token("alice")) == "start"
    assert await ask_as(sidecar, X_OpenWebUI_User_Jwt=token("alice"), X_User_ID="bob") == "retry"
    assert await ask_as(sidecar, X_OpenWebUI_User_Jwt=token("bob")) == "start"
    for forged in (token("alice", KEY[::-1]), "nonsense", jwt.encode({"sub": "alice"}, "", algorithm="none")):
        reply = await sidecar.ask("hi", id="a", headers={"X-OpenWebUI-User-Jwt": forged})
        assert_error(reply, 400, "invalid_user_token")


async def test_a_name_that_nobody_signed_does_not_count_where_names_are_signed(start: Start):
    sidecar = await start(tenant={"mode": "user", "user_jwt_secret": KEY})
    token = jwt.encode({"sub": "alice"}, KEY, algorithm="HS256")
    assert await ask_as(sidecar, X_OpenWebUI_User_Jwt=token) == "start"
    assert await ask_as(sidecar, X_User_ID="alice") == "start"


async def test_who_shares_one_credential_is_told_apart_by_the_other(sidecar: Sidecar):
    assert await ask_as(sidecar, Authorization="Bearer shared", api_key="alice's") == "start"
    assert await ask_as(sidecar, Authorization="Bearer shared", api_key="bob's") == "start"
    assert await ask_as(sidecar, Authorization="Bearer shared", api_key="alice's") == "retry"


async def test_an_error_of_ours_names_the_conversation(sidecar: Sidecar, upstream: Upstream):
    await upstream.stop()
    reply = await sidecar.ask("hi", id="a")
    assert_error(reply, 502, "upstream_unreachable")
    assert reply.headers["X-Conversation-ID"] == "a"


@pytest.mark.parametrize("where", ["?key=", "?api_key=", "?api-key="])
async def test_a_credential_in_the_address_tells_tenants_apart(sidecar: Sidecar, where: str):
    body = json.dumps({"messages": chat("hi", "ok", "and?")}).encode()
    said = [await sidecar.send("POST", CHAT + where + key, data=body, headers=named("a")) for key in "xyx"]
    assert [reply.outcome for reply in said] == ["start", "start", "retry"]
