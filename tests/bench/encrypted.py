"""What encryption costs: the store's work of a request, and the file, with a key and without.

Typical Open WebUI chats (documents, images, tools), the same ones in both stores: to find the place of a
request, to record its turn, and to load a whole chat, as where something in it has to be restored. CPU time
of all threads, medians and means; a turn with an image costs many times the median.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Awaitable
from pathlib import Path
from statistics import fmean, median

from msgspec.structs import replace

from sidecar.conversation.tree import Node
from sidecar.store import Store, make_store
from tests.bench import typical
from tests.bench.scenes import table
from tests.store.trees import TENANT, talk, update

__all__ = ["main"]

_KEYS: dict[str, list[bytes]] = {"plain": [], "with a key": [bytes(32)]}
_WORK = ("find", "record a turn", "load a chat")


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(
        prog="./dev bench encrypted", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--chats", type=int, default=50, help=f"of {typical.TURNS} turns")
    chats = parser.parse_args(arguments).chats
    files = {name: folder / f"{name}.db" for name in _KEYS}
    stores = {name: make_store(str(files[name]), keys=keys) for name, keys in _KEYS.items()}
    for store in stores.values():
        await store.open()
    # In turns, so that whatever else the machine does falls on both.
    spent = await _spent(stores, chats)
    rows = []
    for name, store in stores.items():
        await store.purge(compact=True)
        await store.close()
        cells = [f"{median(spent[name, each]):,.0f} ({fmean(spent[name, each]):,.0f})" for each in _WORK]
        rows.append([name, *cells, f"{files[name].stat().st_size / 1e6:.2f} MB"])
    print(table(["CPU in µs: median (mean)", *_WORK, "the file"], rows))


async def _spent(stores: dict[str, Store], chats: int) -> dict[tuple[str, str], list[float]]:
    spent: dict[tuple[str, str], list[float]] = {(name, each): [] for name in stores for each in _WORK}
    for number in range(chats):
        id = f"conv_{number}"
        last: Node | None = None
        for part in typical.chat(number):
            before, last = last, part.nodes[-1]
            about = replace(talk(id, tip=last.id), key=id)
            for name, store in stores.items():
                if before is not None:
                    spent[name, "find"].append(await _timed(store.find(TENANT, [id], [before.hash])))
                spent[name, "record a turn"].append(await _timed(store.record(update(about, *part.nodes))))
        assert last is not None
        for name, store in stores.items():
            spent[name, "load a chat"].append(await _timed(store.path(id, last.id)))
    return spent


async def _timed(work: Awaitable[object]) -> float:
    begun = time.process_time_ns()
    await work
    return (time.process_time_ns() - begun) / 1000
