"""Every store there is, for what all of them promise."""

from __future__ import annotations

import pytest

from sidecar.store import make_store


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def path(request, tmp_path):
    """What `make_store` makes a store of that holds nothing."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return None if request.param == "memory" else str(tmp_path / "sidecar.db")


@pytest.fixture
async def store(path):
    store = make_store(path)
    await store.open()
    yield store
    await store.close()
