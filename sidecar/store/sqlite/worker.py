"""A thread with a SQLite connection of its own, fed through a queue.

The writing worker commits in groups: all jobs that wait go into one transaction, so that a hundred replies
that end together cost one fsync, and none waits for a timer. Jobs from one iteration of the event loop are
handed over together, since waking the thread is what costs most. A job that fails does not fail its group:
the group is rolled back and run one by one. A locked store fails the whole group at once: retries would
only hold up the queue.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

from sidecar.errors import StoreUnavailable

__all__ = ["MAX_WAITING", "Job", "Worker"]

T = TypeVar("T")
Job = Callable[[sqlite3.Connection], Any]

# Larger groups save nothing more, and their first job waits for the last.
_MAX_GROUP = 128
#: How many jobs may wait. Every stream that ends is one, so there have to be thousands.
MAX_WAITING = 8192


class Worker:
    """Runs jobs on one connection, in the order in which they came.

    `connect` is called in the thread; what it raises comes out of `start`. With `commits` every group
    of jobs is a transaction, and a job's result is handed out only after the commit.
    """

    def __init__(self, name: str, connect: Callable[[], sqlite3.Connection], *, commits: bool) -> None:
        self.commits = commits
        #: Held in the thread while a group is written: others that write to the same file wait for it.
        self.alone: Callable[[], AbstractContextManager[None]] = nullcontext
        #: Called in the thread when a group's transaction has begun.
        self.begun: Callable[[sqlite3.Connection], None] = _nothing
        #: How many jobs have been asked for and are not done.
        self.waiting = 0
        #: Does it take jobs?
        self.is_open = False
        self._name = name
        self._connect = connect
        self._queue: SimpleQueue[list[_Asked] | None] = SimpleQueue()
        self._asked: list[_Asked] = []  # in this round of the event loop
        self._pending: list[_Asked] = []  # the thread's own: what it has taken out of the queue
        self._is_ending = False  # the thread's own as well
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._started: asyncio.Future[None] | None = None

    async def start(self) -> None:
        """Open the connection; raises what opening raised. A worker that was stopped can start again."""
        self._loop = asyncio.get_running_loop()
        self._started = self._loop.create_future()
        self._queue = SimpleQueue()
        self._is_ending = False
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()
        await self._started
        self.is_open = True

    async def stop(self) -> None:
        """Finish every job that was accepted, then close the connection. Harmless twice, or unstarted."""
        self.is_open = False
        if self._thread is not None:
            self._hand_over()
            self._queue.put(None)
            await asyncio.get_running_loop().run_in_executor(None, self._thread.join)

    async def do(self, job: Callable[[sqlite3.Connection], T]) -> T:
        """Run `job` in the thread. Raises `StoreUnavailable` for every error of SQLite, also a
        text that is no UTF-8, if the worker has not been started or has been stopped, and if too many wait.

        A caller that is cancelled no longer waits; the job is done all the same.
        """
        if self._loop is None or not self.is_open:
            raise StoreUnavailable("the store is not open")
        if self.waiting >= MAX_WAITING:
            raise StoreUnavailable(f"the store is too slow: {self.waiting} jobs are waiting")
        future: asyncio.Future[T] = self._loop.create_future()
        self.waiting += 1
        if not self._asked:
            self._loop.call_soon(self._hand_over)
        self._asked.append((job, future))
        try:
            return await future
        except (sqlite3.Error, UnicodeError) as error:
            raise StoreUnavailable(f"the store failed: {error}") from error

    def ready(self) -> None:
        """Called in the thread before each group; what it raises every job of the group gets."""

    def _hand_over(self) -> None:
        if self._asked:
            self._queue.put(self._asked)
            self._asked = []

    def _run(self) -> None:
        assert self._started is not None
        try:
            connection = self._connect()
        except BaseException as error:  # handed to `start`, which raises it
            self._hand_out([(self._started, None, error)])
            return
        self._hand_out([(self._started, None, None)])
        try:
            while group := self._next_group():
                self._hand_out(self._done(connection, group))
        finally:
            connection.close()

    def _hand_out(self, settled: list[_Settled]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._settle, settled)

    def _settle(self, settled: list[_Settled]) -> None:
        for future, result, error in settled:
            self.waiting -= future is not self._started
            if future.done():  # its caller was cancelled
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(result)

    def _next_group(self) -> list[_Asked]:
        """All jobs that wait, at least one; none when the worker is to stop."""
        try:
            while not self._is_ending and len(self._pending) < _MAX_GROUP:
                asked = self._queue.get(block=not self._pending)
                if asked is None:
                    self._is_ending = True
                else:
                    self._pending += asked
        except Empty:
            pass  # the queue is empty
        group, self._pending = self._pending[:_MAX_GROUP], self._pending[_MAX_GROUP:]
        return group

    def _done(self, connection: sqlite3.Connection, group: list[_Asked]) -> list[_Settled]:
        try:
            self.ready()
        except sqlite3.Error as error:
            return [(future, None, error) for _job, future in group]
        if not self.commits:
            return [_attempt(job, future, connection) for job, future in group]
        with self.alone():
            try:
                connection.execute("BEGIN IMMEDIATE")
            except sqlite3.Error as error:
                return [(future, None, error) for _job, future in group]
            try:
                with connection:  # commits, or rolls back
                    self.begun(connection)
                    return [(future, job(connection), None) for job, future in group]
            except Exception as error:  # the error of one job is not the others': one by one, below
                if len(group) == 1:
                    return [(group[0][1], None, error)]
        return [settled for one in group for settled in self._done(connection, [one])]


def _nothing(_connection: sqlite3.Connection) -> None:
    pass


_Asked = tuple[Job, "asyncio.Future[Any]"]
_Settled = tuple["asyncio.Future[Any]", Any, BaseException | None]


def _attempt(job: Job, future: asyncio.Future[Any], connection: sqlite3.Connection) -> _Settled:
    try:
        return (future, job(connection), None)
    except Exception as error:  # handed to the caller, which raises it
        return (future, None, error)
