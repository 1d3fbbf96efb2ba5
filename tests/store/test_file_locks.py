"""Locks to append, in a file, among processes of which some are killed."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store.sqlite.file_locks import FileLocks
from tests.proxy.process import clean_environment

HOLD = """
import asyncio, sys
from sidecar.store.sqlite.file_locks import FileLocks

async def hold(file, name):
    async with FileLocks(file).hold(name, 5):
        print("held", flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.readline)

asyncio.run(hold(*sys.argv[1:]))
"""


WRITE = """
import pathlib, sys
from sidecar.store.sqlite.file_locks import FileLocks

print("begun", flush=True)
with FileLocks(sys.argv[1]).writing():
    pathlib.Path(sys.argv[2]).touch()
"""


@asynccontextmanager
async def held_by_another(file: Path, name: str) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that holds the turn until its standard input ends."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", HOLD, str(file), name), stdin=pipe, stdout=pipe, env=clean_environment()
    )
    assert process.stdout
    assert await asyncio.wait_for(process.stdout.readline(), 20) == b"held\n"
    assert process.stdin
    yield process
    process.stdin.close()
    await asyncio.wait_for(process.wait(), 20)


@pytest.fixture
def turns(tmp_path: Path):
    turns = FileLocks(str(tmp_path / "turns"))
    yield turns
    turns.close()


async def test_a_turn_that_another_process_holds_is_waited_for(turns: FileLocks, tmp_path: Path):
    async with held_by_another(tmp_path / "turns", "a") as process:
        with pytest.raises(TimeoutError):
            async with turns.hold("a", 0.05):
                pass
        assert process.stdin
        process.stdin.write(b"\n")
        async with turns.hold("a", 5):
            pass


async def test_a_turn_of_another_conversation_is_free(turns: FileLocks, tmp_path: Path):
    async with held_by_another(tmp_path / "turns", "a"), turns.hold("b", 0):
        pass


async def test_what_was_given_back_can_be_had_by_another_process(turns: FileLocks, tmp_path: Path):
    async with turns.hold("a", 0):
        pass
    async with held_by_another(tmp_path / "turns", "a"):
        pass


async def test_a_process_that_is_killed_holds_no_turn(turns: FileLocks, tmp_path: Path):
    async with held_by_another(tmp_path / "turns", "a") as process:
        process.kill()
        async with turns.hold("a", 5):
            pass


async def test_who_wants_to_write_waits_until_the_other_process_has_written(turns: FileLocks, tmp_path: Path):
    written = tmp_path / "written"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", WRITE, str(tmp_path / "turns"), str(written)),
        stdin=pipe,
        stdout=pipe,
        env=clean_environment(),
    )
    assert process.stdin
    assert process.stdout
    with turns.writing():
        assert await asyncio.wait_for(process.stdout.readline(), 20) == b"begun\n"
        await asyncio.sleep(0.1)
        assert not written.exists()
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert written.exists()
    process.stdin.close()


async def test_what_is_held_when_the_store_closes_is_given_back(turns: FileLocks, tmp_path: Path):
    async with turns.hold("a", 0):
        turns.close()
        async with held_by_another(tmp_path / "turns", "a"):
            pass


async def test_a_file_that_cannot_be_made_is_a_store_that_cannot_be_used(tmp_path: Path):
    with pytest.raises(StoreUnavailable, match="No such file"):
        async with FileLocks(str(tmp_path / "nowhere" / "turns")).hold("a", 0):
            pass


def test_what_root_makes_belongs_to_the_owner_of_the_store(tmp_path, monkeypatch):
    """Else a command of root's would shut the server out of its own locks."""
    store, given = tmp_path / "sidecar.db", []
    store.touch()
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "fchown", lambda file, user, group: given.append((file, user, group)))
    monkeypatch.setattr(os, "stat", lambda path: os.stat_result((0o600, 0, 0, 1, 4711, 4712, 0, 0, 0, 0)))
    turns = FileLocks(f"{store}-turns", beside=str(store))
    with turns.writing():
        pass
    assert [each[1:] for each in given] == [(4711, 4712)]
    turns.close()


def test_whoever_is_not_root_gives_nothing_away(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(os, "fchown", lambda *_: pytest.fail("nobody else may"))
    turns = FileLocks(str(tmp_path / "sidecar.db-turns"), beside=str(tmp_path))
    turns.check()
    turns.close()
