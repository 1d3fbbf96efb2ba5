"""A file whose reads fail is reopened: once for all who wait, seldom, never as an empty store."""

from __future__ import annotations

import asyncio
import logging
import os
import sqlite3
from contextlib import closing

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store import SQLiteStore
from sidecar.store.sqlite import reopen
from tests.store.trees import TENANT, chat, question, talk, update


@pytest.fixture
def file(tmp_path):
    return tmp_path / "data" / "sidecar.db"


@pytest.fixture
async def store(file):
    file.parent.mkdir()
    store = SQLiteStore(str(file))
    await store.open()
    for number in range(20):
        await store.record(update(talk(f"conv_{number}"), *chat("hi", "hello")))
    yield store
    await store.close()


@pytest.fixture
def times(caplog):
    """How often a file was reopened."""
    caplog.set_level(logging.ERROR, "sidecar.store")
    return lambda: sum("reopening" in each.message for each in caplog.records)


def cut(file):
    """All that was written is lost; the store's connections rely on it."""
    os.truncate(f"{file}-wal", 0)


def damage(file):
    with closing(sqlite3.connect(file)) as other:
        other.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'conversation'").fetchone()
    with file.open("r+b") as pages:
        pages.seek((page - 1) * 4096)
        pages.write(b"\x5a" * 4096)


async def test_all_who_fail_at_once_wait_for_one_reopening_and_go_on(store, file, times):
    cut(file)
    asked = (store.find(TENANT, [f"conv_{number}"], []) for number in range(20))
    found = await asyncio.gather(*asked)

    assert {each.conversation for each in found} == {None}, "what was written is gone, and nobody is refused"
    assert times() == 1
    await store.record(update(talk("conv_new"), question("hi")))
    assert len(await store.tree("conv_new")) == 1


async def test_whoever_began_a_reopening_may_be_gone_before_its_end(store, file, times):
    cut(file)
    first = asyncio.ensure_future(store.find(TENANT, ["conv_1"], []))
    while not times():
        await asyncio.sleep(0)
    first.cancel()
    await store.record(update(talk("conv_new"), question("hi")))

    assert len(await store.tree("conv_new")) == 1
    assert (first.cancelled() or first.done(), times()) == (True, 1)


async def test_a_page_that_stays_damaged_does_not_have_the_file_opened_for_every_request(store, file, times):
    damage(file)
    for _ in range(10):
        with pytest.raises(StoreUnavailable, match="malformed"):
            await store.find(TENANT, ["conv_1"], [])

    assert times() == 1


async def test_what_could_not_be_read_is_told_until_it_can(store, file, monkeypatch):
    await store.check()
    damage(file)
    with pytest.raises(StoreUnavailable):
        await store.find(TENANT, ["conv_1"], [])
    with pytest.raises(StoreUnavailable, match="malformed"):
        await store.check()

    monkeypatch.setattr(reopen, "_REOPEN_INTERVAL", 0.0)
    mended = SQLiteStore(str(file.with_name("mended")))
    await mended.open()
    await mended.close()
    os.replace(file.with_name("mended"), file)
    await store.check()


async def test_a_write_that_fails_is_no_reason(store, file, times):
    await store._writer.do(lambda connection: connection.execute("PRAGMA busy_timeout = 20").fetchall())
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.record(update(talk("conv_new"), question("hi")))

    assert times() == 0


async def test_a_file_that_is_gone_is_not_made_anew_and_used_when_it_is_back(store, file, monkeypatch):
    monkeypatch.setattr(reopen, "_REOPEN_INTERVAL", 0.0)
    away = file.parent.with_name("away")
    file.parent.rename(away)
    file.parent.mkdir()
    for refused in (store.probe(), store.find(TENANT, ["conv_1"], []), store.record(update(talk()))):
        with pytest.raises(StoreUnavailable, match=f"{file} is gone: No such file"):
            await refused
    assert list(file.parent.iterdir()) == []

    file.parent.rmdir()
    away.rename(file.parent)
    assert (await store.find(TENANT, ["conv_1"], [])).conversation is not None
    await store.record(update(talk("conv_new"), question("hi")))


async def test_the_secret_of_the_file_that_came_in_its_place_counts(store, file, tmp_path):
    other = SQLiteStore(str(tmp_path / "other.db"))
    await other.open()
    await other.close()
    before = store.secret
    os.replace(tmp_path / "other.db", file)
    for end in ("-wal", "-shm"):
        os.unlink(f"{file}{end}")
    await store.probe()

    assert store.secret == other.secret != before


async def test_a_closed_store_stays_closed(file):
    file.parent.mkdir()
    store = SQLiteStore(str(file))
    await store.open()
    await store.close()
    with pytest.raises(StoreUnavailable, match="not open"):
        await store.find(TENANT, ["conv_1"], [])
