"""Databases of every schema that there has been: migrated, they export what they exported before."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from sidecar.commands.verify import wrongs
from sidecar.conversation.identity import tenant_of
from sidecar.conversation.records import Summary
from sidecar.conversation.tree import Conversation
from sidecar.export import as_json, as_markdown
from sidecar.store import SQLiteStore
from sidecar.store import migrations as schema
from sidecar.store.migrations import migrate, migrations
from sidecar.store.parts import shell_of
from sidecar.store.sqlite.bodies import body_of
from sidecar.store.sqlite.nodes import NODE, node_of
from tests.store.record import FOLDER, SECRET, exchange
from tests.store.trees import chat, question, talk, thread, update

NUMBERS = [number for number, _sql in migrations()]
every_schema = pytest.mark.parametrize("number", NUMBERS)


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sidecar.db"


def restore(file, number):
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript((FOLDER / f"{number:04}.sql").read_text("utf-8"))


def export_of_that_time(connection):
    """What the export tells, read from the columns that every schema has had."""
    lines = []
    names = 'number, id, tenant, "key", created_at, updated_at'
    for number, *about in connection.execute(f"SELECT {names} FROM conversation ORDER BY number").fetchall():
        rows = connection.execute(
            f"SELECT {NODE} FROM message WHERE conversation = ? ORDER BY number", (number,)
        )
        nodes = [node_of(connection, number, row) for row in rows]
        lines.append(as_json(Conversation(*about), nodes) + as_markdown(Conversation(*about), nodes))
    return lines


async def export(store):
    return [
        as_json(each, tree) + as_markdown(each, tree)
        async for each in store.conversations()
        if (tree := await store.tree(each.id)) is not None
    ]


def test_every_schema_is_recorded():
    assert sorted(int(file.stem) for file in FOLDER.glob("*.sql")) == NUMBERS


@every_schema
def test_a_recording_is_of_its_schema(file, number):
    restore(file, number)
    with closing(sqlite3.connect(file)) as connection, closing(sqlite3.connect(":memory:")) as made:
        made.executescript("".join(sql for at, sql in migrations() if at <= number))
        query = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
        assert connection.execute(query).fetchall() == made.execute(query).fetchall()
        assert connection.execute("PRAGMA user_version").fetchone() == (number,)


@every_schema
def test_the_export_is_the_same_before_and_after_each_migration(file, number, monkeypatch):
    restore(file, number)
    known = migrations()
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        before = export_of_that_time(connection)
        assert len(before) == 4
        for newest in range(number, NUMBERS[-1] + 1):
            monkeypatch.setattr(schema, "migrations", lambda newest=newest: known[:newest])
            migrate(connection, "the store")
            assert connection.execute("PRAGMA user_version").fetchone() == (newest,)
            assert export_of_that_time(connection) == before


async def test_a_file_of_schema_6_goes_back_to_5_with_all_that_was_said_and_comes_forward_again(file):
    restore(file, 6)
    script = FOLDER.parents[2] / "config" / "sqlite-schema-5.sql"
    with closing(sqlite3.connect(file)) as connection, closing(sqlite3.connect(":memory:")) as made:
        before = export_of_that_time(connection)
        connection.executescript(script.read_text("utf-8"))
        made.executescript("".join(sql for at, sql in migrations() if at <= 5))
        query = "SELECT type, name, sql FROM sqlite_schema ORDER BY type, name"
        assert connection.execute(query).fetchall() == made.execute(query).fetchall()
        assert connection.execute("PRAGMA user_version").fetchone() == (5,)
        assert export_of_that_time(connection) == before
    store = SQLiteStore(str(file), upgrades=True)
    await store.open()
    try:
        assert await export(store) == before
        async for held in store.conversation_stats():
            whole = await store.snapshot(held.id)
            assert whole is not None
            assert (list(wrongs(whole, store.secret)), whole.threads) == ([], ())
    finally:
        await store.close()


async def check_tips(store, tenant, id):
    """Nothing follows the messages that nothing follows, and the same once one is gone on from."""
    for _ in range(2):
        tree = await store.tree(id)
        parents = {node.parent for node in tree}
        for node in tree:
            assert (await store.find(tenant, [id], [node.hash])).is_tip is (node.id not in parents)
        (about,) = [each async for each in store.conversations(id)]
        await store.record(update(about, question("and more?", tree[1], tenant=tenant)))


def test_the_recording_of_schema_8_holds_a_packed_body(file):
    restore(file, 8)
    with closing(sqlite3.connect(file)) as connection:
        bodies = [body for (body,) in connection.execute("SELECT body FROM message")]
    assert [len(body_of(body)) > 2 * len(body) > 1000 for body in bodies if body_of(body) != body] == [True]


def test_the_recording_of_schema_9_holds_a_part_that_two_messages_share(file):
    restore(file, 9)
    with closing(sqlite3.connect(file)) as connection:
        shells = [shell_of(body) for (body,) in connection.execute("SELECT body FROM message")]
        parts = connection.execute("SELECT name FROM part").fetchall()
    names = [name for each in shells if each is not None for name in each.names]
    assert sorted(names) == sorted(2 * [name for (name,) in parts])
    assert len(parts) == 2, "a conversation each"


@every_schema
async def test_a_recording_is_opened_exported_and_goes_on(file, number):
    restore(file, number)
    with closing(sqlite3.connect(file)) as connection:
        before = export_of_that_time(connection)
    store = SQLiteStore(str(file), upgrades=True)
    await store.open()
    try:
        assert await export(store) == before
        assert store.secret == SECRET
        tenant = tenant_of(SECRET, "Bearer sk", "ada")
        (about,) = [each async for each in store.conversations("same-key") if each.tenant == tenant]
        nodes = await store.tree(about.id)
        assert await store.find_by_history(tenant, [nodes[1].hash]) is None, "it has a name"
        assert await store.find_by_history(tenant, [chat("hi", "ho", tenant=tenant)[1].hash]) == "conv_1"
        for each in (about.id, "conv_1"):
            await check_tips(store, tenant, each)
        assert await store.find_summary(about.id, [nodes[1].hash]) == (
            Summary(nodes[1].hash, "They greeted.", "small", 3.5) if number >= 3 else None
        )
        done = [exchange(about.id, nodes[5], nodes[6])] if number >= 5 else []
        assert await store.exchanges(tenant, about.id) == done
        system = b'[{"role":"system","content":"Be kind to ada."}]'
        about_root = {"system": system, "is_thin": True, "is_whole": True, "updated_at": 2.5}
        known = [thread(nodes[5], nodes[6], **about_root)] if number >= 6 else []
        assert await store.threads(about.id) == known
        assert await store.load_learned() == ({"tokens:demo": b'{"a":1}'} if number >= 4 else {})
        async for held in store.conversation_stats():
            whole = await store.snapshot(held.id)
            assert whole is not None
            assert list(wrongs(whole, store.secret)) == []
        assert await store.snapshot(talk().id) is not None
    finally:
        await store.close()
