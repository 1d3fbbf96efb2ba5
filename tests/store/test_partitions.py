"""`config/postgres-partitions.sql`: a store whose tables are divided is a store like any other."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sidecar.store import make_store
from sidecar.store.postgres import statements
from sidecar.store.postgres.rows import number_of
from sidecar.store.postgres.store import PostgresStore
from sidecar.store.url import address_of
from tests.store.test_twins import compare, records
from tests.store.trees import TENANT, chat, talk, update

SCRIPT = (Path(__file__).parents[2] / "config" / "postgres-partitions.sql").read_text()


async def tables_of(server):
    """The name of a database with the tables of a store."""
    name = await server.database()
    store = make_store(server.url(name))
    await store.open()
    await store.close()
    return name


@pytest.fixture(scope="module")
def divided(server):
    async def divide():
        name = await tables_of(server)
        await server.execute(SCRIPT, name)
        return name

    return asyncio.run(divide())


@settings(max_examples=3, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=st.lists(records, min_size=2, max_size=8))
def test_it_answers_every_question_as_the_others_do(server, divided, history):
    asyncio.run(server.empty(divided))
    asyncio.run(compare(history, server.url(divided)))


async def test_every_table_that_grows_is_divided(server, divided):
    connection = await asyncpg.connect(server.url(divided))
    query = """SELECT relname FROM pg_class
        WHERE relkind = $1::"char" AND NOT relispartition AND relnamespace = 'public'::regnamespace"""
    tables = [{row[0] for row in await connection.fetch(query, kind.encode())} for kind in "pr"]
    await connection.close()

    assert tables[1] == {"append_lease", "client_key", "learned", "secret", "sidecar_schema"}
    assert {"conversation", "message", "exchange", "thread"} <= tables[0]


async def test_a_request_goes_to_one_part_of_each_table(server, divided):
    store = PostgresStore(address_of(server.url(divided)))
    await store.open()
    nodes = chat("hi", "hello")
    await store.record(update(talk(), *nodes))

    async def explain(connection):
        rows = await connection.fetch(
            f"EXPLAIN (ANALYZE, COSTS OFF) {statements.FIND}", [number_of("conv_1")], TENANT, [nodes[1].hash]
        )
        return [row[0] for row in rows]

    plan = await store._database.run(explain)
    await store.close()

    used = [line for line in plan if " on message_" in line and "never executed" not in line]
    assert 0 < len({line.split(" on ")[1].split()[0] for line in used}) <= 3, plan


async def test_a_store_in_which_something_is_stays_as_it_is(server):
    name = await tables_of(server)
    store = make_store(server.url(name))
    await store.open()
    await store.record(update(talk(), *chat("hi", "hello")))

    with pytest.raises(asyncpg.RaiseError, match="is not empty"):
        await server.execute(SCRIPT, name)

    assert len(await store.tree("conv_1")) == 2
    await store.close()
