"""Whatever is done to an encrypted cell, what comes back is the right value or an error, never another."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from contextlib import closing

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.records import Summary
from sidecar.errors import StoreUnavailable
from sidecar.store import make_store
from tests.store.trees import OTHER_TENANT, TENANT, chat, reply, talk, thread, update

KEY = bytes(range(32))
FRONT = b"f" * 16
TENANTS = {"conv_1": TENANT, "conv_2": OTHER_TENANT, "conv_3": TENANT}
#: table, column, the column that names a row, how many rows there are.
CELLS = [
    ("message", "body", 6),
    ("message", "usage", 6),
    ("message", "parent", 6),
    ("message", "digest", 6),
    ("system_prompt", "first", 3),
    ("system_prompt", "last", 3),
    ("summary", "text", 3),
    ("thread", "system", 3),
    ("thread", "model", 3),
    ("thread", "tools", 3),
    ("thread", "root", 3),
    ("conversation", "tenant", 3),
    ("secret", "value", 1),
]


def _cell(draw):
    table, column, rows = draw(st.sampled_from(CELLS))
    return table, column, draw(st.integers(1, rows))


cells = st.composite(_cell)()


def _flipped(value, at, bit):
    data = bytearray(value.encode() if isinstance(value, str) else value)
    if data:
        data[at % len(data)] ^= 1 << bit
    return data.decode("latin-1") if isinstance(value, str) else bytes(data)


def _cut(value, at, _bit):
    return value[: at % (len(value) + 1)]


def _longer(value, at, bit):
    return value + (chr(bit) * at if isinstance(value, str) else bytes([bit]) * at)


def _in_clear(value, _at, _bit):
    return '{"role":"user"}' if isinstance(value, str) else b'{"role":"user","content":"forged"}'


def _without_the_rest(value, at, bit):
    mark = value[:6] if isinstance(value, bytes) else value[:8]
    return _longer(mark, at, bit)


changes = st.tuples(
    st.sampled_from([_flipped, _cut, _longer, _in_clear, _without_the_rest, "from elsewhere"]),
    st.integers(0, 200),
    st.integers(0, 6),
    cells,
)


async def _fill(path):
    store = make_store(path, keys=[KEY])
    await store.open()
    for id, tenant in TENANTS.items():
        ask, _ = chat(f"the question of {id}", "never mind", tenant=tenant)
        answer = reply("an answer", ask, tenant=tenant, usage=f'{{"of":"{id}"}}'.encode())
        about, system = talk(id, key=id, tenant=tenant, tip=answer.id), f'["{id}"]'.encode()
        root = thread(ask, answer, system=system, model=id, tools=(id,))
        await store.record(update(about, ask, answer, system=system, thread=root))
        await store.add_summary(id, Summary(FRONT, f"summary of {id}", "small", 1.0))
    seen = await _everything(store)
    await store.close()
    return seen


async def _everything(store):
    """All that can be asked, and an error in place of each that is refused."""
    seen = {}
    for id, tenant in TENANTS.items():
        asked = {
            "snapshot": store.snapshot(id),
            "tree": store.tree(id),
            "system": store.system(id),
            "summary": store.find_summary(id, [FRONT]),
            "threads": store.threads(id),
            "find": store.find(tenant, [id], []),
            "by others": store.find(tenant[::-1], [id], []),
        }
        for what, asking in asked.items():
            try:
                seen[id, what] = await asking
            except StoreUnavailable as error:
                seen[id, what] = error
    return seen


@pytest.fixture(scope="module")
def filled(tmp_path_factory):
    path = tmp_path_factory.mktemp("encrypted") / "sidecar.db"
    return path, asyncio.run(_fill(str(path)))


def _tampered(path, places):
    """Change these cells; returns whether anything is another value now."""
    done = False
    with closing(sqlite3.connect(path)) as connection, connection:
        for (table, column, number), (change, at, bit, (other, of, row)) in places:

            def read(table, column, number):
                query = f"SELECT rowid, {column} FROM {table} ORDER BY rowid LIMIT 1 OFFSET ?"
                return connection.execute(query, (number - 1,)).fetchone()

            rowid, value = read(table, column, number)
            _, foreign = read(other, of, row)
            if value is None or foreign is None:
                continue
            new = foreign if change == "from elsewhere" else change(value, at, bit)
            is_text = column in ("text", "model")
            new = new.decode("latin-1") if is_text and isinstance(new, bytes) else new
            new = new.encode("latin-1", "replace") if not is_text and isinstance(new, str) else new
            connection.execute(f"UPDATE {table} SET {column} = ? WHERE rowid = ?", (new, rowid))
            done |= new != value
    return done


@settings(max_examples=50, deadline=None)
@given(places=st.lists(st.tuples(cells, changes), min_size=1, max_size=3))
def test_a_tampered_cell_is_right_or_an_error(filled, tmp_path_factory, places):
    original, right = filled
    path = tmp_path_factory.mktemp("tampered") / "sidecar.db"
    shutil.copy(original, path)
    _tampered(path, places)

    async def look():
        store = make_store(str(path), keys=[KEY])
        try:
            await store.open()
            return await _everything(store)
        except StoreUnavailable as error:
            return error
        finally:
            await store.close()

    seen = asyncio.run(look())
    if isinstance(seen, StoreUnavailable):
        assert "secret" in seen.message or "put a backup in its place" in seen.message
        return
    for (id, what), value in seen.items():
        if isinstance(value, StoreUnavailable):
            assert id in value.message
        elif what == "tree":
            # What is not encrypted may differ; what was said may not.
            assert {node.id: (node.body, node.usage) for node in value} == {
                node.id: (node.body, node.usage) for node in right[id, what]
            }
        elif what == "find":
            assert value == right[id, what] or value.conversation is None
        else:
            # A tenant that is empty stands for a conversation that is being deleted.
            assert value == right[id, what] or (what == "snapshot" and value is None)
