"""What goes upstream for a background task, and where: as it came, unless the settings say otherwise."""

from __future__ import annotations

import pytest

from sidecar.dialects.chat.tasks import MARKER
from tests.proxy.client import CHAT, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says

MARK = {"X-Task": "title_generation"}
WHO = {
    **MARK,
    "Authorization": "Bearer sk-of-the-client",
    "api-key": "sk-of-the-client",
    "Cookie": "session=sk-of-the-client",
    "X-OpenWebUI-User-Email": "ada@example.org",
    "X-OpenWebUI-User-Jwt": "e30.e30.e30",
    "User-Agent": "a front end",
}
TITLE = "A title, please.\n<chat_history>\n{}\n</chat_history>"


@pytest.fixture
async def other():
    """The upstream of the tasks."""
    server = Upstream(otherwise=says("A title"))
    await server.start()
    yield server
    await server.stop()


async def test_without_settings_a_task_goes_as_it_came(start: Start, upstream: Upstream):
    sidecar = await start()
    body = b'{ "messages": [{"role":"user","content":"title?"}],  "model":"m", "x": 1.0 }'
    await sidecar.send("POST", CHAT, data=body, headers=WHO)
    assert upstream.last.body == body
    assert upstream.last.headers["Authorization"] == WHO["Authorization"]


async def test_a_task_is_done_by_the_model_that_is_set_and_a_turn_is_not(start: Start, upstream: Upstream):
    sidecar = await start(tasks={"model": "small"})
    await sidecar.ask("title?", id="a", headers=MARK, temperature=0.5)
    assert upstream.last.json == {
        "model": "small",
        "messages": [{"role": "user", "content": "title?"}],
        "temperature": 0.5,
    }
    await sidecar.ask("hi", id="a")
    assert upstream.last.json["model"] == "m"


async def test_a_task_without_a_model_gets_the_one_that_is_set(start: Start, upstream: Upstream):
    sidecar = await start(tasks={"model": "small"})
    await sidecar.send("POST", CHAT, data=b'{"messages":[]}', headers=MARK)
    assert upstream.last.json == {"messages": [], "model": "small"}


@pytest.mark.parametrize("stream", [False, True])
async def test_tasks_go_to_their_own_upstream_and_turns_do_not(
    start: Start, upstream: Upstream, other: Upstream, stream: bool
):
    sidecar = await start(tasks={"upstream": other.url})
    await sidecar.ask("hi", id="a")
    title = await sidecar.ask("title?", id="a", headers=MARK, stream=stream)
    await sidecar.ask("and?", id="a")
    assert (title.status, title.outcome) == (200, "task")
    assert b"title" in title.body
    assert other.last.target == "/v1/chat/completions"
    assert [each.said for each in other.requests] == [["title?"]]
    assert [each.said for each in upstream.requests] == [["hi"], ["hi", "ok", "and?"]]


async def test_the_other_upstream_is_not_told_who_asked(start: Start, other: Upstream):
    sidecar = await start(tasks={"upstream": other.url})
    path = "/openai/deployments/large/chat/completions?api-key=sk-of-the-client"
    await sidecar.ask("title?", id="a", headers=WHO, path=path)
    told = f"{other.last.target} {dict(other.last.headers)}"
    assert "sk-of-the-client" not in told
    assert "ada" not in told
    assert {name.lower() for name in other.last.headers} - {"host", "content-length"} == {"user-agent"}


async def test_the_other_upstream_gets_its_own_key(start: Start, other: Upstream):
    sidecar = await start(tasks={"upstream": other.url, "api_key": "sk-of-tasks"})
    await sidecar.ask("title?", id="a", headers=WHO)
    assert other.last.headers.getall("Authorization") == ["Bearer sk-of-tasks"]
    assert "sk-of-the-client" not in str(other.last.headers)


async def test_the_clients_credential_and_the_id_go_there_where_it_is_set(start: Start, other: Upstream):
    sidecar = await start(
        tasks={"upstream": other.url, "forward_credential": True, "forward_id": True},
    )
    await sidecar.ask("title?", id="a", headers=WHO)
    headers = other.last.headers
    assert headers["Authorization"] == headers["api-key"].join(["Bearer ", ""])
    assert headers["X-Conversation-ID"] == "a"
    assert not {"Cookie", "X-OpenWebUI-User-Email", "X-OpenWebUI-User-Jwt"} & set(headers)


async def test_an_upstream_of_tasks_that_is_gone_fails_the_task_alone(start: Start, other: Upstream):
    await other.stop()
    sidecar = await start(tasks={"upstream": other.url})
    assert_error(await sidecar.ask("title?", id="a", headers=MARK), 502, "upstream_unreachable")
    assert (await sidecar.ask("hi", id="a")).status == 200


async def test_a_long_chat_in_a_task_is_cut(start: Start, upstream: Upstream):
    sidecar = await start(tasks={"max_input_tokens": 200})
    lines = [f"USER: line number {at}" for at in range(100)]
    reply = await sidecar.ask(TITLE.format("\n".join(lines)), id="a", headers=MARK)
    (said,) = upstream.last.said
    assert len(said) < 1000
    assert MARKER in said
    assert said.endswith("USER: line number 99\n</chat_history>")
    assert reply.headers["X-Sidecar-Shortened"] == "1"


async def test_a_task_that_fits_goes_as_it_came(start: Start, upstream: Upstream):
    sidecar = await start(tasks={"max_input_tokens": 200})
    body = b'{ "messages": [{"role":"user","content":"title?"}]}'
    reply = await sidecar.send("POST", CHAT, data=body, headers=MARK)
    assert upstream.last.body == body
    assert "X-Sidecar-Shortened" not in reply.headers
