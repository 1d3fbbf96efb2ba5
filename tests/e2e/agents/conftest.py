"""A model that answers with numbers, sidecars in front of a backend, and chats through them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Protocol

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.e2e.agents.chat import Chat
from tests.proxy.process import Process, serving


class Front(Protocol):
    """Starts `sidecar serve` in front of a backend."""

    async def __call__(self, upstream: str, *, store: str = "sidecar.db", **environment: str) -> Process: ...


@pytest_asyncio.fixture(loop_scope="module")
async def front(tmp_path: Path) -> AsyncIterator[Front]:
    async with AsyncExitStack() as stack:

        async def front(upstream: str, *, store: str = "sidecar.db", **environment: str) -> Process:
            where = ("--upstream", upstream, "--store", f"sqlite:///{tmp_path}/{store}")
            return await stack.enter_async_context(serving(*where, folder=tmp_path, **environment))

        yield front


@pytest_asyncio.fixture(loop_scope="module")
async def http() -> AsyncIterator[ClientSession]:
    async with ClientSession() as session:
        yield session


@pytest.fixture(params=["with a chat id", "without any header"])
def chat_of(request: pytest.FixtureRequest, http: ClientSession) -> Callable[..., Chat]:
    """Makes a chat. Each test runs with chats that name themselves, and with chats that do not."""

    def chat_of(sidecar: Process, name: str, **about: Any) -> Chat:
        return Chat(http, sidecar.url, id=name if request.param == "with a chat id" else None, **about)

    return chat_of
