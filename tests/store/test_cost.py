"""What a request costs in the SQLite store: the same, however long its history is."""

from __future__ import annotations

import asyncio
import re

import pytest
from msgspec.structs import replace

from sidecar.conversation.records import Snapshot
from sidecar.store import SQLiteStore
from sidecar.store.sqlite import find as finding
from sidecar.store.sqlite import nodes as node_rows
from sidecar.store.sqlite import parts as part_rows
from sidecar.store.sqlite import record as recording
from sidecar.store.sqlite import store as sqlite
from sidecar.store.sqlite import threads as thread_rows
from tests.bench import typical
from tests.store.trees import TENANT, chat, exchange, question, reply, talk, thread, update

# The coverage's tracer would multiply what is measured here.
pytestmark = pytest.mark.no_cover


@pytest.fixture
async def store(tmp_path):
    store = SQLiteStore(str(tmp_path / "sidecar.db"))
    await store.open()
    yield store
    await store.close()


STATEMENTS = {
    name: value
    for module in (sqlite, finding, recording, node_rows, part_rows, thread_rows)
    for name, value in vars(module).items()
    if name.lstrip("_").startswith(
        ("FIND", "ADD", "DROP_TIP", "DROP_KNOWN", "COUNT", "PATH", "TREE", "SYSTEM")
    )
    and isinstance(value, str)
}
HOT = (
    "FIND_CONVERSATION",
    "_FIND_NODES",
    "_FIND_NODE",
    "FIND_PARENT",
    "_FIND_ECHO",
    "_FIND_HELD",
    "_FIND_NUMBERED",
    "_FIND_HOLDER",
    "_FIND_SIZE",
    "_PATH",
    "_TREE",
    "_SYSTEM",
    "_FIND_EXCHANGES",
    "_FIND_EXCHANGE",
    "_FIND_FRONTS",
    "_FIND_SUMMARY",
    "_ADD_CONVERSATION",
    "_ADD_TO_CONVERSATION",
    "_COUNT_ALIKE",
    "ADD_EXCHANGE",
    "_ADD_SYSTEM",
    "_ADD_SUMMARY",
    "ADD_NODE",
    "ADD_NEWEST",
    "FIND_TIP",
    "ADD_TIP",
    "DROP_TIP",
    "ADD_ECHO",
    "ADD_KNOWN_BY",
    "DROP_KNOWN_BY",
    "FIND_NUMBER",
    "FIND_CROWD",
    "FIND_FULL",
    "FIND_FEW",
    "FIND_LAST",
    "ADD_TO_THREAD",
    "ADD_IN_PLACE",
    "ADD_THREAD",
    "ADD_CROWD",
    "FIND_PART",
    "FIND_NAME",
    "ADD_PART",
)


@pytest.mark.parametrize("name", HOT)
async def test_every_statement_of_a_request_goes_by_an_index(store, name):
    sql = STATEMENTS[name]

    def plan(connection):
        named = dict.fromkeys(re.findall(r":(\w+)", sql))
        values = named or [None] * sql.count("?")
        return [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {sql}", values)]

    steps = await store._reader.do(plan)

    # The rows that the recursion has put aside are no table.
    assert [step for step in steps if step.startswith("SCAN") and step != "SCAN line"] == []


def test_no_statement_is_left_out():
    assert set(STATEMENTS) == set(HOT)


async def test_find_and_record_cost_the_same_after_five_thousand_messages_as_after_ten(store):
    costs = {}
    for length in (10, 5000):
        id = f"conv_{length}"
        nodes = chat(*(f"{length} {number}" for number in range(length)))
        left = chat("a branch that was left", "indeed")
        await store.record(update(talk(id), *left))
        await store.record(update(talk(id, tip=nodes[-1].id), *nodes))
        at_the_tip = await steps_of(store, lambda store, id=id, at=nodes[-1]: ask(store, id, at))
        inside = await steps_of(store, lambda store, id=id, at=nodes[1]: ask(store, id, at))
        left_behind = await steps_of(store, lambda store, id=id, at=left[-1]: ask(store, id, at))
        costs[length] = at_the_tip, inside, left_behind

    assert min(costs[10]) > 100, "the steps are counted"
    for short, long in zip(costs[10], costs[5000], strict=True):
        assert long < 1.3 * short


async def test_finding_a_history_costs_the_same_in_a_long_conversation(store):
    costs = []
    for length in (10, 5000):
        nodes = chat(*(f"{length} {number}" for number in range(length)))
        await store.record(update(talk(f"conv_{length}"), *nodes))
        answer = nodes[5]
        costs.append(await steps_of(store, lambda store, at=answer: store.find_by_history(TENANT, [at.hash])))

    assert 10 < costs[1] < 1.3 * costs[0]


async def test_recognising_costs_the_same_among_thousands_of_chats_that_all_say_ok(store):
    """Both where they begin alike and where only the answer is the same, in many places of each."""
    ask, answer = chat("hi", "ok")

    async def recognise(store):
        assert await store.find_by_history(TENANT, [b"n" * 16, answer.hash]) is not None
        assert await store.candidates(TENANT, [ask.hash], [answer.digest]) == {}

    costs = []
    for many in (range(50), range(50, 2000)):
        for number in many:
            await store.record(
                update(talk(f"conv_{number}"), *chat("hi", "ok", f"{number}", "ok", "and?", "ok"))
            )
        costs.append(await steps_of(store, recognise))

    assert 100 < costs[1] < 1.3 * costs[0]


async def test_one_chat_that_says_ok_thousands_of_times_costs_no_more(store):
    costs = []
    for length in (10, 5000):
        nodes = chat(*(["and?", f"ok {length}"] * (length // 2)))
        await store.record(update(talk(f"conv_{length}"), *nodes))
        said = nodes[1].digest
        costs.append(await steps_of(store, lambda store, said=said: store.candidates(TENANT, [], [said])))

    # Counting its messages takes a step for each, and nothing else does.
    assert costs[1] < costs[0] + 4 * 5000


async def test_threads_cost_the_same_among_thousands_of_roots_of_one_conversation(store):
    costs = []
    for many in (100, 5000):
        id = f"conv_{many}"
        roots = [question(f"{many} {number}") for number in range(many)]
        known = [thread(root, updated_at=float(at)) for at, root in enumerate(roots)]
        await store.add_snapshot(Snapshot(talk(id), tuple(roots), threads=tuple(known)))
        again = update(talk(id), thread=thread(roots[many // 2], updated_at=9000.0))
        costs.append(
            [
                await steps_of(store, lambda store, again=again: store.record(again)),
                await steps_of(store, lambda store, id=id: store.threads(id)),
            ]
        )

    for few, lots in zip(*costs, strict=True):
        assert 20 < lots < 1.3 * few


async def test_a_turn_writes_so_many_pages_of_the_log_and_no_more(store, tmp_path):
    """Of a chat with a name those of its conversation, its thread, the ids of its messages and of its
    exchange, and what rows take; without a name also those of what it is known by. A group shares some.
    """
    pages = {}
    for key in ("mine", None):
        about = {id: talk(f"{key}_{id}", key=key) for id in range(1000)}
        tips = {id: question(f"{id}") for id in about}
        first = [update(about[id], root, thread=thread(root)) for id, root in tips.items()]
        await asyncio.gather(*map(store.record, first))
        await store.purge(compact=False)
        for at in range(8):
            turns = [turn_of(about[id], tips, id, at) for id in range(at, 1000, 63)]
            await asyncio.gather(*map(store.record, turns))
        pages[key] = ((tmp_path / "sidecar.db-wal").stat().st_size - 32) / (4096 + 24) / (8 * 16)

    # Exactly so with one version of SQLite; others may divide pages elsewhere.
    assert pages == {"mine": pytest.approx(3.5, rel=0.03), None: pytest.approx(4.234375, rel=0.03)}
    tables = {name: await store._reader.do(rows_of(name)) for name in ("known_by", "tip")}
    assert tables == {"known_by": 1000 + 128 * 3, "tip": 0}


def in_use(connection):
    """Bytes of the pages that hold something: migrations leave some free, which are taken first."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0]
        for name in ("page_count", "freelist_count", "page_size")
    )
    return (pages - free) * size


async def test_a_typical_chat_takes_up_so_many_bytes_and_no_more(store):
    """20 turns with documents, tools and an image of 150 kB, which is 200 kB of base64."""
    sizes = []
    parts = list(typical.chat(0))
    for part in ([], parts):
        for each in part:
            await store.record(update(talk(tip=each.nodes[-1].id), *each.nodes))
        await store.purge(compact=False)
        sizes.append(await store._reader.do(in_use))
    as_json = sum(len(node.body) for each in parts for node in each.nodes)

    # The words are those of Python's documentation, which other versions have otherwise.
    assert sizes[1] - sizes[0] == pytest.approx(217_088, rel=0.05)
    assert as_json == pytest.approx(300_000, rel=0.05)


def turn_of(about, tips, id, at):
    """A question and its answer at the tip, with all that is kept of them; always in the same bytes."""
    ask = question(f"and then, {id}? {'so it is ' * 20}", tips[id])
    answer = reply("so it is " * 60, ask, nonce=at, model="demo", usage=b'{"prompt_tokens":12345}')
    root = thread(tips[id], answer, updated_at=2.0)
    done = exchange(about.id, ask, answer, at=1_764_000_000_000 + at)
    return update(replace(about, tip=answer.id), ask, answer, exchange=done, thread=root)


def rows_of(table):
    return lambda connection: connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


async def ask(store, id, at):
    """One request: look up, then record a question and its reply."""
    found = await store.find(TENANT, [id], [b"n" * 16, at.hash])
    assert found.nodes == {at.hash: [at]}
    more = question(f"and after {at.id.hex()}?", at)
    answer = reply("so", more)
    told, echoes = exchange(id, more, answer), [(b"e" * 16, answer.id)]
    whole = update(
        talk(id, tip=answer.id), more, answer, echoes=echoes, exchange=told, thread=thread(at, answer)
    )
    await store.record(whole)


async def steps_of(store, work):
    """How many steps of SQLite's machine `work` takes."""
    count = 0

    def step():
        nonlocal count
        count += 1
        return 0

    for worker in (store._reader, store._writer):
        await worker.do(lambda connection: connection.set_progress_handler(step, 1))
    await work(store)
    for worker in (store._reader, store._writer):
        await worker.do(lambda connection: connection.set_progress_handler(None, 1))
    return count
