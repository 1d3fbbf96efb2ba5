"""Two PostgreSQL servers for the whole run, each started by the first test that needs it."""

from __future__ import annotations

import pytest

from tests.store.postgres import Server


@pytest.fixture(scope="session")
def server():
    server = Server()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="session")
def killed_at_times():
    server = Server()
    server.start()
    yield server
    server.close()


@pytest.fixture
def mortal_server(killed_at_times: Server):
    """Another server, which a test may kill."""
    yield killed_at_times
    if not killed_at_times.is_running:
        killed_at_times.start()


@pytest.fixture
async def postgres_url(server: Server):
    """The URL of a store in PostgreSQL that holds nothing."""
    return await server.store_url()
