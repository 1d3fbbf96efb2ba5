"""One change against the tests that run its line: did one of them see it?"""

from __future__ import annotations

import ast
import json
import subprocess
import time
from dataclasses import dataclass

from tests.mutants.changes import Mutant
from tests.mutants.covering import Copy, Map

#: Seconds for one mutant, where the time of its tests says nothing: what waits, waits for ever.
_LIMIT = 300.0


@dataclass(frozen=True)
class Verdict:
    """`killed`: by which test, or how else; nothing where it survived. `tests`: how many run its line."""

    mutant: Mutant
    killed: str
    tests: int
    seconds: float


def tried(mutant: Mutant, copy: Copy, covering: Map) -> Verdict:
    """Put the change into the copy, run its tests, and take it out again."""
    began = time.monotonic()
    tests = covering.tests_of(mutant)
    file = copy.folder / mutant.file
    text = file.read_bytes()
    changed = mutant.applied(text)
    ast.parse(changed)  # a change that is no Python would count as seen
    chosen = copy.folder / "mutants-tests.json"
    chosen.write_text(json.dumps({test: covering.seconds.get(test, 0) for test in tests}))
    files = sorted({test.partition("::")[0] for test in tests})
    try:
        file.write_bytes(changed)
        # Of two texts of one second and one size the compiled one could be taken for the other.
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            compiled.unlink()
        killed = _killed(copy, files, str(chosen)) if tests else ""
    finally:
        file.write_bytes(text)
        for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
            compiled.unlink()
    return Verdict(mutant, killed, len(tests), time.monotonic() - began)


def _killed(copy: Copy, files: list[str], chosen: str) -> str:
    settings = {"MUTANTS_TESTS": chosen, "PYTHONDONTWRITEBYTECODE": "1"}
    try:
        done = copy.pytest(["-x", "--tb=no", "-rfE", *files], settings, _LIMIT)
    except subprocess.TimeoutExpired:
        return "takes for ever"
    if done.returncode == 0:
        return ""
    failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED ", "ERROR "))]
    return failed[0].split(" ")[1] if failed else f"pytest ended with {done.returncode}"
