"""Numbered migrations, and which databases are refused."""

from __future__ import annotations

import os
import runpy
import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest
from msgspec.structs import fields, replace

from sidecar.conversation.records import Snapshot
from sidecar.conversation.tree import Node, stored_values
from sidecar.errors import StoreUnavailable
from sidecar.store import SQLiteStore
from sidecar.store import migrations as schema
from sidecar.store.migrations import migrate, migrations
from sidecar.store.sqlite.bodies import body_of
from tests.store.trees import TENANT, chat, question, talk, thread, update

CONFIG = Path(__file__).parents[2] / "config"
BACK = CONFIG / "sqlite-schema-6.sql"
BACK_TO_5 = CONFIG / "sqlite-schema-5.sql"
BACK_TO_12 = CONFIG / "sqlite-schema-12.sql"
BACK_TO_11 = CONFIG / "sqlite-schema-11.sql"
BACK_TO_10 = CONFIG / "sqlite-schema-10.sql"
BACK_TO_9 = CONFIG / "sqlite-schema-9.sql"
SECOND = """
    -- A comment; with a semicolon.
    CREATE TABLE later (value TEXT);
    CREATE INDEX by_value ON later (value)
"""
_COLUMNS = [each.name for each in fields(Node) if not each.name.startswith("_")]
DOCUMENT = "so it is " * 2000
BROKEN = "CREATE TABLE half (value TEXT);\nCREATE TABLE half (value TEXT);\n"


@pytest.fixture
def connection(tmp_path):
    with closing(
        sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None, check_same_thread=False)
    ) as connection:
        yield connection


def tables(connection):
    found = connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
    return {name for (name,) in found if not name.startswith("sqlite_")}


def back_to(number, file):
    runpy.run_path(str(CONFIG / f"sqlite_schema_{number}.py"))["main"](file)


def version(connection):
    return connection.execute("PRAGMA user_version").fetchone()[0]


def with_another(monkeypatch, number, sql):
    known = migrations()
    monkeypatch.setattr(schema, "migrations", lambda: [*known, (number, sql)])


def test_the_migrations_are_numbered_from_one_without_gaps():
    numbers = [number for number, _sql in migrations()]

    assert numbers == list(range(1, len(numbers) + 1))


def test_a_new_database_has_the_schema_that_the_migrations_add_up_to(connection):
    migrate(connection, "the store")
    with closing(sqlite3.connect(":memory:")) as plain:
        plain.executescript("".join(sql for _number, sql in migrations()))
        expected = plain.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall()

    assert connection.execute("SELECT name, sql FROM sqlite_schema ORDER BY name").fetchall() == expected
    assert version(connection) == migrations()[-1][0]
    assert not connection.in_transaction


def test_migrating_again_changes_nothing(connection):
    migrate(connection, "the store")
    before = connection.total_changes
    migrate(connection, "the store")

    assert connection.total_changes == before
    assert not connection.in_transaction


def test_an_older_database_gets_only_what_it_lacks(connection, monkeypatch):
    migrate(connection, "the store")
    connection.execute("INSERT INTO secret VALUES (x'01')")
    number = version(connection) + 1
    with_another(monkeypatch, number, SECOND)

    migrate(connection, "the store")

    assert version(connection) == number
    assert "later" in tables(connection)
    assert connection.execute("SELECT 1 FROM sqlite_schema WHERE name = 'by_value'").fetchone()
    assert connection.execute("SELECT value FROM secret").fetchall() == [(b"\x01",)]


def record_as_the_first_version(connection, nodes):
    """Into tables that only the first migration has made, which today's store cannot write to."""
    about = (1, "conv_1", TENANT, b"s", 1.0, 1.0)
    names = "number, id, tenant, system, created_at, updated_at"
    connection.execute(f"INSERT INTO conversation ({names}) VALUES (?, ?, ?, ?, ?, ?)", about)
    columns = ", ".join(_COLUMNS)
    places = ", ".join("?" * len(_COLUMNS))
    for node in nodes:
        values = stored_values(node)
        connection.execute(f"INSERT INTO message (conversation, {columns}) VALUES (1, {places})", values)
    connection.execute("INSERT INTO echo VALUES (1, ?, ?)", (b"e" * 16, nodes[-1].id))


async def test_what_the_first_version_recorded_is_recognised_after_the_migration(
    tmp_path, monkeypatch, connection
):
    ask, answer = chat("hi", "hello")
    first = migrations()[:1]
    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrations", lambda: first)
        migrate(connection, "the store")
    record_as_the_first_version(connection, [ask, answer])

    store = SQLiteStore(str(tmp_path / "sidecar.db"), upgrades=True)
    await store.open()
    try:
        assert await store.find_by_history(TENANT, [answer.hash]) == "conv_1"
        assert await store.find_by_history(TENANT, [b"e" * 16]) == "conv_1"
        assert await store.candidates(TENANT, [], [answer.digest]) == {"conv_1": 2}
        assert [each async for each in store.conversations()] == [talk(system=b"s")]
        await store.record(update(talk(weights=b"w"), question("more", answer)))
        assert [each async for each in store.conversations()] == [talk(system=b"s", weights=b"w")]
        assert await store.load_learned() == {}
    finally:
        await store.close()


def test_a_migration_that_breaks_off_leaves_the_database_as_it_was(connection, monkeypatch):
    migrate(connection, "the store")
    before = version(connection), tables(connection)
    with monkeypatch.context() as patched:
        with_another(patched, before[0] + 1, BROKEN)
        with pytest.raises(sqlite3.OperationalError, match="already exists"):
            migrate(connection, "the store")

    assert (version(connection), tables(connection)) == before
    with_another(monkeypatch, before[0] + 1, SECOND)
    migrate(connection, "the store")
    assert "later" in tables(connection)


def test_a_first_migration_that_breaks_off_leaves_an_empty_file(connection, monkeypatch):
    with monkeypatch.context() as patched:
        with_another(patched, 99, BROKEN)
        with pytest.raises(sqlite3.OperationalError):
            migrate(connection, "the store")

    assert (version(connection), tables(connection)) == (0, set())
    migrate(connection, "the store")
    assert "message" in tables(connection)


async def test_the_script_takes_a_file_back_to_schema_6_and_it_comes_forward_again(tmp_path, connection):
    file, crowd = str(tmp_path / "sidecar.db"), [question(f"{number}") for number in range(70)]
    store = SQLiteStore(file)
    await store.open()
    nodes = [*chat("hi", "hello", "and?" * 1000, "so"), question(DOCUMENT), question([DOCUMENT, "so?"])]
    roots = [thread(root, updated_at=float(at)) for at, root in enumerate(crowd)]
    wholes = [
        Snapshot(talk("conv_1"), tuple(nodes), ((b"e" * 16, nodes[1].id),)),
        Snapshot(talk("conv_2", key="mine"), tuple(crowd), threads=tuple(roots)),
    ]
    for whole in wholes:
        await store.add_snapshot(whole)
    await store.close()

    for number, script in ((12, BACK_TO_12), (11, BACK_TO_11), (10, BACK_TO_10), (9, BACK_TO_9)):
        connection.executescript(script.read_text("utf-8"))
        with closing(sqlite3.connect(":memory:")) as plain:
            plain.executescript("".join(sql for at, sql in migrations() if at <= number))
            assert (version(connection), shape(connection)) == (number, shape(plain))
    back_to(8, file)
    kept = [body_of(body) for (body,) in connection.execute("SELECT body FROM message ORDER BY number")]
    assert kept == [node.body for whole in wholes for node in whole.nodes]
    back_to(7, file)
    kept = [body for (body,) in connection.execute("SELECT body FROM message ORDER BY number")]
    assert kept == [node.body for whole in wholes for node in whole.nodes]
    connection.executescript(BACK.read_text("utf-8"))
    with closing(sqlite3.connect(":memory:")) as plain:
        plain.executescript("".join(sql for number, sql in migrations() if number <= 6))
        assert shape(connection) == shape(plain)
    assert version(connection) == 6
    connection.close()  # nobody else may have it open
    store = SQLiteStore(file, upgrades=True)
    await store.open()
    try:
        assert [await store.snapshot(each.conversation.id) for each in wholes] == [
            replace(whole, threads=tuple(sorted(whole.threads, key=lambda each: each.root)))
            for whole in wholes
        ]
        assert await store.find_by_history(TENANT, [nodes[1].hash]) == "conv_1"
        assert await store.find_by_history(TENANT, [b"e" * 16]) == "conv_1"
        assert await store.candidates(TENANT, [], [nodes[3].digest]) == {"conv_1": 6}
        assert await store.threads("conv_2") == roots[::-1][:64]
        found = [await store.find(TENANT, ["conv_1"], [node.hash]) for node in nodes]
        assert [each.is_tip for each in found] == [False, False, False, True, True, True]
    finally:
        await store.close()


def shape(connection):
    """Every column of every table, and every index."""
    found = connection.execute("SELECT name, sql FROM sqlite_schema WHERE type = 'index' AND sql NOTNULL")
    columns = {
        name: [row[1:] for row in connection.execute(f"PRAGMA table_info ({name})")]
        for name in tables(connection)
    }
    return columns, dict(found.fetchall())


def test_the_script_leaves_a_file_of_another_schema_alone(connection, monkeypatch):
    known = migrations()
    monkeypatch.setattr(schema, "migrations", lambda: known[:5])
    migrate(connection, "the store")
    before = shape(connection)

    for script in (BACK_TO_5, BACK, BACK_TO_9, BACK_TO_10, BACK_TO_11, BACK_TO_12):
        with pytest.raises(sqlite3.IntegrityError):
            connection.executescript(script.read_text("utf-8"))
        connection.rollback()

    assert (version(connection), shape(connection)) == (5, before)


@pytest.mark.parametrize("back", [7, 8])
@pytest.mark.parametrize("by", [0, 2])
def test_only_a_file_of_the_schema_before_is_taken_back_by_one(tmp_path, connection, back, by):
    connection.execute(f"PRAGMA user_version = {back + by}")

    with pytest.raises(SystemExit, match=f"has schema {back + by}, and only schema {back + 1}"):
        back_to(back, str(tmp_path / "sidecar.db"))

    assert version(connection) == back + by


def old_file(connection, monkeypatch, number, key, body="", messages=2000):
    """A file of this schema with a conversation of many messages, nothing after any of them."""
    first = migrations()[:number]
    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrations", lambda: first)
        migrate(connection, "the store")
    connection.execute("BEGIN")
    record_as_the_first_version(
        connection, [question(f"{at} {body}", at=float(at)) for at in range(messages)]
    )
    connection.execute("COMMIT")
    connection.execute('UPDATE conversation SET "key" = ?', (key,))


@pytest.mark.parametrize(("number", "key"), [(1, "mine"), (1, None), (6, "mine"), (6, None)])
@pytest.mark.parametrize("body", ["", "so it is " * 100])
def test_no_less_room_is_asked_for_than_a_migration_takes_and_not_much_more(
    tmp_path, connection, monkeypatch, number, key, body
):
    file = tmp_path / "sidecar.db"
    old_file(connection, monkeypatch, number, key, body, messages=10_000)
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    before, asked = file.stat().st_size, schema._room(connection, number)

    migrate(connection, "the store")

    taken = (tmp_path / "sidecar.db-wal").stat().st_size
    connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    taken += file.stat().st_size - before
    assert taken <= asked <= 2.5 * taken


@pytest.mark.parametrize(("number", "key"), [(1, "mine"), (6, None), (6, "mine")])
def test_a_file_for_whose_migration_the_disk_has_no_room_is_refused_and_stays(
    tmp_path, connection, monkeypatch, number, key
):
    old_file(connection, monkeypatch, number, key)
    before = (tmp_path / "sidecar.db").read_bytes()
    needed = schema._room(connection, number)
    free = SimpleNamespace(f_blocks=1, f_bavail=needed - 1, f_frsize=1)
    monkeypatch.setattr(os, "statvfs", lambda _folder: free)

    with pytest.raises(StoreUnavailable) as caught:
        migrate(connection, "the store x.db")

    assert caught.value.message == (
        f"the store x.db has schema {number}: to bring it to a newer one takes up to {needed / 1e6:.1f} MB of"
        f" room in {tmp_path} for a while, and {(needed - 1) / 1e6:.1f} MB are free. Nothing has been"
        " changed: make room there, or put the store on a larger disk"
    )
    assert version(connection) == number
    assert not connection.in_transaction
    assert (tmp_path / "sidecar.db").read_bytes() == before
    free.f_bavail = needed
    migrate(connection, "the store")
    assert version(connection) == migrations()[-1][0]


def test_a_file_system_that_does_not_tell_its_room_is_believed_to_have_some(connection, monkeypatch):
    old_file(connection, monkeypatch, 6, None)
    monkeypatch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(f_blocks=0, f_bavail=0, f_frsize=0))

    migrate(connection, "the store")

    assert version(connection) == migrations()[-1][0]


def test_a_migration_that_makes_a_table_alone_needs_no_room(connection, monkeypatch):
    old_file(connection, monkeypatch, 7, None)
    monkeypatch.setattr(os, "statvfs", lambda _folder: SimpleNamespace(f_blocks=1, f_bavail=0, f_frsize=1))

    migrate(connection, "the store")

    assert version(connection) == migrations()[-1][0]


def test_a_migration_sorts_in_a_file_beside_the_database_and_leaves_the_settings_as_they_were(
    tmp_path, connection, monkeypatch
):
    old_file(connection, monkeypatch, 6, None)
    connection.execute("PRAGMA temp_store = MEMORY")
    seen: list[tuple] = []

    def note(statement):
        if statement.startswith("BEGIN"):
            seen.extend(connection.execute(f"PRAGMA {name}").fetchone() for name in pragmas)

    pragmas = ("temp_store", "temp_store_directory")
    connection.set_trace_callback(note)
    migrate(connection, "the store")
    connection.set_trace_callback(None)

    assert seen == [(1,), (str(tmp_path),)]
    assert connection.execute("PRAGMA temp_store").fetchone() == (2,)
    assert connection.execute("PRAGMA temp_store_directory").fetchone() is None


def test_a_second_start_waits_until_the_first_has_migrated(tmp_path, connection, monkeypatch):
    known = migrations()
    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrations", lambda: known[:6])
        migrate(connection, "the store")
    connection.execute("PRAGMA journal_mode = WAL").fetchone()
    with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None, timeout=0.01)) as second:
        connection.execute("BEGIN IMMEDIATE")
        waiting = threading.Timer(0.1, lambda: connection.execute("COMMIT"))
        with (
            closing(sqlite3.connect(tmp_path / "sidecar.db", timeout=0.01)) as other,
            pytest.raises(sqlite3.OperationalError, match="locked"),
        ):
            other.execute("BEGIN IMMEDIATE")
        waiting.start()
        migrate(second, "the store")
        waiting.join()

        assert version(second) == known[-1][0]
        assert second.execute("PRAGMA busy_timeout").fetchone() == (10,)


def test_a_newer_database_is_refused_with_a_way_out(connection):
    migrate(connection, "the store")
    newest = version(connection)
    connection.execute(f"PRAGMA user_version = {newest + 1}")

    with pytest.raises(StoreUnavailable) as caught:
        migrate(connection, "the store x.db")

    assert caught.value.message == (
        f"the store x.db has schema {newest + 1}, and this version knows schemas up to {newest}: "
        "use the newer sidecar that wrote it, or another `store`"
    )
    assert version(connection) == newest + 1
    assert not connection.in_transaction


def test_a_database_of_another_program_is_refused_and_left_alone(connection):
    connection.execute("CREATE TABLE chat (id TEXT)")

    with pytest.raises(StoreUnavailable, match=r"the store x.db is a database of another program"):
        migrate(connection, "the store x.db")

    assert tables(connection) == {"chat"}
    assert version(connection) == 0
