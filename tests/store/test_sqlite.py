"""The SQLite file: what keeps it from opening, what it survives, and what its questions cost."""

from __future__ import annotations

import asyncio
import os
import resource
import sqlite3
import sys
import tempfile
import threading
import time
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from sidecar.conversation.records import Found
from sidecar.errors import StoreUnavailable
from sidecar.store import SQLiteStore
from sidecar.store.sqlite import store as sqlite
from tests.proxy.process import clean_environment
from tests.store.trees import TENANT, chat, question, reply, talk, update

NOBODY = 65534
BIG = "x" * 2_000_000


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sidecar.db"


@pytest.fixture
async def store(file):
    async with opened(file) as store:
        yield store


@pytest.fixture
def open_to_all():
    """A folder that any user can get at; pytest's own can be entered by their owner alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.fixture
def without_privileges():
    """As a user for whom permissions count, also where the tests run as root."""
    user, privileged = os.getuid(), os.getuid() == 0
    if privileged:
        os.setresuid(NOBODY, NOBODY, user)
    yield
    if privileged:
        os.setresuid(user, user, user)


@asynccontextmanager
async def opened(file, **options):
    store = SQLiteStore(str(file), **options)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def complaint(file, **options):
    """What the store says that cannot be opened."""
    with pytest.raises(StoreUnavailable) as caught:
        await SQLiteStore(str(file), **options).open()
    return caught.value.message


async def impatient(store):
    """Wait for locks for a moment only."""
    await store._writer.do(lambda connection: connection.execute("PRAGMA busy_timeout = 50").fetchall())


async def texts(store, id="conv_1"):
    return [node.body for node in await store.tree(id)]


class TestOpening:
    async def test_a_missing_folder_is_named(self, tmp_path):
        message = await complaint(tmp_path / "nowhere" / "sidecar.db")

        assert message == (
            f"cannot open the store {tmp_path}/nowhere/sidecar.db: unable to open database file "
            f"(the folder {tmp_path}/nowhere does not exist: make it, or set `store` to another file)"
        )

    async def test_a_folder_is_no_store(self, tmp_path):
        assert "(it is a folder: name a file in it)" in await complaint(tmp_path)

    async def test_a_file_that_is_no_database_is_left_alone(self, file):
        file.write_text("Dear diary, " * 100)

        assert await complaint(file) == (
            f"cannot open the store {file}: file is not a database "
            "(put a backup in its place, or set `store` to another file)"
        )
        assert file.read_text() == "Dear diary, " * 100

    async def test_a_damaged_file_is_told_from_one_of_another_kind(self, file):
        async with opened(file):
            pass
        with closing(sqlite3.connect(file)) as other:
            (page,) = other.execute("SELECT rootpage FROM sqlite_schema WHERE name = 'secret'").fetchone()
        with file.open("r+b") as pages:
            pages.seek((page - 1) * 4096)
            pages.write(b"\x5a" * 4096)

        assert "(it is damaged: put a backup in its place, or set" in await complaint(file)

    async def test_a_locked_file_is_waited_for_and_then_named(self, file, monkeypatch):
        monkeypatch.setattr(sqlite, "_LOCK_TIMEOUT", 0.1)
        async with opened(file):
            pass
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert await complaint(file) == (
                f"cannot open the store {file}: database is locked "
                "(another process is writing to it: try again when it has finished)"
            )

    async def test_a_database_of_another_program_is_left_alone(self, file):
        with closing(sqlite3.connect(file)) as other:
            other.execute("CREATE TABLE chat (id TEXT)")
        before = file.read_bytes()

        assert await complaint(file) == (
            f"the store {file} is a database of another program: set `store` to another file"
        )
        assert file.read_bytes() == before
        assert os.listdir(file.parent) == [file.name]

    async def test_a_newer_database_is_refused(self, file):
        async with opened(file):
            pass
        with closing(sqlite3.connect(file)) as other:
            other.execute("PRAGMA user_version = 9999")

        assert f"the store {file} has schema 9999" in await complaint(file)

    @pytest.mark.usefixtures("without_privileges")
    async def test_a_file_of_locks_that_belongs_to_somebody_else_is_told_when_it_is_looked_at(
        self, open_to_all
    ):
        async with opened(open_to_all / "sidecar.db") as store:
            (open_to_all / "sidecar.db-turns").unlink(missing_ok=True)
            _made(open_to_all / "sidecar.db-turns").chmod(0)
            with pytest.raises(StoreUnavailable, match=r"cannot open .*sidecar.db-turns"):
                await store.check()

    @pytest.mark.usefixtures("without_privileges")
    async def test_a_folder_without_permission_is_named(self, open_to_all):
        os.chmod(folder := _made(open_to_all / "closed"), 0o500)

        assert f"({folder} is not writable for this user)" in await complaint(folder / "sidecar.db")

    @pytest.mark.usefixtures("without_privileges")
    @pytest.mark.parametrize("secret", ["", "a secret that is not kept in the store"])
    async def test_a_read_only_file_stops_the_start_and_not_the_first_turn(self, open_to_all, secret):
        file = open_to_all / "sidecar.db"
        async with opened(file):
            pass
        os.chmod(file, 0o400)

        message = await complaint(file, secret=secret)

        assert "attempt to write a readonly database" in message
        assert f"({file} is not writable for this user)" in message

    async def test_an_empty_file_becomes_a_store(self, file):
        file.touch()
        async with opened(file) as store:
            await store.record(update(talk(), question("hi")))

    async def test_a_store_that_did_not_open_is_no_memory(self, tmp_path):
        store = SQLiteStore(str(tmp_path))
        with pytest.raises(StoreUnavailable):
            await store.open()

        for refused in (store.record(update(talk())), store.find(TENANT, [], []), store.probe()):
            with pytest.raises(StoreUnavailable, match="not open"):
                await refused
        await store.close()

    async def test_many_that_open_a_new_file_at_once_share_one_store(self, file):
        stores = [SQLiteStore(str(file)) for _ in range(8)]
        await asyncio.gather(*(store.open() for store in stores))
        await asyncio.gather(
            *(store.record(update(talk(), question(f"{n}"))) for n, store in enumerate(stores))
        )

        assert len({store.secret for store in stores}) == 1
        assert len(await stores[0].tree("conv_1")) == 8
        await asyncio.gather(*(store.close() for store in stores))

    def test_the_switch_to_the_log_waits_for_a_lock_and_not_for_ever(self, file, monkeypatch):
        with (
            closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as busy,
            closing(sqlite3.connect(file, isolation_level=None)) as connection,
        ):
            busy.execute("BEGIN IMMEDIATE")
            with monkeypatch.context() as patched:
                patched.setattr(sqlite, "_LOCK_TIMEOUT", 0.05)
                with pytest.raises(sqlite3.OperationalError, match="database is locked"):
                    sqlite._use_write_ahead_log(connection)
            threading.Timer(0.1, busy.execute, ["ROLLBACK"]).start()
            sqlite._use_write_ahead_log(connection)

            assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)

    def test_the_switch_to_the_log_does_not_wait_for_other_errors(self, tmp_path):
        read_only = sqlite3.connect(f"file:{_written(tmp_path)}?mode=ro", uri=True)
        with closing(read_only), pytest.raises(sqlite3.OperationalError, match="readonly"):
            sqlite._use_write_ahead_log(read_only)

    async def test_closing_leaves_one_file_and_the_stamp_beside_it(self, store, file):
        await store.record(update(talk(), question("hi")))
        await store.close()

        assert sorted(os.listdir(file.parent)) == [file.name, f"{file.name}-turns"]


class TestKeeping:
    async def test_what_was_said_is_for_the_owner_of_the_file_alone(self, store, tmp_path):
        await store.record(update(talk(), question("a secret")))

        assert {each.name: oct(each.stat().st_mode & 0o777) for each in tmp_path.iterdir()} == {
            "sidecar.db": "0o600",
            "sidecar.db-shm": "0o600",
            "sidecar.db-turns": "0o600",
            "sidecar.db-wal": "0o600",
        }

    async def test_what_was_recorded_is_there_after_opening_again(self, file):
        nodes = chat("hi", "hello")
        async with opened(file) as store:
            await store.record(update(talk(key="k"), *nodes, system=b"[]"))
        async with opened(file) as store:
            assert await store.tree("conv_1") == nodes
            assert await store.system("conv_1") == (b"[]", b"[]")
            assert [each async for each in store.conversations()] == [talk(key="k")]

    async def test_the_secret_is_made_once(self, file):
        secrets = set()
        for _ in range(3):
            async with opened(file) as store:
                secrets.add(store.secret)

        assert len(secrets) == 1

    async def test_a_given_secret_neither_replaces_nor_is_the_kept_one(self, file):
        async with opened(file) as store:
            kept = store.secret
        async with opened(file, secret="a secret of some length") as store:
            assert store.secret == b"a secret of some length"
        async with opened(file) as store:
            assert store.secret == kept
        assert b"a secret of some length" not in file.read_bytes()

    async def test_a_recorded_turn_is_durable_before_the_store_is_closed(self, store, file):
        nodes = chat("hi", "hello")
        await store.record(update(talk(), *nodes))
        with closing(sqlite3.connect(file)) as other:
            assert other.execute("SELECT id FROM message").fetchall() == [(node.id,) for node in nodes]

        def setting(name):
            return store._writer.do(lambda each: each.execute(f"PRAGMA {name}").fetchone()[0])

        assert (await setting("journal_mode"), await setting("synchronous")) == ("wal", 2)

    async def test_a_turn_that_breaks_a_rule_is_refused_whole_and_never_dropped(self, store):
        ask = question("hi")
        with pytest.raises(StoreUnavailable, match="CHECK constraint failed"):
            await store.record(update(talk(), ask, reply("hello", ask, state="nonsense")))

        assert await store.tree("conv_1") == []
        assert [each async for each in store.conversations()] == []


class TestTrouble:
    async def test_a_locked_store_fails_in_time_and_works_again(self, store, file):
        await impatient(store)
        with closing(sqlite3.connect(file, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            for refused in (store.record(update(talk(), question("hi"))), store.probe()):
                with pytest.raises(StoreUnavailable, match="database is locked"):
                    await refused
            assert await store.tree("conv_1") == []
            other.execute("ROLLBACK")

        await store.probe()
        await store.record(update(talk(), question("hi")))
        assert len(await store.tree("conv_1")) == 1

    async def test_a_full_database_fails_and_works_again_when_there_is_room(self, store):
        nodes = chat("hi", "hello")
        await store.record(update(talk(), *nodes))

        async def limit(pages):
            await store._writer.do(lambda each: each.execute(f"PRAGMA max_page_count = {pages}").fetchone())

        await limit(1)  # that is: as large as it is now
        with pytest.raises(StoreUnavailable, match="database or disk is full"):
            await store.record(update(talk("conv_2"), question(BIG)))
        assert await store.tree("conv_1") == nodes
        assert await store.find(TENANT, ["conv_2"], []) == Found()

        await limit(1_000_000)
        await store.record(update(talk("conv_2"), question(BIG)))
        assert len(await texts(store, "conv_2")) == 1

    async def test_a_file_that_cannot_grow_fails_and_works_again_when_it_can(self, store):
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
        try:
            with pytest.raises(StoreUnavailable, match="the store failed: disk I/O error"):
                await store.record(update(talk(), question(BIG)))
            await store.record(update(talk(), question("a small one has its place")))
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

        await store.record(update(talk(), question(BIG)))
        assert [len(body) > 1_000_000 for body in await texts(store)] == [False, True]

    @pytest.mark.parametrize("secret", ["", "a secret that is not kept in the store"])
    async def test_a_probe_really_writes(self, file, secret):
        async with opened(file, secret=secret) as store:
            log = file.with_name(f"{file.name}-wal")
            before = log.stat().st_size
            await store.probe()

            assert log.stat().st_size > before

    async def test_a_closed_store_refuses(self, file):
        async with opened(file) as store:
            pass
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.record(update(talk()))
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.find(TENANT, [], [])
        await store.close()

    async def test_one_reads_whole_turns_while_another_process_writes(self, store):
        writer = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WRITER, store._file),
            stdout=asyncio.subprocess.PIPE,
            env=clean_environment(),
        )
        assert writer.stdout is not None
        await writer.stdout.readline()
        sizes: set[int] = set()
        while writer.returncode is None and len(sizes) < 20:
            tree = await store.tree("conv_1")
            sizes.add(len(tree))
            assert len(tree) % 2 == 0, "a question and its reply are recorded together"
            await store.record(update(talk("conv_2"), question(f"mine {time.monotonic()}")))
        await writer.communicate()

        assert writer.returncode == 0
        assert len(sizes) > 3
        assert len(await store.tree("conv_1")) == 400


WRITER = """
import asyncio, sys
from sidecar.store import SQLiteStore
from tests.store.trees import chat, talk, update

async def main():
    store = SQLiteStore(sys.argv[1])
    await store.open()
    print("writing", flush=True)
    for number in range(200):
        await store.record(update(talk(), *chat(f"question {number}", "answer")))
        await asyncio.sleep(0.002)
    await store.close()

asyncio.run(main())
"""


def _written(folder):
    with closing(sqlite3.connect(folder / "rollback.db")) as connection:
        connection.execute("CREATE TABLE item (value)")
    return folder / "rollback.db"


def _made(folder):
    folder.mkdir()
    return folder


async def test_of_many_messages_in_one_request_only_the_largest_are_kept_smaller(store, file):
    """To compress each would take four times as long as all else that is done to store them."""
    long, longer = "so it is " * 500, "so it is " * 2000
    few, many = chat(*[long] * 16), chat(longer, *[long] * 16)
    for id, nodes in (("few", few), ("many", many)):
        await store.record(update(talk(id, tip=nodes[-1].id), *nodes))
    with closing(sqlite3.connect(file)) as connection:
        rows = connection.execute("SELECT length(body) FROM message ORDER BY number").fetchall()
    kept = [length / len(node.body) for (length,), node in zip(rows, (*few, *many), strict=True)]
    assert max(kept[:17]) < 0.1
    assert set(kept[17:]) == {1.0}
    assert await store.path("many", many[-1].id) == many
