"""Backends that cannot run here, by the request that each documents: where the session id stands in it.

- llama-swap groups requests by the header `X-Session-ID`.
- OpenRouter keeps a session on one provider by the header `x-session-id` or the body's `session_id`.
- OpenAI routes to the machine with the cached prefix by the body's `prompt_cache_key`, 64 characters at most.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.e2e.agents.chat import Chat, ask
from tests.e2e.agents.conftest import Front
from tests.proxy.mock_upstream import Exchange, Received, Upstream, says
from tests.proxy.process import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

TITLE = "### Task:\nGenerate a concise title summarizing the chat history."
DOCUMENT = "### Task:\nRespond to the user query using the provided context\n<context>x</context>\n\n"


@dataclass
class Backend:
    """What to set for it, and where it finds the session id."""

    settings: dict[str, str]
    header: str = ""
    in_body: str = ""
    upstream: Upstream = field(default_factory=Upstream)

    def session(self, request: Received) -> str | None:
        found: str | None = (
            request.json.get(self.in_body) if self.in_body else request.headers.get(self.header)
        )
        return found

    @property
    def sessions(self) -> list[str | None]:
        return [self.session(each) for each in self.upstream.requests]


HEADER = {"SIDECAR_SESSION__HEADERS": '["X-Session-ID"]'}
BACKENDS: dict[str, Callable[[], Backend]] = {
    "llama-swap": lambda: Backend(HEADER, header="X-Session-ID"),
    "OpenRouter, header": lambda: Backend(HEADER, header="X-Session-ID"),
    "OpenRouter, body": lambda: Backend({"SIDECAR_SESSION__BODY_FIELD": "session_id"}, in_body="session_id"),
    "OpenAI": lambda: Backend(
        {"SIDECAR_SESSION__BODY_FIELD": "prompt_cache_key"}, in_body="prompt_cache_key"
    ),
}


@pytest_asyncio.fixture(loop_scope="module", params=list(BACKENDS))
async def backend(request: pytest.FixtureRequest) -> AsyncIterator[Backend]:
    made = BACKENDS[request.param]()
    upstream = made.upstream

    async def answer(exchange: Exchange) -> None:
        await says(f"Answer {len(upstream.requests)}")(exchange)

    upstream.otherwise = answer
    await upstream.start()
    yield made
    await upstream.stop()


@pytest_asyncio.fixture(loop_scope="module")
async def sidecar(backend: Backend, front: Front) -> Process:
    return await front(backend.upstream.url, **backend.settings)


async def test_a_chat_has_one_session_over_turns_and_regenerates_and_with_an_id_over_edits(
    backend: Backend, sidecar: Process, chat_of: Callable[..., Chat]
):
    chat = chat_of(sidecar, "a chat", key="sk-1")
    for question in ("First?", "Second?", "Third?"):
        await chat.ask(question, context=DOCUMENT)
    await chat.regenerate()
    await chat.edit("Third, in other words?")
    await chat.ask("Fourth?")

    sessions = backend.sessions
    assert [sessions.index(each) for each in sessions] == ([0] * 6 if chat.has_id else [0, 0, 0, 0, 4, 4])
    for session in sessions:
        assert session is not None
        assert len(session) <= 64
        assert session not in ("a chat", "sk-1")


async def test_two_chats_and_two_users_are_told_apart(
    backend: Backend, sidecar: Process, chat_of: Callable[..., Chat]
):
    chats = [
        chat_of(sidecar, id, key=key, X_User_ID=user)
        for id, key, user in (
            ("a", "sk-1", "ada"),
            ("b", "sk-1", "ada"),
            ("a", "sk-2", "ada"),
            ("a", "sk-1", "bob"),
        )
    ]
    for question in ("Hi", "More"):
        for chat in chats:
            await chat.ask(question)

    sessions = backend.sessions
    assert None not in sessions
    assert sessions[:4] == sessions[4:]
    assert len(set(sessions)) == 4


async def test_a_task_has_no_session(backend: Backend, sidecar: Process, chat_of: Callable[..., Chat]):
    chat = chat_of(sidecar, "tasks")
    await chat.ask("A question")
    await chat.task(TITLE)
    await chat.task("Title, please", X_Task="title_generation")
    await chat.ask("Another")

    first, *of_tasks, last = backend.sessions
    assert of_tasks == [None, None]
    assert first == last is not None
    for task in backend.upstream.requests[1:3]:
        assert str(first) not in str(task.headers) + task.body.decode()


async def test_another_secret_makes_another_session_of_the_same_chat(
    backend: Backend, front: Front, chat_of: Callable[..., Chat]
):
    for store in ("one.db", "other.db"):
        sidecar = await front(backend.upstream.url, store=store, **backend.settings)
        await chat_of(sidecar, "the same", key="sk-1").ask("Hi")

    assert len(set(backend.sessions)) == 2


async def test_what_the_client_says_itself_stays_in_the_body_and_not_in_the_header(
    backend: Backend, sidecar: Process, http: ClientSession
):
    """A field of the body is a hint that costs its sender at most; a header may open somebody's session."""
    said: dict[str, Any] = {backend.in_body: "mine"} if backend.in_body else {}
    headers = {backend.header: "mine"} if backend.header else {}
    await ask(http, sidecar.url, [{"role": "user", "content": "Hi"}], headers, **said)

    assert (backend.sessions == ["mine"]) == bool(backend.in_body)
    assert None not in backend.sessions
