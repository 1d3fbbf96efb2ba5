"""What it costs to count a request: all metrics of one that was answered, in one worker and in several.

Microseconds of CPU time each, as the median of many rounds. Where there are several workers, the numbers
stand in files that all of them share.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path
from statistics import median

from sidecar.conversation.exchange_record import Detail
from sidecar.exchange.outcome import Progress
from sidecar.metrics import Metrics
from sidecar.proxy.observers import tell
from tests.store.trees import exchange

__all__ = ["main"]

_MANY, _ROUNDS = 2000, 21


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench told", description=__doc__)
    parser.add_argument("--shared", action="store_true", help=argparse.SUPPRESS)
    if parser.parse_args(arguments).shared:
        print(f"one of several workers: {_spent(Metrics(shared=True)):.1f} us")
        return
    print(f"one worker: {_spent(Metrics()):.1f} us a request")
    # How the counters are kept is decided when their library is loaded.
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.bench", "told", "--shared"),
        env={**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(folder)},
    )
    if await running.wait():
        sys.exit(1)


def _spent(metrics: Metrics) -> float:
    now = time.monotonic()
    progress = Progress(0, now - 2.0, b"same", received=now - 1.9, sent=now - 1.8, head=now - 1.0)
    progress.first, progress.streamed, progress.recorded = now - 0.9, True, ("complete",)
    detail = Detail(first_token_ms=1100, cached_tokens=900, answered_by="qwen3")
    done = exchange(
        "conv_1", None, model="qwen3", input_tokens=1200, output_tokens=60, status=200, detail=detail
    )
    rounds = []
    for _ in range(_ROUNDS):
        begun = time.thread_time()
        for _ in range(_MANY):
            tell(metrics, progress, done, now)
        rounds.append(1_000_000 * (time.thread_time() - begun) / _MANY)
    return median(rounds)
