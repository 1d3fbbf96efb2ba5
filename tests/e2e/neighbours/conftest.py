"""A sidecar in a process of its own, in front of a scripted upstream that speaks chat completions alone, and
the libraries that talk to it over either API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.e2e.neighbours.libraries import Front, Libraries
from tests.proxy.mock_upstream import Upstream
from tests.proxy.process import serving


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def front(upstream: Upstream, tmp_path: Path) -> AsyncIterator[Front]:
    store = tmp_path / "sidecar.db"
    where = ("--upstream", upstream.url, "--store", f"sqlite:///{store}")
    async with serving(*where, folder=tmp_path, SIDECAR_RESPONSES__UPSTREAM="translate") as process:
        yield Front(f"{process.url}/v1", store)


@pytest.fixture(scope="session")
def libraries(tmp_path_factory: pytest.TempPathFactory) -> Libraries:
    return Libraries(tmp_path_factory.mktemp("node"))
