"""Kill two sidecars on one PostgreSQL, and the database, again and again: is any acknowledged turn lost?

The exit code is 1 if anything is lost, doubled or broken.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

from tests.crash.replicas import Replicas
from tests.store.postgres import Server

__all__ = ["main"]

_AT_ONCE = 25  # kills of one database, before the next


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench replicas", description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    parser.add_argument("--replies", type=int, default=40, help="between two kills, about (%(default)s)")
    parser.add_argument("--alone", type=int, default=6, help="clients with a chat of their own (%(default)s)")
    parser.add_argument("--crowds", type=int, default=2, help="chats that three add to (%(default)s)")
    given = parser.parse_args(arguments)
    print(f"{given.alone} + 3 x {given.crowds} clients, 2 replicas, seed {given.seed}", flush=True)
    chance = random.Random(given.seed)
    server = Server()
    server.start()
    try:
        replicas = Replicas(server, folder, given.seed)
        left = given.kills
        while left > 0:
            victims = chance.choices(("replica", "database"), (2, 1), k=min(left, _AT_ONCE))
            left -= len(victims)
            await replicas.run(victims, replies=given.replies, alone=given.alone, crowds=given.crowds)
            print(replicas.summary, flush=True)
    finally:
        server.close()
    for fault in replicas.summary.faults:
        print(f"{fault.kind}: {fault.what}")
    if replicas.summary.faults:
        sys.exit(1)
