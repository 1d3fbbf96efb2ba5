"""One PostgreSQL for the whole run, started by the first test that needs it."""

from __future__ import annotations

import pytest

from tests.store.postgres import Server


@pytest.fixture(scope="session")
def server():
    server = Server()
    server.start()
    yield server
    server.close()


@pytest.fixture
async def postgres_url(server: Server):
    """The URL of a store in PostgreSQL that holds nothing."""
    return await server.store_url()
