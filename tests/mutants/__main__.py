"""`python -m tests.mutants [N] [--seed S]`: exit code 1 where fewer were killed than `--least` says."""

from __future__ import annotations

import argparse
import os
import random
import re
import sys
import tempfile
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue

from tests.mutants.changes import Mutant, mutants_of
from tests.mutants.covering import ROOT, Copy
from tests.mutants.packages import PURE
from tests.mutants.trial import Verdict, tried

_SEED = 21
_TOLD, _UNSEEN = "survived: ", "  (no test runs this line)"


def drawn(
    number: int, seed: int, only: str = "", packages: Iterable[str] = PURE, again: Path | None = None
) -> list[Mutant]:
    """So many of all changes of these packages; with one seed and one source always the same."""
    files = [file for package in packages for file in sorted((ROOT / "sidecar" / package).rglob("*.py"))]
    found = [each for file in files for each in mutants_of(str(file.relative_to(ROOT)), file.read_bytes())]
    found = [each for each in found if not only or only in str(each)]
    if again is not None:
        survived = {_without_line(line) for line in again.read_text().splitlines() if line.startswith(_TOLD)}
        found = [each for each in found if _without_line(f"{_TOLD}{each}") in survived]
    return random.Random(seed).sample(found, min(number, len(found)))


def _without_line(told: str) -> str:
    """A line of the report without the line of the source, which moves with what stands above it."""
    return re.sub(r":\d+  ", "  ", told.removesuffix(_UNSEEN))


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="./dev mutants",
        description="Put small faults into the pure packages, and see whether a test fails.",
    )
    parser.add_argument("number", nargs="?", type=int, default=300, help="how many are drawn, %(default)s")
    parser.add_argument("--seed", type=int, default=_SEED, help="the same seed draws the same, %(default)s")
    parser.add_argument("--least", type=float, default=0.9, help="the share to be killed, %(default)s")
    parser.add_argument("--only", default="", help="of those alone whose line in the report holds this text")
    parser.add_argument(
        "--again", type=Path, help="of those alone that read like a survivor of the report in this file"
    )
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    options = parser.parse_args(arguments)
    mutants = drawn(options.number, options.seed, options.only, again=options.again)
    with tempfile.TemporaryDirectory(prefix="sidecar-mutants-") as folder:
        verdicts = _all_tried(mutants, options.jobs, Path(folder).resolve())
    return _told(verdicts, options.least, options.seed)


def _all_tried(mutants: list[Mutant], jobs: int, folder: Path) -> list[Verdict]:
    copies: SimpleQueue[Copy] = SimpleQueue()
    for at in range(jobs):
        copies.put(Copy.of_project(folder / str(at)))
    began = time.monotonic()
    first = copies.get()
    covering = first.map(jobs)
    copies.put(first)
    print(f"{len(covering.seconds)} tests mapped in {time.monotonic() - began:.0f} s", flush=True)

    def one(mutant: Mutant) -> Verdict:
        copy = copies.get()
        try:
            verdict = tried(mutant, copy, covering)
        finally:
            copies.put(copy)
        if not verdict.killed:
            print(f"survived {verdict.tests} tests, {verdict.seconds:.0f} s: {mutant}", flush=True)
        return verdict

    with ThreadPoolExecutor(jobs) as pool:
        return list(pool.map(one, mutants))


def _told(verdicts: list[Verdict], least: float, seed: int) -> int:
    survivors = [each for each in verdicts if not each.killed]
    killed = len(verdicts) - len(survivors)
    seconds = [each.seconds for each in verdicts]
    share = killed / max(1, len(verdicts))
    print(f"\n--seed {seed}: {killed} of {len(verdicts)} killed, {share:.1%}", end="")
    print(f"; {sum(seconds) / max(1, len(seconds)):.1f} s a mutant, {max(seconds, default=0):.0f} s at most")
    for package in PURE:
        of_it = [each for each in verdicts if each.mutant.file.startswith(f"sidecar/{package}/")]
        print(f"  {package}: {sum(1 for each in of_it if each.killed)} of {len(of_it)}")
    for each in sorted(survivors, key=lambda one: (one.mutant.file, one.mutant.start)):
        print(f"{_TOLD}{each.mutant}" + ("" if each.tests else _UNSEEN))
    return 1 if share < least else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
