"""`python -m tests.fuzz [MINUTES] [--seed N]`: exit code 1 where anything was wrong; the seed repeats it."""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.fuzz import cancels, guided, refusals, relayed, replies, wire
from tests.fuzz.process import Findings
from tests.referee import __main__ as chats

_ROOT = Path(__file__).parents[2]
#: Shares of the time.
_SERVED = (("wire", wire.run, 0.2), ("cancels", cancels.run, 0.1), ("relayed", relayed.run, 0.1))
_STREAMS, _GUIDED, _REFUSALS, _CHATS, _PROPERTIES = 0.1, 0.1, 0.05, 0.15, 0.2


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="./dev fuzz", description="Look for faults with odd input.")
    parser.add_argument("minutes", nargs="?", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args(arguments)
    seconds = options.minutes * 60
    print(f"fuzzing for {options.minutes:g} minutes, --seed {options.seed}", flush=True)
    parts = {}
    for name, run, share in _SERVED:
        with tempfile.TemporaryDirectory(prefix="sidecar-fuzz-") as folder:
            parts[name] = asyncio.run(run(seconds * share, options.seed, Path(folder)))
    parts["streams"] = replies.run(seconds * _STREAMS, options.seed)
    parts["guided"] = guided.run(seconds * _GUIDED, options.seed)
    parts["refusals"] = refusals.run(seconds * _REFUSALS, options.seed)
    parts["chats"] = chats.run(seconds * _CHATS, options.seed)
    parts["properties"] = _properties(seconds * _PROPERTIES, options.seed)
    for name, found in parts.items():
        print(f"{name}: {found.tried} tried, {len(found.faults)} faults")
        for fault in found.faults:
            print(f"  {fault}")
    failed = sum(len(found.faults) for found in parts.values())
    print(f"{sum(found.tried for found in parts.values()) - failed} passed, {failed} failed")
    return 1 if failed else 0


def _properties(seconds: float, seed: int) -> Findings:
    """Run the suite's property tests again and again, each time with other examples; once at least."""
    found = Findings()
    end = time.monotonic() + seconds
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-m", "hypothesis"]
    while not found.tried or time.monotonic() < end:
        seed += 1
        run = [*command, "--hypothesis-profile=fuzz", f"--hypothesis-seed={seed}"]
        done = subprocess.run(run, cwd=_ROOT, capture_output=True, text=True, check=False)
        found.tried += 1
        if done.returncode:
            found.faults.append(f"--hypothesis-seed={seed}\n{done.stdout[-4000:]}")
            break
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
