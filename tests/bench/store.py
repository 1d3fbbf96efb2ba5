"""What a request costs in the SQLite store, and what a chat takes up there.

`cost`: to find a conversation, and to record a question and its answer, in histories of 10 to 10,000
messages and stores of a thousand to a million conversations. CPU time of all threads, and wall-clock time,
which is that of the disk's sync; the medians. `written`: the pages that a turn writes (`written.py`).
`exchange`: what it costs more to keep with a turn what was done to its request, and the bytes that takes.
`size`: a thousand turns of a typical Open WebUI chat: what its messages are as JSON, and what they take up,
since the larger ones are kept smaller (`sidecar/store/sqlite/bodies.py`). zstd would be ten times as fast as
zlib, but a library more until Python 3.14 has it.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from statistics import median

from sidecar.conversation.tree import Node
from sidecar.store import SQLiteStore
from sidecar.store.sqlite.bodies import stored_body
from tests.bench import typical
from tests.bench.filled import fill
from tests.bench.scenes import table
from tests.bench.written import exchange_of, measure
from tests.store.trees import TENANT, question, reply, talk, update
from tests.store.trees import chat as alternating

__all__ = ["main"]

_WARM = 50  # requests that are not counted
_LENGTHS = (10, 100, 1_000, 10_000)
_SYSTEM = b'[{"role":"system","content":"%s"}]' % (b"You are a helpful assistant. " * 40)


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench store", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--stores", type=int, nargs="+", default=[10**3, 10**4, 10**5, 10**6])
    parser.add_argument("--requests", type=int, default=300, help="of which the median is taken")
    parser.add_argument("--chats", type=int, default=50, help=f"of {typical.TURNS} turns, for the size")
    parser.add_argument(
        "--chats-written", type=int, default=20_000, help="of which each gets a turn at times"
    )
    given = parser.parse_args(arguments)
    await _costs(folder, given.stores, given.requests)
    await measure(folder, given.chats_written, 8 * given.requests)
    await _exchanges(folder, given.requests)
    await _sizes(folder, given.chats)


async def _costs(folder: Path, stores: list[int], requests: int) -> None:
    rows = []
    for conversations in stores:
        file = folder / f"{conversations}.db"
        begun = time.monotonic()
        await fill(file, conversations)
        print(f"{conversations:,} conversations written in {time.monotonic() - begun:.0f} s", flush=True)
        store = SQLiteStore(str(file))
        await store.open()
        cells = [await _cost(store, length, requests) for length in _LENGTHS]
        await store.close()
        rows.append([f"{conversations:,} conversations", *cells])
        file.unlink()
    head = ["CPU (wall) of a request, in µs", *(f"{length:,} messages" for length in _LENGTHS)]
    print(f"\n{table(head, rows)}\n", flush=True)


async def _cost(store: SQLiteStore, length: int, requests: int) -> str:
    id = f"conv_{length}"
    nodes = alternating(*(f"{number} of {length}: {'so it is ' * 20}" for number in range(length)))
    for start in range(0, length, 1000):  # as grown in steps, not one transaction of its own size
        part = nodes[start : start + 1000]
        await store.record(update(talk(id, tip=part[-1].id), *part))
    at, spent, lasted = nodes[-1], [], []
    for number in range(requests + _WARM):
        ask = question(f"and then, {number}? {'so it is ' * 20}", at)
        answer = reply("so it is " * 40, ask)

        async def request(at=at, ask=ask, answer=answer) -> None:
            found = await store.find(TENANT, [id], [ask.hash, at.hash])
            assert found.nodes == {at.hash: [at]}
            await store.record(update(talk(id, tip=answer.id), ask, answer))

        cpu, wall = await _timed(request)
        spent.append(cpu)
        lasted.append(wall)
        at = answer
    return f"{median(spent[_WARM:]):,.0f} ({median(lasted[_WARM:]):,.0f})"


async def _exchanges(folder: Path, requests: int) -> None:
    """Turns of forty chats in turn, every second one with its exchange."""
    spent: dict[bool, list[float]] = {False: [], True: []}
    sizes: dict[tuple[bool, ...], float] = {}
    for keeps in ((False, True), (False,), (True,)):
        file = folder / f"exchange-{len(sizes)}.db"
        store = SQLiteStore(str(file))
        await store.open()
        at: dict[int, Node] = {}
        for number in range(40 * 2 * requests // 20):
            chat, keep = number % 40, keeps[number // 40 % len(keeps)]
            ask = question(f"and then, {number}? {'so it is ' * 20}", at.get(chat))
            at[chat] = answer = reply("so it is " * 40, ask)
            id = f"conv_{chat}"
            done = exchange_of(id, ask, answer, number) if keep else None
            told = update(talk(id, tip=answer.id), ask, answer, exchange=done)
            cost = (await _timed(partial(store.record, told)))[0]
            if len(keeps) == 2:
                spent[keep].append(cost)
        await store.purge(compact=False)
        await store.close()
        sizes[keeps] = file.stat().st_size / (number + 1)
        file.unlink()
    without, with_one = (median(spent[keep][_WARM:]) for keep in (False, True))
    print(f"to record a turn: {without:,.0f} µs of CPU, with its exchange {with_one - without:,.0f} more")
    print(f"an exchange takes {sizes[True,] - sizes[False,]:,.0f} bytes\n", flush=True)


async def _timed(work: Callable[[], Awaitable[None]]) -> tuple[float, float]:
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    await work()
    return (time.process_time_ns() - cpu) / 1000, (time.perf_counter_ns() - wall) / 1000


async def _sizes(folder: Path, chats: int) -> None:
    file = folder / "typical.db"
    store = SQLiteStore(str(file))
    await store.open()
    bodies: list[tuple[str, bytes]] = []
    spent = []
    for number in range(chats):
        for part in typical.chat(number):
            added = update(talk(f"conv_{number}", tip=part.nodes[-1].id), *part.nodes, system=_SYSTEM)
            spent.append((await _timed(partial(store.record, added)))[0])
            bodies += zip(part.kinds, (node.body for node in part.nodes), strict=True)
    await store.close()
    sums, kept = Counter[str](), Counter[str]()
    packing = time.thread_time_ns()
    for kind, body in bodies:
        kept[kind] += len(stored_body(body))
    packing = time.thread_time_ns() - packing
    for kind, body in bodies:
        sums[kind] += len(body)
    size = file.stat().st_size
    kept["rows, hashes, indexes"] = size - kept.total()
    sums["the file"], kept["the file"] = sums.total(), size
    rows = [[kind, *(f"{each[kind] / len(spent) / 1000:.2f} MB" for each in (sums, kept))] for kind in kept]
    print(f"{table(['1,000 turns of a typical chat', 'as JSON', 'on disk'], rows)}\n")
    each = packing / 1000 / len(spent)
    print(f"to record a turn: {median(spent):,.0f} µs of CPU; packing is {each:,.0f} of the mean")
