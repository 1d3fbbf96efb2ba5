"""Which store a path makes, and whose secret it has."""

from __future__ import annotations

import pytest

from sidecar.store import MemoryStore, SQLiteStore, make_store
from tests.store.trees import question, talk, turn


@pytest.fixture(params=["memory", "sqlite"])
def path(request, tmp_path):
    return None if request.param == "memory" else str(tmp_path / "sidecar.db")


def test_a_path_makes_a_file_and_none_makes_memory(tmp_path):
    assert isinstance(make_store(None), MemoryStore)
    assert isinstance(make_store(str(tmp_path / "sidecar.db")), SQLiteStore)


async def test_a_secret_is_made_if_none_is_given(path):
    store = make_store(path)
    await store.open()
    assert len(store.secret) >= 16
    await store.close()


async def test_a_given_secret_is_used(path):
    store = make_store(path, secret="a secret of some length")
    await store.open()
    assert store.secret == b"a secret of some length"
    await store.close()


async def test_opening_and_closing_leaves_what_is_in_memory():
    store = make_store(None)
    await store.record(turn(talk(), question("hi")))
    await store.open()
    await store.close()
    assert len(await store.tree("conv_1")) == 1
