"""The index of what was said is made in the background, by one process at a time; where it is off it goes."""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import asynccontextmanager

import pytest

from sidecar.background import search_index
from sidecar.background.search_index import SearchIndexJob
from sidecar.errors import StoreUnavailable
from sidecar.prompt.search_words import Sought
from sidecar.store import MemoryStore, SQLiteStore, make_store, postings
from tests.store.trees import chat, talk, update


@pytest.fixture(autouse=True)
def at_once(monkeypatch):
    for name in ("_FIRST", "_ROUND", "_PAUSE"):
        monkeypatch.setattr(search_index, name, 0.01)


@pytest.fixture
async def store(tmp_path):
    store = SQLiteStore(str(tmp_path / "sidecar.db"))
    await store.open()
    words = (f"filler {number}" for number in range(2 * postings.SEGMENT + 1))
    await store.record(update(talk(), *chat("The harbour", *words)))
    yield store
    await store.close()


@asynccontextmanager
async def running(store, *, is_on=True):
    """The job, with the failures that it tells."""
    failures: list[tuple[str, str]] = []
    tasks: list[asyncio.Task[None]] = []

    def spawn(work):
        tasks.append(asyncio.ensure_future(work))
        return tasks[-1]

    job = SearchIndexJob(store, is_on, spawn, lambda step, error: failures.append((step, str(error))))
    job.start()
    try:
        yield failures
    finally:
        job.stop()
        await asyncio.gather(*tasks, return_exceptions=True)


async def until(is_so):
    end = time.monotonic() + 30
    while not await is_so():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)


async def test_all_full_parts_come_in_and_go_again_where_it_is_off(store):
    async def are_there():
        return (await store.indexed()).segments == 2

    async def are_gone():
        return (await store.indexed()).size == 0

    async with running(store):
        await until(are_there)
    assert [text for _, _, text in (await store.look_for(Sought("harbour"))).found] == ["The harbour"]
    async with running(store, is_on=False):
        await until(are_gone)


async def test_another_process_that_does_it_is_left_alone_until_it_is_gone(store, tmp_path):
    class Held(MemoryStore):
        held = True
        steps = 0

        @asynccontextmanager
        async def cross_process_lock(self, name, wait):
            if self.held:
                self.held = False
                raise TimeoutError
            yield

        async def index_more(self):
            self.steps += 1
            return self.steps < 3

    other = Held()

    async def is_done():
        return other.steps >= 3

    async with running(other) as failures:
        await until(is_done)
    assert failures == []


async def test_a_store_that_fails_is_counted_and_tried_again():
    class Failing(MemoryStore):
        steps = 0

        async def index_more(self):
            self.steps += 1
            if self.steps == 1:
                raise StoreUnavailable("the disk is full")
            return False

    failing = Failing()

    async def goes_on():
        return failing.steps > 1

    async with running(failing) as failures:
        await until(goes_on)
    assert failures == [("index", "the disk is full")]


async def test_an_encrypted_store_has_none_and_the_log_says_so(tmp_path, caplog):
    store = make_store(str(tmp_path / "sidecar.db"), keys=[bytes(32)])
    with caplog.at_level(logging.WARNING):
        async with running(store):
            pass
    assert "there is no index of what was said: the store is encrypted" in caplog.text
