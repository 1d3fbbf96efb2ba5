"""`python -m tests.bench NAME [ARGS]`. Exit code 2: the engine cannot run on this machine."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
from pathlib import Path

from tests.bench import (
    affinity,
    context,
    crash,
    encrypted,
    estimate,
    fail_over,
    full,
    guard,
    inspector,
    keys,
    postgres,
    replicas,
    rollout,
    slot_restore,
    slots,
    store,
    stripped,
    told,
)
from tests.bench.engine import NoEngine
from tests.bench.recall import run as recall
from tests.bench.speed import run as speed

_MEASURES = {
    "context": context.main,
    "stripped": stripped.main,
    "full": full.main,
    "estimate": estimate.main,
    "slots": slots.main,
    "slot_restore": slot_restore.main,
    "recall": recall.main,
    "crash": crash.main,
    "postgres": postgres.main,
    "replicas": replicas.main,
    "rollout": rollout.main,
    "fail_over": fail_over.main,
    "keys": keys.main,
    "affinity": affinity.main,
    "speed": speed.main,
    "guard": guard.main,
    "store": store.main,
    "encrypted": encrypted.main,
    "inspector": inspector.main,
    "told": told.main,
}


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] not in _MEASURES:
        print(f"Usage: ./dev bench {{{','.join(_MEASURES)}}} [--help]", file=sys.stderr)
        return 2
    name, *rest = arguments
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that the engine ends as well
    with tempfile.TemporaryDirectory(prefix="sidecar-bench-") as folder:
        try:
            asyncio.run(_MEASURES[name](rest, Path(folder)))
        except NoEngine as error:
            print(f"./dev bench: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
