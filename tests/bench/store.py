"""What a request costs in the SQLite store, and what a chat takes up there.

`cost`: to find a conversation, and to record a question and its answer, in histories of 10 to 10,000
messages and stores of a thousand to a million conversations. CPU time of all threads, and wall-clock time,
which is that of the disk's sync; the medians. `written`: the pages that a turn writes (`written.py`).
`exchange`: what it costs more to keep with a turn what was done to its request, and the bytes that takes.
`size`: a thousand turns of a typical Open WebUI chat, and what packing its larger messages would save and
cost. They are not packed: images hardly get smaller, so that a fifth of the file would be saved, with zlib
for half as much work again to record a turn; as bytes and not as base64 images would save a seventh. zstd is
ten times as fast, but a library more until Python 3.14 has it.
"""

from __future__ import annotations

import argparse
import sqlite3
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from statistics import median

from sidecar.conversation.tree import Node
from sidecar.store import SQLiteStore
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
_LARGE = 4096  # bytes from which on a message would be packed


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
    with closing(sqlite3.connect(file)) as connection:
        count, size = (connection.execute(f"PRAGMA page_{each}").fetchone()[0] for each in ("count", "size"))
    sums = Counter[str]()
    for kind, body in bodies:
        sums[kind] += len(body)
    sums["rows, hashes, indexes"] = count * size - sums.total()
    sums["the file"] = count * size
    rows = [[kind, f"{found / len(spent) / 1000:.2f} MB"] for kind, found in sums.items()]
    print(f"{table(['1,000 turns of a typical chat', 'on disk'], rows)}\n")
    large = [body for _kind, body in bodies if len(body) > _LARGE]
    print(f"to record a turn: {median(spent):,.0f} µs of CPU")
    print(f"{len(large)} of {len(bodies)} messages are larger than {_LARGE} bytes\n")
    rows = [_packed(each, large, count * size, len(spent)) for each in _ways()]
    print(table(["packing those", "saves of them", "of the file", "µs for a turn", "µs to read one"], rows))


@dataclass
class _Way:
    name: str
    pack: Callable[[bytes], bytes]
    unpack: Callable[[bytes], bytes]


def _ways() -> list[_Way]:
    ways = [_Way(f"zlib {level}", partial(zlib.compress, level=level), zlib.decompress) for level in (1, 6)]
    if find_spec("zstandard") is not None:  # no dependency of ours: measured where it happens to be
        zstandard = import_module("zstandard")
        compressor, decompressor = zstandard.ZstdCompressor(3), zstandard.ZstdDecompressor()
        ways.append(_Way("zstd 3", compressor.compress, decompressor.decompress))
    return ways


def _packed(way: _Way, large: list[bytes], file: int, turns: int) -> list[str]:
    begun = time.thread_time_ns()
    packed = [way.pack(body) for body in large]
    between = time.thread_time_ns()
    for body in packed:
        way.unpack(body)
    end = time.thread_time_ns()
    before = sum(map(len, large))
    saved = before - sum(map(len, packed))
    cost = f"{(between - begun) / 1000 / turns:,.0f}", f"{(end - between) / 1000 / len(large):,.0f}"
    return [way.name, f"{saved / before:.0%}", f"{saved / file:.0%}", *cost]
