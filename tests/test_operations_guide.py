"""Copies are made and put back as the guide to operations says, and the chat goes on from them."""

from __future__ import annotations

import asyncio
import os
import re
import runpy
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from sidecar import cli
from sidecar.store.migrations import newest_schema
from tests import docs
from tests.guides import blocks
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.conftest import start as start
from tests.proxy.conftest import upstream as upstream
from tests.proxy.mock_upstream import Upstream, says
from tests.store.postgres import Server

_APPEND = {"X-Conversation-ID": "a", "X-Sidecar-History": "append"}


def told(beginning: str) -> list[list[str]]:
    """The commands of the one block that begins so."""
    (block,) = (each for each in blocks("operations", "sh") if each.startswith(beginning))
    return [shlex.split(line, comments=True) for line in block.splitlines()]


async def goes_on(sidecar: Sidecar, upstream: Upstream) -> None:
    await sidecar.ask("And?", headers=_APPEND)
    assert upstream.last.said == ["My name is Ada.", "Hello Ada.", "And?"]


@pytest.mark.usefixtures("undisturbed")
async def test_a_copy_of_a_file_is_sound_and_the_chat_goes_on_from_it(
    start: Start, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    upstream.will(says("Hello Ada."))
    sidecar = await start(store=f"sqlite:///{tmp_path}/in-use.db")
    await sidecar.ask("My name is Ada.", headers=_APPEND)
    backup, verify = told("sidecar backup")
    backup[backup.index("--store") + 1] = f"sqlite:///{tmp_path}/in-use.db"
    for command in (backup, verify):
        assert await asyncio.to_thread(cli.main, command[1:]) == 0
    # What is put in the place of a file is the copy alone, without the log that stood beside the old one.
    shutil.copy(tmp_path / backup[-1], tmp_path / "restored.db")
    await goes_on(await start(store=f"sqlite:///{tmp_path}/restored.db"), upstream)


async def test_a_dump_of_a_database_is_restored_for_its_role_and_the_chat_goes_on_from_it(
    start: Start, upstream: Upstream, server: Server, tmp_path: Path
):
    names = {each: f"{each.lower()}_{os.getpid()}" for each in ("USER", "DATABASE", "RESTORED", "BEFORE")}
    user, name, restored, before = names.values()
    await server.execute(f"CREATE ROLE {user} LOGIN")  # as `createuser` makes one: it may make no database
    await server.execute(f"CREATE DATABASE {name} OWNER {user}")

    def url(database: str) -> str:
        return server.url(database).replace("//sidecar@", f"//{user}@")

    upstream.will(says("Hello Ada."))
    sidecar = await start(store=url(name))
    await sidecar.ask("My name is Ada.", headers=_APPEND)
    values = {
        "postgresql://USER:PASSWORD@HOST:PORT/DATABASE": url(name),
        "postgresql://USER:PASSWORD@HOST:PORT/RESTORED": url(restored),
        "--username=postgres": "--username=sidecar",
        "ALTER DATABASE": "alter database",
        "HOST": str(server.folder),
        "PORT": "5432",
        **names,
    }

    async def run(beginning: str) -> None:
        for program, *arguments in told(beginning):
            for said, meant in values.items():
                arguments = [each.replace(said, meant) for each in arguments]
            if program == "sidecar":
                assert await asyncio.to_thread(cli.main, arguments) == 0
                continue
            command = (str(server.programs / program), *arguments)
            done = await asyncio.to_thread(
                subprocess.run, command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
            )
            assert done.returncode == 0, done.stderr

    await run("pg_dump")
    await goes_on(await start(store=url(restored)), upstream)
    # To the database a sidecar that cannot reach it is as good as stopped.
    await server.execute(f"ALTER ROLE {user} NOLOGIN")
    await server.execute(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{user}'")
    await run("psql")
    await server.execute(f"ALTER ROLE {user} LOGIN")
    found = await server.execute(f"SELECT FROM pg_database WHERE datname IN ('{name}', '{before}')")
    assert found == "SELECT 2"
    renamed = await start(store=url(name))
    await renamed.ask("And now?", headers=_APPEND)
    assert upstream.last.said == ["My name is Ada.", "Hello Ada.", "And?", "ok", "And now?"]


@pytest.mark.usefixtures("undisturbed")
async def test_a_file_is_taken_back_as_the_example_does_it(
    start: Start, upstream: Upstream, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    upstream.will(says("Hello Ada."))
    await (await start(store=f"sqlite:///{tmp_path}/in-use.db")).ask("My name is Ada.", headers=_APPEND)
    copy, asks, *steps = told("cp sidecar-")
    assert (copy[0], asks[:2]) == ("cp", ["sqlite3", copy[2]])
    backup = ["backup", copy[1], "--store", f"sqlite:///{tmp_path}/in-use.db"]
    assert await asyncio.to_thread(cli.main, backup) == 0
    shutil.copy(copy[1], copy[2])
    with closing(sqlite3.connect(copy[2], isolation_level=None)) as connection:
        assert connection.execute(asks[2]).fetchone() == (newest_schema(),)
        for program, *words in steps:
            if program == "sqlite3":  # with the text of a script on its standard input
                assert words[:3] == ["-bail", copy[2], "<"]
                connection.executescript((docs.ROOT / words[3]).read_text("utf-8"))
            else:
                assert (Path(program).name, words[1]) == ("python", copy[2])
                await asyncio.to_thread(runpy.run_path(str(docs.ROOT / words[0]))["main"], copy[2])
        assert connection.execute(asks[2]).fetchone() == (8,)
    await goes_on(await start(store=f"sqlite:///{tmp_path}/{copy[2]}"), upstream)


async def test_every_night_a_copy_is_made_and_verified_and_the_oldest_go(
    start: Start, upstream: Upstream, tmp_path: Path
):
    upstream.will(says("Hello Ada."))
    sidecar = await start(store=f"sqlite:///{tmp_path}/in-use.db")
    await sidecar.ask("My name is Ada.", headers=_APPEND)
    (script,) = (each for each in blocks("operations", "sh") if each.startswith("#!/bin/sh"))
    folder = tmp_path / "backups"
    for named, here in (
        ("/opt/conversation-sidecar/bin/sidecar", f"{sys.executable} -m sidecar"),
        ("/var/lib/conversation-sidecar/sidecar.db", f"{tmp_path}/in-use.db"),
        ("/var/backups/conversation-sidecar", str(folder)),
    ):
        assert named in script
        script = script.replace(named, here)
    folder.mkdir()
    old, young = folder / "sidecar-2026-01-01.db", folder / "sidecar-2026-01-14.db"
    for file, days in ((old, 20), (young, 7)):
        file.write_bytes(b"")
        os.utime(file, (time.time() - days * 86_400,) * 2)
    environment = {**os.environ, "PYTHONPATH": str(docs.ROOT)}

    def run() -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(["sh", "-c", script], env=environment, capture_output=True, timeout=60)

    assert (await asyncio.to_thread(run)).returncode == 0
    left = sorted(folder.glob("*.db"))
    assert (young in left, old in left, len(left)) == (True, False, 2)
    (copy,) = (each for each in left if each != young)
    before = copy.read_bytes()
    again = await asyncio.to_thread(run)  # on the same day: it overwrites nothing, and says so
    assert again.returncode != 0
    assert copy.name.encode() in again.stderr
    assert copy.read_bytes() == before
    await goes_on(await start(store=f"sqlite:///{copy}"), upstream)


async def test_prometheus_finds_the_metrics_under_the_name_that_the_alerts_expect(start: Start):
    (text,) = blocks("operations", "yaml")
    (job,) = yaml.safe_load(text)["scrape_configs"]
    assert f'job="{job["job_name"]}"' in (docs.CONFIG / "alerts.yml").read_text("utf-8")
    assert job["authorization"] == {"credentials": "TOKEN"}  # as a bearer token, Prometheus' default
    sidecar = await start(admin={"token": "prometheus-token"})
    assert (await sidecar.send("GET", job["metrics_path"])).status == 401
    headers = {"Authorization": "Bearer prometheus-token"}
    assert (await sidecar.send("GET", job["metrics_path"], headers=headers)).status == 200


def test_what_is_typed_to_upgrade_is_what_installed_it():
    installed, upgraded = told("python3 -m venv"), told("systemctl stop")
    assert [each for each in upgraded if each[0].endswith("/pip")] == installed[1:3]
    assert upgraded[0] == ["systemctl", "stop", "conversation-sidecar"]
    assert upgraded[-1] == ["systemctl", "start", "conversation-sidecar"]


def test_the_old_version_is_noted_before_an_upgrade_and_installed_by_that_as_the_new_one_was():
    noted, back = told("sqlite3 sidecar-"), told("git checkout THAT")
    assert noted[-1] == ["git", "rev-parse", "HEAD"]
    assert back[1:3] == told("python3 -m venv")[1:3]


def test_every_step_back_is_there_and_leads_to_the_next():
    text = (docs.GUIDES / "operations.md").read_text("utf-8")
    rows = [line.split(" | ") for line in text.splitlines() if re.match(r"\| \d+ \| \d+ \|", line)]
    steps = [
        (int(row[0].removeprefix("| ")), int(row[1]), row[2].partition("(../")[2].rstrip(")")) for row in rows
    ]
    assert [(start, start - 1) for start, _, _ in steps] == [(start, end) for start, end, _ in steps]
    assert [end for _, end, _ in steps[:-1]] == [start for start, _, _ in steps[1:]]
    there = {
        each.name
        for pattern in ("sqlite-schema-*.sql", "sqlite_schema_*.py")
        for each in docs.CONFIG.glob(pattern)
    }
    assert {file for _, _, file in steps} == there
