"""What happens to disks, done to the store of a running sidecar: each is a block in which it is so.

None of them needs more rights than a user has; where this one may mount, there is a full file system too.
"""

from __future__ import annotations

import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

from tests.proxy.process import Process

Fault = Callable[[Process, Path], AbstractContextManager[None]]


@contextmanager
def no_room(process: Process, _file: Path) -> Iterator[None]:
    """No file can be written any more: the kernel refuses every byte."""
    pid, (_, hard) = process.running.pid, resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (0, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (hard, hard))


@contextmanager
def full_file_system(_process: Process, file: Path) -> Iterator[None]:
    """Not one byte is left on it."""
    ballast = file.with_name("ballast")
    with ballast.open("wb", buffering=0) as sink:
        size = 1 << 16
        while size:
            try:
                sink.write(bytes(size))
            except OSError:
                size //= 2
    try:
        yield
    finally:
        ballast.unlink()


@contextmanager
def locked(_process: Process, file: Path) -> Iterator[None]:
    """Another process writes, and does not end."""
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        yield


@contextmanager
def damaged(_process: Process, file: Path) -> Iterator[None]:
    """A page of the index by which every message is found says something else."""
    with closing(sqlite3.connect(file)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
        (page,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'message_by_id'").fetchone()
        (size,) = other.execute("PRAGMA page_size").fetchone()
    at = (page - 1) * size
    with file.open("r+b", buffering=0) as pages:
        pages.seek(at)
        before = pages.read(size)
        pages.seek(at)
        pages.write(b"\x5a" * size)
        yield
        pages.seek(at)
        pages.write(before)


@contextmanager
def gone(_process: Process, file: Path) -> Iterator[None]:
    """The folder is empty, as when a disk was unplugged; and later all is there again."""
    away = Path(tempfile.mkdtemp(dir=file.parent.parent))
    for each in file.parent.iterdir():
        each.rename(away / each.name)
    try:
        yield
    finally:
        for each in away.iterdir():
            each.rename(file.parent / each.name)


@contextmanager
def read_only(process: Process, file: Path) -> Iterator[None]:
    """The disk was away, and came back with nothing on it that may be written."""
    with gone(process, file):
        pass
    copy = file.with_name("copy")
    shutil.copyfile(file, copy)
    copy.replace(file)
    file.chmod(0o400)
    file.parent.chmod(0o500)
    try:
        yield
    finally:
        file.parent.chmod(0o700)
        file.chmod(0o600)


# PR_CAPBSET_DROP with CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH; others than root have neither.
_DROP = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
assert os.geteuid() or not any(libc.prctl(24, capability, 0, 0, 0) for capability in (1, 2))
os.execv(sys.executable, [sys.executable, *sys.argv[1:]])
"""
#: The sidecar as a program for which what a file's mode forbids is forbidden, also for root.
UNPRIVILEGED = (sys.executable, "-c", _DROP, "-m", "sidecar")


@contextmanager
def small_file_system(folder: Path) -> Iterator[bool]:
    """Two megabytes in this folder; gives False where this user may not mount."""
    command = ("mount", "-t", "tmpfs", "-o", "size=2m,mode=700", "none", str(folder))
    try:
        is_mounted = not subprocess.run(command, capture_output=True, timeout=20, check=False).returncode
    except FileNotFoundError:
        is_mounted = False
    try:
        yield is_mounted
    finally:
        if is_mounted:
            subprocess.run(("umount", "--lazy", str(folder)), timeout=20, check=True)


def can_mount() -> bool:
    with tempfile.TemporaryDirectory() as folder, small_file_system(Path(folder)) as is_mounted:
        return is_mounted
