"""The thread that commits in groups, on a connection of its own."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
import time
from contextlib import closing

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store.sqlite import worker as module
from sidecar.store.sqlite.worker import Worker

INSERT = "INSERT INTO item (value) VALUES (?)"


@pytest.fixture
def file(tmp_path):
    file = str(tmp_path / "items.db")
    connection = sqlite3.connect(file)
    connection.execute("CREATE TABLE item (value INTEGER UNIQUE)")
    connection.close()
    return file


@pytest.fixture
def statements():
    """What the worker's connection executed."""
    return []


@pytest.fixture
async def worker(file, statements):
    def connect():
        connection = sqlite3.connect(file, isolation_level=None, timeout=0.2)
        connection.set_trace_callback(statements.append)
        return connection

    worker = Worker("test-worker", connect, commits=True)
    await worker.start()
    yield worker
    await worker.stop()


class Held:
    """Keeps the worker busy with a job, so that what is asked for meanwhile waits in one queue."""

    def __init__(self, worker):
        self._worker, self._go = worker, threading.Event()

    async def __aenter__(self):
        self._job = asyncio.ensure_future(self._worker.do(lambda _: self._go.wait(10)))
        await asyncio.sleep(0.05)

    async def __aexit__(self, *_):
        self._go.set()
        await self._job


def insert(value):
    return lambda connection: connection.execute(INSERT, (value,)).lastrowid


def stored(file):
    connection = sqlite3.connect(file)
    values = [value for (value,) in connection.execute("SELECT value FROM item ORDER BY rowid")]
    connection.close()
    return values


async def waiting(worker, *jobs):
    """These jobs, asked for in this order and now in the worker's queue."""
    tasks = [asyncio.ensure_future(worker.do(job)) for job in jobs]
    await asyncio.sleep(0)
    return tasks


async def test_a_job_returns_its_result_after_the_commit(worker, file):
    assert await worker.do(insert(7)) == 1
    assert stored(file) == [7]


async def test_jobs_that_wait_share_one_commit(worker, file, statements):
    async with Held(worker):
        statements.clear()
        tasks = await waiting(worker, *(insert(value) for value in range(100)))
    await asyncio.gather(*tasks)

    assert statements.count("COMMIT") == 2, "one for the job that held the worker, one for the hundred"
    assert stored(file) == list(range(100))


async def test_a_group_has_a_greatest_size(worker, file, statements):
    async with Held(worker):
        statements.clear()
        tasks = await waiting(worker, *(insert(value) for value in range(300)))
    await asyncio.gather(*tasks)

    assert statements.count("COMMIT") == 1 + 3
    assert stored(file) == list(range(300))


async def test_a_failing_job_does_not_take_its_group_along(worker, file):
    await worker.do(insert(3))
    async with Held(worker):
        tasks = await waiting(worker, *(insert(value) for value in (1, 2, 3, 4)))
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(each) for each in results] == [int, int, StoreUnavailable, int]
    assert stored(file) == [3, 1, 2, 4]


async def test_a_job_that_fails_half_way_leaves_nothing(worker, file):
    def half(connection):
        connection.execute(INSERT, (1,))
        raise sqlite3.OperationalError("half way")

    with pytest.raises(StoreUnavailable, match="half way"):
        await worker.do(half)
    await worker.do(insert(2))

    assert stored(file) == [2]


async def test_a_mistake_of_ours_reaches_its_caller_as_it_is(worker, file):
    def mistaken(_connection):
        raise ZeroDivisionError("a mistake")

    with pytest.raises(ZeroDivisionError, match="a mistake"):
        await worker.do(mistaken)
    await worker.do(insert(1))

    assert stored(file) == [1]


async def test_a_reading_worker_hands_each_its_own_error(file):
    reader = Worker("test-reader", lambda: sqlite3.connect(file, isolation_level=None), commits=False)
    await reader.start()
    jobs = [lambda c: c.execute("SELECT 1").fetchone(), lambda c: c.execute("SELECT nonsense")]
    results = await asyncio.gather(*(reader.do(job) for job in jobs), return_exceptions=True)
    await reader.stop()

    assert results[0] == (1,)
    assert isinstance(results[1], StoreUnavailable)
    assert "no such column: nonsense" in results[1].message


async def test_the_job_of_a_cancelled_caller_is_done_all_the_same(worker, file):
    async with Held(worker):
        (task,) = await waiting(worker, insert(1))
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    await worker.do(insert(2))

    assert stored(file) == [1, 2]


async def test_a_text_that_is_no_utf8_is_an_error_of_the_store(worker):
    with pytest.raises(StoreUnavailable, match="surrogates not allowed"):
        await worker.do(insert("half an emoji \ud83d"))


async def test_a_locked_file_fails_a_whole_group_after_one_wait(worker, file):
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        begun = time.monotonic()
        tasks = await waiting(worker, *(insert(value) for value in range(50)))
        results = await asyncio.gather(*tasks, return_exceptions=True)

    assert {str(each) for each in results} == {"the store failed: database is locked"}
    assert time.monotonic() - begun < 5  # each for itself would wait 0.2 seconds
    await worker.do(insert(1))
    assert stored(file) == [1]


async def test_when_too_many_jobs_wait_the_next_is_refused_at_once(worker, file, monkeypatch):
    monkeypatch.setattr(module, "MAX_WAITING", 4)  # the one that holds it included
    async with Held(worker):
        tasks = await waiting(worker, *(insert(value) for value in range(5)))
        assert worker.waiting == 4
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert {str(task.exception()) for task in done} == {"the store is too slow: 4 jobs are waiting"}
        assert len(done) == 2
    await asyncio.wait(tasks)

    assert worker.waiting == 0
    assert stored(file) == [0, 1, 2]


async def test_a_worker_that_was_stopped_can_start_again(worker, file):
    await worker.do(insert(1))
    await worker.stop()
    await worker.start()
    await worker.do(insert(2))

    assert stored(file) == [1, 2]


async def test_stopping_finishes_what_was_accepted(worker, file):
    async with Held(worker):
        tasks = await waiting(worker, *(insert(value) for value in range(200)))
        stop = asyncio.ensure_future(worker.stop())
        await asyncio.sleep(0)
    await stop
    await asyncio.gather(*tasks)

    assert stored(file) == list(range(200))


async def test_a_stopped_worker_refuses_instead_of_keeping_its_caller_waiting(worker):
    await worker.stop()
    with pytest.raises(StoreUnavailable, match="not open"):
        await worker.do(insert(1))


async def test_a_worker_that_was_never_started_refuses_and_can_be_stopped(file):
    worker = Worker("test-worker", lambda: sqlite3.connect(file), commits=True)
    with pytest.raises(StoreUnavailable, match="not open"):
        await worker.do(insert(1))
    await worker.stop()


async def test_what_connecting_raises_comes_out_of_start_and_ends_the_thread(tmp_path):
    worker = Worker("test-unconnected", lambda: sqlite3.connect(tmp_path), commits=True)
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        await worker.start()
    await worker.stop()

    assert "test-unconnected" not in {thread.name for thread in threading.enumerate()}
