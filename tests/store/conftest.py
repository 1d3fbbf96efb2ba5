"""Every store there is, for what all of them promise."""

from __future__ import annotations

import pytest

from sidecar.store import make_store


@pytest.fixture(params=["memory", "sqlite"])
async def store(request, tmp_path):
    path = None if request.param == "memory" else str(tmp_path / "sidecar.db")
    store = make_store(path)
    await store.open()
    yield store
    await store.close()
