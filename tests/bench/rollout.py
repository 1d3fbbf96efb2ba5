"""Replace sidecars by new ones under load: does a stream break off, is a request refused, is a turn lost?

The exit code is 1 if anything of that is so.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.crash.rollout import roll_out
from tests.store.postgres import Server

__all__ = ["main"]


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench rollout", description=__doc__)
    parser.add_argument("--replicas", type=int, default=2, help="how many are replaced (%(default)s)")
    parser.add_argument("--clients", type=int, default=40, help="each with a chat of its own (%(default)s)")
    parser.add_argument("--pause", type=float, default=0.1, help="s between pieces, 20 a reply (%(default)s)")
    parser.add_argument("--times", type=int, default=3, help="how often all are replaced (%(default)s)")
    parser.add_argument(
        "--older", type=Path, help="a checkout of the version to be replaced (default: this one)"
    )
    given = parser.parse_args(arguments)
    server = Server()
    server.start()
    is_fine = True
    try:
        for keeps in (False, True):
            print("clients that", "keep their connections" if keeps else "connect anew for each request")
            for _ in range(given.times):
                summary = await roll_out(
                    server.url(await server.database()),
                    folder,
                    replicas=given.replicas,
                    clients=given.clients,
                    pause=given.pause,
                    keeps_connections=keeps,
                    older=given.older,
                )
                print(f"  {summary}", *summary.failed[:5], sep="\n    ", flush=True)
                is_fine = is_fine and not summary.failed and not summary.faults
    finally:
        server.close()
    if not is_fine:
        sys.exit(1)
