"""Whose turn it is, among all processes on this machine that share a file: to append to a conversation, and
to write at all.

The file also holds the stamp of the process that wrote last, for `tips`.

Who holds a turn has locked one byte, which the conversation's name stands for, of a file beside the store.
The system takes the lock back from a process that ends, however it ends, and from no other: so there is no
time that runs out, and nothing to give back after `kill -9`. Within a process nobody is kept out.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager

from sidecar.errors import StoreUnavailable

__all__ = ["FileLocks"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1  # seconds between two looks at a turn that another holds
_BYTES = 7  # offsets in a file are signed and have eight
_WRITES = 1 << 8 * _BYTES  # no conversation's


class FileLocks:
    """The turns that this process holds, in `file`, which is made when it is needed first."""

    #: The bytes of a stamp.
    STAMP = 16

    def __init__(self, file: str) -> None:
        self._file = file
        self._opened: int | None = None

    def close(self) -> None:
        """Give all turns back."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    @asynccontextmanager
    async def turn(self, name: str, wait: float) -> AsyncIterator[None]:
        """Hold the turn. Raises `TimeoutError` if another holds it for all of `wait` (seconds)."""
        place = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=_BYTES).digest())
        clock = asyncio.get_running_loop().time
        end, pause = clock() + wait, _FIRST_PAUSE
        file = self._open()
        while not _locked(file, place):
            if clock() >= end:
                raise TimeoutError
            await asyncio.sleep(min(pause, max(0.0, end - clock())))
            pause = min(2 * pause, _LONGEST_PAUSE)
        try:
            yield
        finally:
            if self._opened == file:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Write to the store while no other process does; blocks this thread until then.

        SQLite alone would look again after pauses of up to 0.1 s, and find another writing each time.
        """
        file = self._open()
        fcntl.lockf(file, fcntl.LOCK_EX, 1, _WRITES)
        try:
            yield
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, _WRITES)

    def stamp(self) -> bytes:
        """What the process that wrote last has put here; nothing of a file that others no longer find."""
        file = self._open()
        return os.pread(file, self.STAMP, 0) if os.fstat(file).st_nlink else b""

    def put_stamp(self, stamp: bytes) -> None:
        """Say that this process is writing."""
        os.pwrite(self._open(), stamp, 0)

    def _open(self) -> int:
        if self._opened is None:
            try:
                self._opened = os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreUnavailable(f"cannot open {self._file}: {error.strerror}") from error
        return self._opened


def _locked(file: int, place: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreUnavailable(f"cannot take the turn to append: {error.strerror}") from error
    return True
