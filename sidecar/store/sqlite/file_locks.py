"""Locks among all processes on this machine that share a store file: to append to a conversation, and to
write at all.

The lock file also holds the stamp of the process that wrote last, for `tip_cache`.

A lock is one locked byte of a file beside the store, chosen by the hash of the conversation's name. The
kernel releases it when its process ends, however it ends: so there is no timeout to choose, and nothing to
clean up after `kill -9`. It does not exclude others within the same process.
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

from sidecar.errors import StoreUnavailable

__all__ = ["FileLocks"]

_FIRST_PAUSE, _LONGEST_PAUSE = 0.005, 0.1  # seconds between two attempts to get a lock
_BYTES = 7  # offsets in a file are signed and have eight
_WRITES = 1 << 8 * _BYTES  # the byte for writing, which is no conversation's


class FileLocks:
    """The locks that this process holds in `file`, which is created on first use.

    `beside`: the store; as root it gets the owner of that, as SQLite gives it to its own files: else a
    command of root's would shut the server out.
    """

    #: The bytes of a stamp.
    STAMP = 16

    def __init__(self, file: str, beside: str | None = None) -> None:
        self._file = file
        self._beside = beside
        self._opened: int | None = None

    def check(self) -> None:
        """Raises `StoreUnavailable` if they cannot be taken."""
        self._open()

    def close(self) -> None:
        """Release all locks."""
        if self._opened is not None:
            os.close(self._opened)
            self._opened = None

    @asynccontextmanager
    async def hold(self, name: str, wait: float) -> AsyncIterator[bool]:
        """Hold the lock; gives whether another process held it. Raises `TimeoutError` if one holds it for all
        of `wait` (seconds)."""
        place = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=_BYTES).digest())
        clock = asyncio.get_running_loop().time
        end, pause, was_held = clock() + wait, _FIRST_PAUSE, False
        file = self._open()
        while not _locked(file, place):
            was_held = True
            if clock() >= end:
                raise TimeoutError
            await asyncio.sleep(min(pause, max(0.0, end - clock())))
            pause = min(2 * pause, _LONGEST_PAUSE)
        try:
            yield was_held
        finally:
            if self._opened == file:
                fcntl.lockf(file, fcntl.LOCK_UN, 1, place)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the write lock; blocks this thread until no other process writes.

        SQLite's busy handler sleeps for up to 0.1 s between attempts, and finds another writer each time.
        """
        file = self._open()
        fcntl.lockf(file, fcntl.LOCK_EX, 1, _WRITES)
        try:
            yield
        finally:
            fcntl.lockf(file, fcntl.LOCK_UN, 1, _WRITES)

    def stamp(self) -> bytes:
        """The stamp of the process that wrote last; empty if the file has been unlinked."""
        file = self._open()
        return os.pread(file, self.STAMP, 0) if os.fstat(file).st_nlink else b""

    def put_stamp(self, stamp: bytes) -> None:
        """Put the stamp of this process, which is writing."""
        os.pwrite(self._open(), stamp, 0)

    def _open(self) -> int:
        if self._opened is None:
            try:
                self._opened = os.open(self._file, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            except OSError as error:
                raise StoreUnavailable(f"cannot open {self._file}: {error.strerror}") from error
            if self._beside is not None and os.geteuid() == 0:
                with suppress(OSError):  # a file system, or a container, in which that cannot be done
                    owner = os.stat(self._beside)
                    os.fchown(self._opened, owner.st_uid, owner.st_gid)
        return self._opened


def _locked(file: int, place: int) -> bool:
    try:
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, place)
    except BlockingIOError:
        return False
    except OSError as error:
        raise StoreUnavailable(f"cannot take the append lock: {error.strerror}") from error
    return True
