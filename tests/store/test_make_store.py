"""Which store a path makes, and whose secret it has."""

from __future__ import annotations

import subprocess
import sys

from sidecar.store import MemoryStore, SQLiteStore, make_store
from tests.proxy.process import clean_environment
from tests.store.trees import question, talk, update


def test_a_path_makes_a_file_and_none_makes_memory(tmp_path):
    assert isinstance(make_store(None), MemoryStore)
    assert isinstance(make_store(str(tmp_path / "sidecar.db")), SQLiteStore)


def test_the_driver_of_postgresql_is_loaded_only_where_it_is_used():
    program = (
        "import sys; from sidecar.store import make_store; make_store('x.db'); "
        "assert 'asyncpg' not in sys.modules; "
        "assert type(make_store('postgresql://me@db/x')).__name__ == 'PostgresStore'; "
        "assert 'asyncpg' in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], env=clean_environment(), check=True)


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
    await store.record(update(talk(), question("hi")))
    await store.open()
    await store.close()
    assert len(await store.tree("conv_1")) == 1
