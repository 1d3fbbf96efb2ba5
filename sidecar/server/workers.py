"""Several processes on one port: a parent that serves nothing, and its workers, which share one store.

Rules: it is ready once all workers serve, and says so once. A worker that exits unexpectedly is logged and
restarted on the same socket, so that connections that wait there are served. A signal to stop goes to all
workers; the parent exits after them. Workers whose parent is gone stop by themselves.
"""

from __future__ import annotations

import asyncio
import gc
import logging
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from types import FrameType

from sidecar.errors import SidecarError
from sidecar.metrics import forget_worker
from sidecar.server.sockets import Sockets
from sidecar.settings import Settings
from sidecar.store_factory import store_of

__all__ = ["Workers"]

log = logging.getLogger("sidecar")

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_MIN_UPTIME = 5.0  # seconds: a worker that ends earlier than that is started anew only after a pause
_FIRST_BACKOFF, _MAX_BACKOFF = 0.1, 5.0
_POLL_INTERVAL = 60.0  # seconds

#: Serves on these sockets until stopped, or until the pipe (a descriptor) closes; reports when it serves.
Work = Callable[[Settings, Sockets, int, Callable[[], object]], None]


class Workers:
    """The workers of one parent. `work` is called in each; `say` tells somebody who looks on."""

    def __init__(
        self, settings: Settings, sockets: list[Sockets], work: Work, say: Callable[[str], None]
    ) -> None:
        self._say = say
        self._settings = settings
        self._sockets = sockets
        self._work = work
        self._workers: dict[int, int] = {}  # process id -> which one
        self._begun: dict[int, float] = {}
        self._absent: dict[int, float] = {}  # which one -> when it is started anew
        self._pauses: dict[int, float] = {}
        self._serving: set[int] = set()
        self._told: list[int] = []  # the signals to stop
        self._has_served = False
        self._failed = False
        self._ready = os.pipe()
        self._alive = os.pipe()
        self._woken = socket.socketpair()

    def run(self, ready: Callable[[], None]) -> int:
        """Start all, call `ready` when they serve, and keep them going until told to stop."""
        asyncio.run(_prepared(self._settings))
        gc.freeze()  # what there is by now stays shared with the workers
        self._listen_to_signals()
        for number in range(len(self._sockets)):
            self._start(number)
        while self._workers or (self._absent and not self._is_stopping):
            self._wait()
            self._reap()
            if not self._has_served and len(self._serving) == len(self._sockets):
                self._has_served = True
                ready()
            self._start_anew()
        if len(self._told) > 1:
            return 128 + self._told[-1]
        return 1 if self._failed else 0

    @property
    def _is_stopping(self) -> bool:
        return bool(self._told) or self._failed

    def _listen_to_signals(self) -> None:
        for end in self._woken:
            end.setblocking(False)
        signal.set_wakeup_fd(self._woken[1].fileno(), warn_on_full_buffer=False)
        for number in (*_SIGNALS, signal.SIGCHLD):
            signal.signal(number, _nothing)

    def _wait(self) -> None:
        """Until something has happened, or a worker is to be started anew."""
        now = time.monotonic()
        patience = min((at - now for at in self._absent.values()), default=_POLL_INTERVAL)
        waiting = [self._woken[0].fileno(), self._ready[0]]
        readable, _, _ = select.select(waiting, [], [], max(0.0, patience))
        if waiting[1] in readable:
            self._serving.update(os.read(self._ready[0], 4096))
        if waiting[0] in readable:
            for number in self._woken[0].recv(4096):
                if number in _SIGNALS:
                    self._stop(number)

    def _stop(self, number: int) -> None:
        if not self._told:
            self._say("stopping")
        self._told.append(number)
        self._end_all(number)

    def _end_all(self, number: int) -> None:
        # Else the system would go on taking connections for workers that take none any more.
        for sockets in self._sockets:
            sockets.close()
        for pid in self._workers:
            with suppress(ProcessLookupError):  # it has just ended
                os.kill(pid, number)

    def _reap(self) -> None:
        while self._workers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            if pid not in self._workers:  # not ours: a container's first process inherits orphans
                continue
            number = self._workers.pop(pid)
            self._ended(
                number, pid, os.waitstatus_to_exitcode(status), time.monotonic() - self._begun.pop(pid)
            )

    def _ended(self, number: int, pid: int, code: int, lived: float) -> None:
        forget_worker(pid)
        if self._is_stopping:
            return
        if not self._has_served:  # as one process: a sidecar that cannot start ends
            self._failed = True
            self._end_all(signal.SIGTERM)
            return
        how = f"signal {-code}" if code < 0 else f"exit code {code}"
        log.error("a worker exited and is restarted", extra={"worker": number, "pid": pid, "by": how})
        pause = 0.0
        if lived < _MIN_UPTIME:
            pause = min(2 * self._pauses.get(number, _FIRST_BACKOFF / 2), _MAX_BACKOFF)
        self._pauses[number] = pause
        self._absent[number] = time.monotonic() + pause

    def _start_anew(self) -> None:
        now = time.monotonic()
        for number in [each for each, at in self._absent.items() if at <= now]:
            del self._absent[number]
            if not self._is_stopping:
                self._start(number)

    def _start(self, number: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            self._be_worker(number)
        self._workers[pid] = number
        self._begun[pid] = time.monotonic()

    def _be_worker(self, number: int) -> None:
        """In the new process, which never returns from here."""
        code = 1
        try:
            os.setpgid(0, 0)  # Ctrl-C is for the parent, which tells us
            signal.set_wakeup_fd(-1)
            for each in (*_SIGNALS, signal.SIGCHLD):
                signal.signal(each, signal.SIG_DFL)
            os.close(self._alive[1])
            for other, sockets in enumerate(self._sockets):
                if other != number:
                    sockets.close()
            settings = self._settings if number == 0 else _without_pruning(self._settings)
            self._work(
                settings,
                self._sockets[number],
                self._alive[0],
                partial(os.write, self._ready[1], bytes([number])),
            )
            code = 0
        except SidecarError as error:
            self._say(error.message)
        except BaseException:  # whatever it is, this process must not go on as a second parent
            log.exception("a worker failed")
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)


def _nothing(_number: int, _frame: FrameType | None) -> None:
    """Signals are taken from the socket that they wake us by."""


def _without_pruning(settings: Settings) -> Settings:
    """One worker is enough to do that."""
    return settings.model_copy(update={"retention": settings.retention.model_copy(update={"every": 0.0})})


async def _prepared(settings: Settings) -> None:
    """Make the store, or bring it up to date, before there are many; what is wrong with it is said once."""
    store = store_of(settings, upgrades=True)
    await store.open()
    await store.close()
