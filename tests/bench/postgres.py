"""What a request costs in PostgreSQL, and what a chat takes up there.

To find a conversation, and to record a question and its answer, in histories of 10 to 10,000 messages, among
as many other conversations as given: the medians of the CPU time of the sidecar and of the server together,
and of the wall-clock time, with the disk's sync (`--sync`). Then the same where the tables are divided.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from statistics import median

import psutil

from sidecar.store.postgres.store import PostgresStore
from sidecar.store.url import address_of
from tests.bench import typical
from tests.bench.scenes import table
from tests.store.postgres import Server
from tests.store.trees import TENANT, question, reply, talk, update
from tests.store.trees import chat as alternating

__all__ = ["main"]

_LENGTHS = (10, 100, 1_000, 10_000)
_WARM = 30  # requests that are not counted
_DIVIDE = Path(__file__).parents[2] / "config" / "postgres-partitions.sql"
_BEFORE = 10**15  # when strangers' conversations began, in microseconds: all of them before ours

# Strangers: two messages each, hashes by chance.
_FILL = (
    """INSERT INTO conversation
        (number, id, tenant, key, tip, "full", created_at, updated_at, born, positions)
    SELECT gen_random_uuid(), 'conv_' || n, decode(md5('tenant' || n % 1000), 'hex'), 'chat-' || n,
        decode(md5('tip' || n) || '0000000000000000', 'hex'), n % 2 = 0, n, n, {before} + n, 2
    FROM generate_series({first}, {end}) n""",
    """INSERT INTO message (conversation, position, id, parent, digest, exact, role, body, source, state,
        created_at, model, finish_reason)
    SELECT c.number, side, CASE side WHEN 1 THEN asked ELSE c.tip END, CASE side WHEN 2 THEN asked END,
        decode(md5('d' || c.id || side), 'hex'), decode(md5('e' || c.id || side), 'hex'),
        CASE side WHEN 1 THEN 'user' ELSE 'assistant' END,
        convert_to('{{"role":"user","content":"said by ' || c.id || '"}}', 'UTF8'),
        CASE side WHEN 1 THEN 'client' ELSE 'upstream' END, 'complete', c.created_at,
        CASE side WHEN 2 THEN 'm' END, CASE side WHEN 2 THEN 'stop' END
    FROM (SELECT *, substring(tip FROM 9) || substring(tip FROM 1 FOR 8) AS asked FROM conversation
        WHERE born BETWEEN {before} + {first} AND {before} + {end}) c, generate_series(1, 2) side""",
    """INSERT INTO known_by (hash, born, conversation)
    SELECT CASE k WHEN 1 THEN substring(m.id FROM 1 FOR 16) ELSE m.digest END, c.born, c.number
    FROM conversation c JOIN message m ON m.conversation = c.number CROSS JOIN generate_series(1, 2) k
    WHERE c.born BETWEEN {before} + {first} AND {before} + {end} AND (k = 1 OR m.source = 'upstream')""",
)
_PASS = 100_000


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench postgres", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--stores", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--requests", type=int, default=200, help="of which the median is taken")
    parser.add_argument("--chats", type=int, default=50, help=f"of {typical.TURNS} turns, for the size")
    parser.add_argument("--sync", action="store_true", help="wait for the disk, as one does in earnest")
    given = parser.parse_args(arguments)
    on = {"fsync": "on", "full_page_writes": "on"} if given.sync else {}
    server = Server(shared_buffers="256MB", max_wal_size="8GB", **on)
    server.start()
    try:
        rows = []
        for divided in (False, True):
            for conversations in given.stores if not divided else given.stores[-1:]:
                cells = await _costs(server, conversations, given.requests, divided)
                rows.append([f"{conversations:,} conversations{', divided' * divided}", *cells])
        head = ["CPU (wall) of a request, in µs", *(f"{length:,} messages" for length in _LENGTHS)]
        print(f"\n{table(head, rows)}\n", flush=True)
        await _size(server, given.chats)
    finally:
        server.close()


async def _costs(server: Server, conversations: int, requests: int, divided: bool) -> list[str]:
    begun = time.monotonic()
    name = await _filled(server, conversations, divided)
    ((size,),) = await _ask(server, name, "SELECT pg_database_size(current_database())")
    took = time.monotonic() - begun
    print(f"{conversations:,} conversations written in {took:.0f} s, {size >> 20:,} MiB", flush=True)
    store = PostgresStore(address_of(server.url(name, connections=1)))
    await store.open()
    cells = [await _cost(store, length, requests) for length in _LENGTHS]
    await store.close()
    await server.execute(f"DROP DATABASE {name}")
    return cells


async def _filled(server: Server, conversations: int, divided: bool) -> str:
    name = await server.database()
    store = PostgresStore(address_of(server.url(name)))
    await store.open()
    await store.close()
    if divided:
        await server.execute(_DIVIDE.read_text(), name)
    for first in range(1, conversations + 1, _PASS):
        end = min(first + _PASS - 1, conversations)
        for sql in _FILL:
            await server.execute(sql.format(before=_BEFORE, first=first, end=end), name)
    await server.execute("VACUUM ANALYZE", name)
    return name


async def _cost(store: PostgresStore, length: int, requests: int) -> str:
    id = f"ours_{length}"
    nodes = alternating(*(f"{number} of {length}: {'so it is ' * 20}" for number in range(length)))
    for start in range(0, length, 1000):
        part = nodes[start : start + 1000]
        await store.record(update(talk(id, tip=part[-1].id), *part))
    ((pid,),) = await store._fetch("SELECT pg_backend_pid()")
    backend = psutil.Process(pid)
    at, lasted = nodes[-1], []
    cpu = 0.0
    for number in range(requests + _WARM):
        ask = question(f"and then, {number}? {'so it is ' * 20}", at)
        answer = reply("so it is " * 40, ask)
        if number == _WARM:
            cpu = _spent(backend)
        begun = time.perf_counter_ns()
        found = await store.find(TENANT, [id], [ask.hash, at.hash])
        assert found.nodes == {at.hash: [at]}
        await store.record(update(talk(id, tip=answer.id), ask, answer))
        lasted.append((time.perf_counter_ns() - begun) / 1000)
        at = answer
    # The server's clock ticks in hundredths of a second, so this one is a mean.
    return f"{(_spent(backend) - cpu) / requests * 1e6:,.0f} ({median(lasted[_WARM:]):,.0f})"


def _spent(backend: psutil.Process) -> float:
    times = backend.cpu_times()
    return time.process_time() + times.user + times.system


async def _size(server: Server, chats: int) -> None:
    name = await _filled(server, 0, divided=False)
    store = PostgresStore(address_of(server.url(name)))
    await store.open()
    count = 0
    for number in range(chats):
        for part in typical.chat(number):
            await store.record(update(talk(f"conv_{number}", tip=part.nodes[-1].id), *part.nodes))
            count += 1
    await store.close()
    await server.execute("VACUUM", name)
    sizes = await _ask(
        server,
        name,
        """SELECT relname, pg_total_relation_size(oid) FROM pg_class
        WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 2 DESC""",
    )
    rows = [[each, f"{size / count / 1000:.2f} MB"] for each, size in sizes[:3]]
    rows.append(["all", f"{sum(size for _, size in sizes) / count / 1000:.2f} MB"])
    print(table([f"1,000 turns of a typical chat (of {count:,})", "on disk"], rows))


async def _ask(server: Server, name: str, sql: str):
    store = PostgresStore(address_of(server.url(name)))
    await store.open()
    try:
        return await store._fetch(sql)
    finally:
        await store.close()
