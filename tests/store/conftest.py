"""Every store there is, for what all of them promise."""

from __future__ import annotations

import pytest

from sidecar.store import make_store

#: To encrypt a store with.
KEY = bytes(range(32))


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def path(request, tmp_path):
    """What `make_store` makes a store of that holds nothing."""
    if request.param == "postgres":
        return request.getfixturevalue("postgres_url")
    return None if request.param == "memory" else str(tmp_path / "sidecar.db")


@pytest.fixture(params=["memory", "sqlite", "encrypted", "postgres"])
def made(request, tmp_path):
    """Each of them, and one that is encrypted; not open yet."""
    if request.param == "postgres":
        return make_store(request.getfixturevalue("postgres_url"))
    path = None if request.param == "memory" else str(tmp_path / "sidecar.db")
    return make_store(path, keys=[KEY] if request.param == "encrypted" else [])


@pytest.fixture
async def store(made):
    store = made
    await store.open()
    yield store
    await store.close()
