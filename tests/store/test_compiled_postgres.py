"""PostgreSQL compiles what it believes to be expensive, which takes up to a second: nothing of ours is.

The server of the tests cannot compile, but plans as one that can: what it logs of a plan says how much it
expects to spend, and whether it would compile that.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import asyncpg
import pytest

from sidecar.conversation.records import Summary
from sidecar.prompt.search_words import Sought
from sidecar.store import make_store
from sidecar.store.postgres import database
from tests.store.trees import TENANT, chat, exchange, question, reply, talk, thread, update

# The coverage's tracer would multiply what it takes to write all these plans down.
pytestmark = pytest.mark.no_cover

DIVIDE = (Path(__file__).parents[2] / "config" / "postgres-partitions.sql").read_text()
IMAGE = "so it is " * 2000
LIMIT = 100_000  # PostgreSQL's `jit_above_cost`
# Ten chats of many messages, every tenth with a part that is kept by itself.
FILL = r"""
    INSERT INTO conversation
        (number, id, tenant, key, "full", created_at, updated_at, born, positions)
    SELECT md5('c' || n)::uuid, 'filled_' || n, '\x01', 'k' || n, true, n, n, n, 2000
    FROM generate_series(1, 10) n;
    INSERT INTO message
        (conversation, position, id, digest, exact, role, body, source, state, created_at)
    SELECT md5('c' || n)::uuid, k, decode(md5(n || '-' || k) || '0000000000000000', 'hex'), '\x01', '\x01',
        'user', convert_to(repeat('x', 300), 'UTF8'), 'client', 'complete', 1
    FROM generate_series(1, 10) n, generate_series(1, 2000) k;
    INSERT INTO known_by (hash, born, conversation)
    SELECT substring(m.id FROM 1 FOR 16), c.born, c.number
    FROM conversation c JOIN message m ON m.conversation = c.number;
    INSERT INTO part (conversation, name, bytes)
    SELECT md5('c' || n)::uuid, decode(md5('p' || n || k), 'hex'), convert_to(repeat('y', 300), 'UTF8')
    FROM generate_series(1, 10) n, generate_series(1, 200) k;
    ANALYZE"""


class Planned(NamedTuple):
    statement: str
    cost: float
    is_compiled: bool


_LOGGED = re.compile(
    r"LOG:  plan:\n.*?:jitFlags\s(\d+)\s.*?:plan\.total_cost\s+([\d.e+]+)\s"
    r".*?STATEMENT:  (.*?)(?=\n\d{4}-|\Z)",
    re.DOTALL,
)


class Watched:
    """A database, and what has been planned in it since `forget`."""

    def __init__(self, server, name):
        self.server, self.name, self.url = server, name, server.url(name)
        self.forget()

    def forget(self):
        self._from = len(self._log())

    def plans(self):
        found = _LOGGED.finditer(self._log()[self._from :])
        return [Planned(" ".join(each[3].split())[:300], float(each[2]), each[1] != "0") for each in found]

    def _log(self):
        return (self.server.folder / "log").read_text(errors="replace")


@pytest.fixture
async def watched(server):
    async def watch(divided=False, filled=False, **settings):
        name = await server.database()
        store = make_store(server.url(name))
        await store.open()
        await store.close()
        if divided:
            await server.execute(DIVIDE, name)
        if filled:
            await server.execute(FILL, name)
        for setting, value in ({"debug_print_plan": "on", "debug_pretty_print": "off"} | settings).items():
            await server.execute(f"ALTER DATABASE {name} SET {setting} = {value}")
        return Watched(server, name)

    return watch


@pytest.fixture(params=["direct", "pooled"])
def way(request, monkeypatch):
    if request.param == "pooled":  # a pooler answers with the number of a process of its own
        monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda self: 1)
    return request.param


async def hot(store):
    """Everything that is asked for a request, of a chat with images."""
    ask = question([IMAGE, "hi"])
    answer = reply("hello", ask)
    whole = (ask, answer)
    done, root = exchange("conv_1", *whole), thread(*whole)
    await store.record(update(talk(), *whole, system=b"[]", exchange=done, thread=root))
    more, so = chat("and?", "so", under=answer)
    for is_named in (False, True):
        echoes = [(b"e" * 16, answer.id)] if is_named else []
        turn = update(
            talk(key="mine" if is_named else None, tip=so.id), more, so, echoes=echoes, exchange=done
        )
        async with store.cross_process_lock("conv_1", 5):
            await store.record(turn)
    found = await store.find(TENANT, ["conv_1"], [answer.hash])
    assert found.nodes == {answer.hash: [answer]}
    assert await store.path("conv_1", so.id) == [*whole, more, so]
    assert await store.tree("conv_1") == [*whole, more, so]
    await store.find_by_history(TENANT, [more.hash, so.hash])
    await store.candidates(TENANT, [ask.hash], [answer.digest])
    await store.system("conv_1")
    await store.threads("conv_1")
    await store.add_summary("conv_1", Summary(ask.hash, "short", "m", 1.0))
    await store.find_summary("conv_1", [ask.hash])
    await store.exchanges(TENANT, "conv_1")
    await store.exchange(TENANT, "conv_1", done.id)
    await store.client_key("none")
    await store.probe()
    await store.index_more()
    await store.look_for(Sought("hello"))


@pytest.mark.parametrize("filled", [False, True], ids=["fresh", "filled"])
@pytest.mark.parametrize("divided", [False, True], ids=["whole", "divided"])
async def test_no_statement_of_a_request_looks_expensive(watched, way, divided, filled):
    database = await watched(divided=divided, filled=filled)
    store = make_store(database.url)
    await store.open()
    database.forget()

    await hot(store)
    await store.close()

    costs = {each.statement: each.cost for each in database.plans() if "typeinfo_tree" not in each.statement}
    assert any("line AS (" in statement for statement in costs)
    assert {statement: cost for statement, cost in costs.items() if cost > LIMIT} == {}


async def test_nothing_is_compiled_however_expensive_it_looks(watched, way):
    database = await watched(jit_above_cost=0)
    store = make_store(database.url)
    await store.open()
    database.forget()

    await hot(store)
    await store.overviews(limit=20)
    await store.close()

    plans = database.plans()
    assert any("line AS (" in each.statement for each in plans)
    assert [each for each in plans if each.is_compiled] == []


async def test_where_a_role_may_not_switch_it_off_it_is_served_all_the_same(
    watched, way, monkeypatch, caplog
):
    monkeypatch.setattr(database, "_COMPILES", "SELECT 'ALTER ROLE nobody_of_this_name SET jit = off'")
    store = make_store((await watched()).url)
    await store.open()
    await hot(store)
    await store.close()

    assert ("the server may compile statements (jit = on)" in caplog.text) is (way == "pooled")
