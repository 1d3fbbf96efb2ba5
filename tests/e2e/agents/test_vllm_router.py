"""vLLM's own router before two replicas: a chat stays on the replica that has its prefix in the cache."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import pytest_asyncio

from tests.e2e.agents.chat import Chat
from tests.e2e.agents.conftest import Front
from tests.e2e.checked import checked
from tests.e2e.install import python_packages
from tests.e2e.program import Program, free_ports
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, completion, sends, streams, told

pytestmark = pytest.mark.asyncio(loop_scope="module")

VERSION = "0.1.17"
SETTINGS = {"SIDECAR_SESSION__PROFILE": "vllm-router"}
TITLE = "### Task:\nGenerate a concise title summarizing the chat history."


@dataclass
class Router:
    url: str
    replicas: list[Upstream]

    def turns(self, opening: str) -> list[tuple[int, str | None]]:
        """Of each request whose first question begins so: the replica that got it, and its session."""
        return [
            (at, each.headers.get("X-Session-ID"))
            for at, replica in enumerate(self.replicas)
            for each in replica.requests
            if each.target == "/v1/chat/completions"
            and each.json["messages"][0]["content"].startswith(opening)
        ]

    def where(self, opening: str) -> set[int]:
        return {at for at, _ in self.turns(opening)}

    def sessions(self, opening: str) -> set[str | None]:
        return {session for _, session in self.turns(opening)}


def _as_vllm(name: str) -> Answer:
    async def answer(exchange: Exchange) -> None:
        request = exchange.request
        if request.target == "/v1/chat/completions":
            await (streams(*told(name)) if request.json.get("stream") else sends(completion(name)))(exchange)
        elif request.target == "/v1/models":
            await sends(json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode())(
                exchange
            )
        else:
            await sends(b"{}")(exchange)

    return answer


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def router(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Router]:
    folder = tmp_path_factory.mktemp("router")
    command = python_packages("vllm-router", [f"vllm-router=={VERSION}"]) / "vllm-router"
    replicas = [Upstream(otherwise=_as_vllm(f"replica {at}")) for at in range(2)]
    for each in replicas:
        await each.start()
    port, metrics = free_ports(2)
    program = Program(
        [
            str(command),
            *("--host", "127.0.0.1", "--port", str(port), "--prometheus-port", str(metrics)),
            *("--policy", "consistent_hash", "--worker-urls"),
            *(each.url.removesuffix("/v1") for each in replicas),
        ],
        url=f"http://127.0.0.1:{port}/health",
        folder=folder,
        environment={"PATH": os.environ["PATH"], "HOME": str(folder)},
        log=folder / "router.log",
        patience=60,
    )
    try:
        await program.start()
        yield Router(f"http://127.0.0.1:{port}", replicas)
    finally:
        await program.stop()
        for each in replicas:
            await each.stop()


async def talked(chat: Chat, opening: str) -> None:
    """Four turns and two regenerates."""
    await chat.ask(opening)
    for question in ("Second?", "Third?", "Fourth?"):
        await chat.ask(question)
    await chat.regenerate()
    await chat.regenerate()


async def test_each_chat_stays_on_one_replica_and_all_of_them_are_used(
    router: Router, front: Front, chat_of: Callable[..., Chat], request: pytest.FixtureRequest
):
    sidecar = await front(f"{router.url}/v1", **SETTINGS)
    openings = [f"{request.node.name} chat {at}." for at in range(10)]
    for opening in openings:
        await talked(chat_of(sidecar, opening), opening)

    assert [len(router.where(each)) for each in openings] == [1] * 10
    assert [len(router.turns(each)) for each in openings] == [6] * 10
    assert {at for each in openings for at in router.where(each)} == {0, 1}
    sessions = [router.sessions(each) for each in openings]
    assert [len(each) for each in sessions] == [1] * 10
    assert len(set.union(*sessions)) == 10


async def test_chats_that_begin_alike_are_sessions_of_their_own(
    router: Router, front: Front, chat_of: Callable[..., Chat], request: pytest.FixtureRequest
):
    sidecar = await front(f"{router.url}/v1", **SETTINGS)
    opening = request.node.name
    chats = [chat_of(sidecar, f"{opening} {at}") for at in range(3)]
    for chat in chats:
        await chat.ask(opening)
    for chat in chats:
        await chat.ask("Second?")

    assert len(router.sessions(opening)) == 3


async def test_a_task_goes_without_the_session(
    router: Router, front: Front, chat_of: Callable[..., Chat], request: pytest.FixtureRequest
):
    sidecar = await front(f"{router.url}/v1", **SETTINGS)
    chat = chat_of(sidecar, request.node.name)
    await chat.ask(request.node.name)
    await chat.task(f"{TITLE}\n{request.node.name}")

    assert router.sessions(TITLE) == {None}


async def test_without_the_setting_one_replica_gets_everything(
    router: Router, front: Front, chat_of: Callable[..., Chat], request: pytest.FixtureRequest
):
    """Why the setting: the router tells chats apart by their session ids, and else not at all."""
    sidecar = await front(f"{router.url}/v1")
    openings = [f"{request.node.name} chat {at}." for at in range(10)]
    for opening in openings:
        await chat_of(sidecar, opening).ask(opening)

    assert len({at for each in openings for at in router.where(each)}) == 1


async def test_check_knows_it_and_says_what_it_takes(router: Router, tmp_path: Path):
    said = await checked(f"{router.url}/v1", tmp_path)
    assert "vLLM router (`--policy consistent_hash`), by its answer to /list_workers" in said
    assert 'set session.profile = "vllm-router"' in said
