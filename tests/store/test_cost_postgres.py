"""What a request costs in PostgreSQL, in pages that are touched: the same, however much there is.

Not in time, which says nothing on a busy machine. Each is one statement, so one round trip.
"""

from __future__ import annotations

import json

import pytest

from sidecar.conversation.exchange_record import Exchange, exchange_id
from sidecar.conversation.records import Snapshot
from sidecar.store import make_store
from sidecar.store.encrypted.store import EncryptedStore
from sidecar.store.postgres import statements
from sidecar.store.postgres.database import Database
from sidecar.store.postgres.rows import number_of
from sidecar.store.postgres.store import recording
from tests.store.trees import TENANT, chat, exchange, question, reply, talk, thread, update

# The coverage's tracer would multiply what is measured here.
pytestmark = pytest.mark.no_cover


@pytest.fixture
async def store(server):
    store = make_store(server.url(await server.database()))
    await store.open()
    yield store
    await store.close()


async def pages(store, query, *values):
    """How many pages running this touches; nothing of it stays."""

    async def explain(connection):
        transaction = connection.transaction()
        await transaction.start()
        found = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query}", *values)
        await transaction.rollback()
        return _touched(json.loads(found)[0]["Plan"])

    return await store._database.run(explain)


def _touched(plan):
    """A plan has what is under it, but for the parts that write beside it."""
    own = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
    return max(own, sum(_touched(each) for each in plan.get("Plans", ())))


async def request(store, id, at):
    """One request that goes on at this node: what it takes to find it, and what to record it."""
    finding = await pages(store, statements.FIND, [number_of(id)], TENANT, [b"n" * 16, at.hash])
    more = question("and after that?", at)
    answer = reply("so", more)
    done = exchange(id, more, answer)
    echoes, root = [(b"e" * 16, answer.id)], thread(at, answer)
    told = update(talk(id, tip=answer.id), more, answer, echoes=echoes, exchange=done, thread=root)
    query, values = recording(told, None)
    return finding, await pages(store, query, *values)


async def test_find_and_record_cost_the_same_after_five_thousand_messages_as_after_ten(store):
    costs = []
    for length in (10, 5000):
        id = f"conv_{length}"
        nodes = chat(*(f"{length} {number}" for number in range(length)))
        left = chat(f"{length}: a branch that was left", "indeed")
        await store.record(update(talk(id), *left))
        await store.record(update(talk(id, tip=nodes[-1].id), *nodes))
        costs.append([await request(store, id, at) for at in (nodes[-1], nodes[1], left[-1])])

    for (find, record), (long_find, long_record) in zip(*costs, strict=True):
        assert 5 < long_find < find + 10  # every index may be a level deeper
        assert 20 < long_record < 2 * record


async def test_recognising_costs_the_same_among_hundreds_of_chats_that_all_say_ok(store):
    ask, answer = chat("hi", "ok")
    costs = []
    for many in (range(50), range(50, 600)):
        for number in many:
            await store.record(update(talk(f"conv_{number}"), *chat("hi", "ok", f"{number}", "ok")))
        known = await pages(store, statements.FIND_BY_HISTORY, TENANT, [b"n" * 16, answer.hash])
        costs.append((known, await pages(store, statements.CANDIDATES, TENANT, [ask.hash, answer.digest])))

    assert (await store.find_by_history(TENANT, [answer.hash])) is not None
    for few, lots in zip(*costs, strict=True):
        assert 3 < lots < 2 * few + 10


async def test_a_path_costs_by_its_length_and_not_by_the_branches_beside_it(store):
    nodes = chat(*(f"{number}" for number in range(20)))
    await store.record(update(talk(), *nodes))
    values = (number_of("conv_1"), nodes[-1].id)
    alone = await pages(store, statements.PATH, *values)
    for number in range(300):
        await store.record(update(talk(), *chat(f"another {number}", "indeed", "and?", "so")))

    assert 20 < await pages(store, statements.PATH, *values) < 2 * alone


async def test_the_newest_exchanges_cost_the_same_in_a_long_conversation(store):
    costs = []
    for number in (30, 3000):
        id = f"conv_{number}"
        whole = Snapshot(
            talk(id), exchanges=tuple(Exchange(exchange_id(at, b"abcd"), id) for at in range(number))
        )
        await store.add_snapshot(whole)
        values = (number_of(id), TENANT, b"\xff" * 32, 20)
        costs.append(await pages(store, statements.EXCHANGES, *values))

    assert 3 < costs[1] < 2 * costs[0]


async def test_threads_cost_the_same_among_thousands_of_roots_of_one_conversation(store):
    costs = []
    for many in (100, 3000):
        id = f"conv_{many}"
        roots = [question(f"{many} {number}") for number in range(many)]
        known = [thread(root, updated_at=float(at)) for at, root in enumerate(roots)]
        await store.add_snapshot(Snapshot(talk(id), tuple(roots), threads=tuple(known)))
        found = await pages(store, statements.THREADS, number_of(id), 64)
        query, values = recording(update(talk(id), thread=thread(roots[5], updated_at=9000.0)), None)
        costs.append((found, await pages(store, query, *values)))

    for few, lots in zip(*costs, strict=True):
        assert 3 < lots < few + 20  # every index may be a level deeper


@pytest.mark.parametrize("keys", [[], [bytes(32)]], ids=["plain", "encrypted"])
async def test_a_prompt_that_comes_again_is_not_written_again(server, store, keys):
    ask, inner = question("hi"), store
    if keys:
        inner = make_store(server.url(await server.database()))
        store = EncryptedStore(inner, keys)
        await store.open()
    long = json.dumps(list(range(20_000))).encode()

    async def written(system):
        before = await inner._fetch("SELECT pg_table_size('thread')")
        for _ in range(9):
            await store.record(update(talk(), ask, thread=thread(ask, system=system)))
        after = await inner._fetch("SELECT pg_table_size('thread')")
        return after[0][0] - before[0][0]

    first = await written(long)
    assert first > 2 * 8192, "it is stored outside of its row"
    assert await written(long) == 0
    assert await written(long[:-1] + b" ]") > 0
    if keys:
        await store.close()


async def test_every_question_of_a_request_is_one_round_trip(store, monkeypatch):
    asked = []
    run = Database.run

    async def counts(self, work, **about):
        asked.append(work)
        return await run(self, work, **about)

    monkeypatch.setattr(Database, "run", counts)
    nodes = chat("hi", "hello")
    done, root = exchange("conv_1", *nodes), thread(*nodes)
    await store.record(update(talk(), *nodes, system=b"[]", exchange=done, thread=root))
    await store.find(TENANT, ["conv_1"], [nodes[1].hash])
    await store.find_by_history(TENANT, [nodes[1].hash])
    await store.candidates(TENANT, [nodes[0].hash], [nodes[1].digest])
    await store.path("conv_1", nodes[1].id)
    await store.tree("conv_1")
    await store.system("conv_1")
    assert await store.threads("conv_1") == [root]
    await store.find_summary("conv_1", [nodes[0].hash])
    (only,) = await store.exchanges(TENANT, "conv_1")
    await store.exchange(TENANT, "conv_1", only.id)

    assert len(asked) == 11


async def test_nothing_in_the_schema_has_to_be_on_one_machine(store):
    """No sequence, no foreign key; whatever is unique is so within a conversation, or within a hash."""
    sequences = await store._fetch("SELECT relname FROM pg_class WHERE relkind = 'S'")
    references = await store._fetch("SELECT conname FROM pg_constraint WHERE contype = 'f'")
    unique = await store._fetch(
        """SELECT c.relname, a.attname FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
        JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0]
        WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace"""
    )

    assert (sequences, references) == ([], [])
    assert dict(unique) == {
        "conversation": "number",
        "message": "conversation",
        "part": "conversation",
        "echo": "conversation",
        "system_prompt": "conversation",
        "summary": "conversation",
        "exchange": "conversation",
        "thread": "conversation",
        "append_lease": "conversation",
        "search_message": "segment",
        "search_done": "conversation",
        "search_segment": "segment",
        "search_row": "segment",
        "kept_request": "conversation",
        "running_response": "conversation",
        "running_event": "conversation",
        "known_by": "hash",
        "learned": "name",  # a thousand rows at most
        "client_key": "id",  # as many as the operator makes
    }
