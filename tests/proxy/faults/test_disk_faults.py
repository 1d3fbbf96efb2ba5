"""Faults of the disk under a real process: what goes on, what is refused; and it mends without a restart."""

from __future__ import annotations

import asyncio
import json
import os
import random
import re
import shutil
import sqlite3
import time
from contextlib import closing, nullcontext
from pathlib import Path

import aiohttp
import pytest
from aiohttp import ClientSession

from sidecar.settings import Settings
from tests.proxy.client import Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.fault_injection import (
    UNPRIVILEGED,
    Fault,
    can_mount,
    damaged,
    full_file_system,
    gone,
    locked,
    no_room,
    read_only,
    small_file_system,
)
from tests.proxy.mock_upstream import Upstream
from tests.proxy.process import Process, serving, started

# What is tested runs in a process of its own, which the coverage does not see.
pytestmark = pytest.mark.no_cover

OPEN_WEBUI = {"X-OpenWebUI-Chat-Id": "whole"}
# What is mended is noticed at once, or after the pause between two attempts to open the file.
SOON = 5.0

FULL = "full file system"
FAULTS: dict[str, tuple[Fault, str]] = {
    "no room": (no_room, "the store failed: disk I/O error"),
    "locked": (locked, "the store (did not answer within 2 s|failed: database is locked)"),
    "damaged": (damaged, "the store failed: database disk image is malformed"),
    "gone": (gone, "the store cannot be opened again: "),
    "read-only": (read_only, "the store cannot be opened again: attempt to write a readonly database"),
}
if can_mount():
    FAULTS[FULL] = (full_file_system, "the store failed: database or disk is full")


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest):
    folder = tmp_path / "data"
    folder.mkdir()
    is_small = "name" in request.fixturenames and request.getfixturevalue("name") == FULL
    with small_file_system(folder) if is_small else nullcontext():
        yield folder / "sidecar.db"


@pytest.fixture
async def process(upstream: Upstream, file: Path):
    flags = ("--upstream", upstream.url, "--store", f"sqlite:///{file}")
    async with started(UNPRIVILEGED, *flags, folder=file.parent.parent) as process:
        yield process


@pytest.fixture
async def sidecar(process: Process, file: Path):
    async with ClientSession(auto_decompress=False) as http:
        yield Sidecar(process.url, Settings.model_validate({"store": f"sqlite:///{file}"}), http)


async def ready(sidecar: Sidecar) -> tuple[int, str]:
    reply = await sidecar.send("GET", "/-/ready")
    return reply.status, reply.json["store"]


async def until_ready(sidecar: Sidecar) -> None:
    end = time.monotonic() + SOON
    while (said := await ready(sidecar)) != (200, "writable"):
        assert time.monotonic() < end, said
        await asyncio.sleep(0.1)


@pytest.mark.parametrize("name", FAULTS)
async def test_whole_histories_are_served_appends_are_told_and_all_mends_without_a_restart(
    process: Process, sidecar: Sidecar, upstream: Upstream, file: Path, name: str
):
    fault, message = FAULTS[name]
    await sidecar.ask("hi", headers=OPEN_WEBUI)
    await sidecar.ask("hi", id="thin")
    with fault(process, file):
        for stream in (False, True):
            began = time.monotonic()
            reply = await sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI, stream=stream)
            assert reply.status == 200
            assert b"ok" in reply.body
        assert time.monotonic() - began < 4.5, "once it is known, nobody waits for a lock"
        assert reply.headers["X-Sidecar-Degraded"] == "store"
        asked = len(upstream.requests)
        for stream in (False, True):
            refused = await sidecar.ask("lost?", id="thin", stream=stream)
            assert_error(refused, 503, "store_unavailable", type="store_error")
        assert len(upstream.requests) == asked, "nothing is asked for in vain"
        assert await ready(sidecar) == (503, "failing")
        assert (await sidecar.send("GET", "/-/live")).status == 200
    await until_ready(sidecar)
    await sidecar.ask("goes on", id="thin")
    assert upstream.last.said == ["hi", "ok", "goes on"]
    reply = await sidecar.ask("hi", "ok", "and now?", headers=OPEN_WEBUI)
    assert "X-Sidecar-Degraded" not in reply.headers
    kept = {each.key: each.branches[-1] for each in await sidecar.stored()}
    assert kept == {"whole": ["hi", "ok", "and now?", "ok"], "thin": ["hi", "ok", "goes on", "ok"]}
    process.running.terminate()
    assert await asyncio.wait_for(process.running.wait(), 15) == 0
    assert integrity(file) == "ok"
    assert process.running.stderr is not None
    log = (await process.running.stderr.read()).decode()
    assert re.search(message, log), "why it failed is in the log, for the operator alone"


async def test_no_end_is_seen_of_a_reply_for_which_there_is_no_room(
    process: Process, sidecar: Sidecar, upstream: Upstream, file: Path
):
    with no_room(process, file), pytest.raises(aiohttp.ClientError):
        await sidecar.ask("hi", id="thin", stream=True)
    await sidecar.ask("hi again", id="thin")
    assert (await sidecar.only()).texts == ["hi again", "ok"]


async def test_another_file_under_the_name_is_used_from_then_on(
    process: Process, sidecar: Sidecar, upstream: Upstream, file: Path, tmp_path: Path
):
    """A backup that is put back under a running sidecar: nothing goes to a file that nobody will open."""
    await sidecar.ask("hi", id="thin")
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(tmp_path / "backup.db")) as copy:
        source.backup(copy)
    await sidecar.ask("not in the backup", id="thin")
    for end in ("-wal", "-shm"):
        file.with_name(file.name + end).unlink()
    shutil.copyfile(tmp_path / "backup.db", file.with_name("new"))
    os.replace(file.with_name("new"), file)
    await sidecar.ask("and?", id="thin")
    assert upstream.last.said == ["hi", "ok", "and?"]
    assert (await sidecar.only()).branches == [["hi", "ok", "and?", "ok"]]


async def test_a_log_that_is_cut_short_under_a_running_sidecar_is_got_over(
    process: Process, sidecar: Sidecar, file: Path
):
    for number in range(5):
        await sidecar.ask(f"question {number}", id="thin")
    os.truncate(file.with_name(file.name + "-wal"), 3 * 4096)
    assert (await sidecar.ask("and?", id="thin")).status == 200
    await until_ready(sidecar)
    assert [branch[-2:] for branch in (await sidecar.only()).branches] == [["and?", "ok"]]
    assert integrity(file) == "ok"


async def test_a_log_that_is_cut_anywhere_costs_its_end_and_nothing_else(
    start: Start, upstream: Upstream, tmp_path: Path
):
    """As when the machine went down, and the disk had not told the truth about what was written."""
    original = tmp_path / "original"
    original.mkdir()
    settings = Settings.model_validate({"store": f"sqlite:///{original}/sidecar.db"})
    async with serving("--upstream", upstream.url, folder=original) as process, ClientSession() as http:
        sidecar = Sidecar(process.url, settings, http)
        for number in range(20):
            await sidecar.ask(f"question {number}", id="thin")
        whole = (await sidecar.only()).texts
        process.running.kill()
        await process.running.wait()
    log, chance = original / "sidecar.db-wal", random.Random(5)
    lengths = set()
    for number in range(4):
        folder = tmp_path / f"cut-{number}"
        shutil.copytree(original, folder)
        os.truncate(folder / log.name, chance.randrange(log.stat().st_size // 2, log.stat().st_size))
        sidecar = await start(store=f"sqlite:///{folder}/sidecar.db")
        left = [text for each in await sidecar.stored() for text in each.texts]
        assert left == whole[: len(left)]
        assert len(left) % 2 == 0, "no turn is there by half"
        lengths.add(len(left))
        await sidecar.ask("and?", id="thin")
        assert (await sidecar.only()).branches == [[*left, "and?", "ok"]]
        assert integrity(folder / "sidecar.db") == "ok"
    assert len(lengths) > 1, "they were cut in several places"


def integrity(file: Path) -> str:
    with closing(sqlite3.connect(file)) as connection:
        return json.dumps(connection.execute("PRAGMA integrity_check").fetchall()).strip('[]"')
