"""What encryption costs: the store's work of a request, and the file, with a key and without.

Typical Open WebUI chats (documents, images, tools), the same ones in both stores: to find the place of a
request, to record its turn, and to load a whole chat, as where something in it has to be restored. CPU time
of all threads, medians and means; a turn with an image costs many times the median.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable
from dataclasses import replace
from pathlib import Path
from statistics import fmean, median

from sidecar.store import Store, make_store
from tests.bench import typical
from tests.bench.scenes import table
from tests.store.trees import TENANT, talk, turn

__all__ = ["main"]

_WORK = ("find", "record a turn", "load a chat")


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench sealed", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--chats", type=int, default=50, help=f"of {typical.TURNS} turns")
    chats = parser.parse_args(arguments).chats
    rows = []
    for name, keys in (("plain", []), ("with a key", [bytes(32)])):
        file = folder / f"{len(keys)}.db"
        store = make_store(str(file), keys=keys)
        await store.open()
        spent = await _spent(store, chats)
        await store.scrub(compact=True)
        await store.close()
        cells = [f"{median(spent[each]):,.0f} ({fmean(spent[each]):,.0f})" for each in _WORK]
        rows.append([name, *cells, f"{file.stat().st_size / 1e6:.2f} MB"])
    print(table(["CPU in µs: median (mean)", *_WORK, "the file"], rows))


async def _spent(store: Store, chats: int) -> dict[str, list[float]]:
    spent: dict[str, list[float]] = {each: [] for each in _WORK}
    for number in range(chats):
        id, last = f"conv_{number}", None
        for part in typical.chat(number):
            if last is not None:
                spent["find"].append(await _timed(store.find(TENANT, [id], [last.hash])))
            last = part.nodes[-1]
            about = replace(talk(id, tip=last.id), key=id)
            spent["record a turn"].append(await _timed(store.record(turn(about, *part.nodes))))
        assert last is not None
        spent["load a chat"].append(await _timed(store.path(id, last.id)))
    return spent


async def _timed(work: Awaitable[object]) -> float:
    begun = time.process_time_ns()
    await work
    return (time.process_time_ns() - begun) / 1000
