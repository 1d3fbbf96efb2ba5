"""Who may have a file open while it is brought to a newer schema: nobody but the one who does it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store import make_store
from sidecar.store.migrations import migrate, newest_schema
from sidecar.store.sqlite import upgrade as upgrading
from sidecar.store.sqlite.upgrade import upgrade_or_refuse
from tests.store.record import FOLDER
from tests.store.test_sqlite import open_to_all as open_to_all
from tests.store.test_sqlite import without_privileges as without_privileges

NEWEST = newest_schema()
OLDER = (FOLDER / "0005.sql").read_text("utf-8")
#: As a sidecar does: with a log, open as long as it runs, and writing when it is told to.
OTHER = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("PRAGMA journal_mode = WAL").fetchone()
for at, _ in enumerate(sys.stdin):
    connection.execute("INSERT INTO learned (name, value) VALUES (?, x'')", (f"{at}",))
    print("written", flush=True)
"""


@pytest.fixture
def file(tmp_path):
    """One of schema 5."""
    file = tmp_path / "sidecar.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(OLDER)
    return str(file)


@pytest.fixture(autouse=True)
def _impatient(monkeypatch):
    monkeypatch.setattr(upgrading, "_PATIENCE", 0.2)


@contextmanager
def another_process(file):
    command = (sys.executable, "-c", OTHER, file)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield process
        process.kill()


def write(process):
    process.stdin.write("write\n")
    process.stdin.flush()
    assert process.stdout.readline() == "written\n"


def schema_of(file):
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


async def test_a_file_that_an_older_sidecar_has_open_is_not_upgraded_and_that_one_goes_on(file):
    with another_process(file) as process:
        write(process)
        store = make_store(file, upgrades=True)
        with pytest.raises(StoreUnavailable) as caught:
            await store.open()
        assert caught.value.message == (
            f"the store {file} has schema 5, and another process has it open, which could not go on with a"
            " newer one. Nothing has been changed: stop the older sidecar, and whatever else uses the store,"
            " then try again"
        )
        write(process)
        assert schema_of(file) == 5
    await store.open()
    assert {"0", "1"} <= (await store.load_learned()).keys()
    await store.close()
    assert schema_of(file) == NEWEST


async def test_a_file_that_is_let_go_of_in_time_is_upgraded(file, monkeypatch):
    monkeypatch.setattr(upgrading, "_PATIENCE", 30.0)
    with another_process(file) as process:
        write(process)
        ending = threading.Timer(0.3, process.kill)
        ending.start()
        store = make_store(file, upgrades=True)
        await store.open()
        await store.close()
        ending.join()
    assert schema_of(file) == NEWEST


@pytest.mark.parametrize("has_log", [False, True])
def test_one_that_starts_while_another_upgrades_waits_for_it_and_finds_it_done(file, has_log):
    if has_log:
        with another_process(file) as process:
            write(process)  # its log stays when it is killed
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as first:
        first.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
        first.execute("BEGIN EXCLUSIVE")
        first.execute("PRAGMA user_version = 6")

        def finish():
            first.execute("ROLLBACK")
            migrate(first, "the store")
            first.close()

        finishing = threading.Timer(1.0, finish)  # five times as long as others are waited for
        finishing.start()
        upgrade_or_refuse(file, "the store", bytes, upgrades=True)
        assert not finishing.is_alive() or schema_of(file) == NEWEST
        finishing.join()
    assert schema_of(file) == NEWEST


def test_of_many_that_start_at_once_one_upgrades_and_all_find_it_done(file, monkeypatch, caplog):
    monkeypatch.setattr(upgrading, "_PATIENCE", 5.0)
    upgrading_it = partial(upgrade_or_refuse, file, "the store", bytes, upgrades=True)
    threads = [threading.Thread(target=upgrading_it) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    assert schema_of(file) == NEWEST
    ended = [each for each in caplog.records if each.getMessage() == "the store has the newer schema"]
    assert len(ended) == 1


def test_what_cannot_be_read_is_left_to_whoever_opens_it(tmp_path):
    for name, text in (("missing", None), ("empty", ""), ("no database", "Dear diary, " * 100)):
        file = tmp_path / name
        if text is not None:
            file.write_text(text)
        Path(f"{file}-wal").write_text("no log")
        upgrade_or_refuse(str(file), "the store", bytes, upgrades=False)
        upgrade_or_refuse(str(file), "the store", bytes, upgrades=True)
        assert file.exists() == (text is not None)
        assert text is None or file.read_text() == text


@pytest.mark.usefixtures("without_privileges")
async def test_a_file_that_cannot_be_written_is_not_upgraded_and_the_start_says_why(open_to_all):
    file = open_to_all / "sidecar.db"
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(OLDER)
    file.chmod(0o400)
    store = make_store(str(file), upgrades=True)
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()

    assert "attempt to write a readonly database" in caught.value.message
    assert f"({file} is not writable for this user)" in caught.value.message


async def test_a_command_does_not_wait_for_an_upgrade_under_way(file):
    with another_process(file) as process:
        write(process)  # its log stays when it is killed
    with closing(sqlite3.connect(file, isolation_level=None)) as first:
        first.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
        first.execute("BEGIN EXCLUSIVE")
        store = make_store(file)
        with pytest.raises(StoreUnavailable) as caught:
            await store.open()
    assert caught.value.message == (
        f"cannot open the store {file}: database is locked (another process is writing to it: try again when"
        " it has finished)"
    )
