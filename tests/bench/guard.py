"""How many bytecodes the sidecar executes for a request of three works, against what is on record.

`./dev test` fails where a count is 5 % away from it, in either direction; then see why, or write it anew. It
is the same whatever else the machine does. What a single call into C does counts as one, however much it is:
that is what `./dev bench speed` is for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from tests.guard import count

__all__ = ["main"]


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench guard", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the counts on record")
    given = parser.parse_args(arguments)
    counted = await count.counts(folder)
    version, recorded = count.on_record()
    if version != count.VERSION:
        print(
            f"This is Python {count.VERSION}, on record is {version}: they differ by more than the sidecar."
        )
    for name, number in counted.items():
        before = recorded.get(name)
        against = f", on record {before:,} ({number / before - 1:+.1%})" if before else ", not on record"
        print(f"{name}: {number:,} bytecodes{against}")
    if given.write:
        count.write(counted)
