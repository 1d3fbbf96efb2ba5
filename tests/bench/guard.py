"""How many bytecodes the sidecar executes for a request of three works, against what is on record.

`./dev test` fails where a count is 5 % away from it, in either direction; then see why, or write it anew. It
is the same whatever else the machine does. What a single call into C does counts as one, however much it is:
that is what `./dev bench speed` is for. With `--backends` it tells what targets, a session header and keys
add to each work.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from sidecar.settings import Settings
from tests.guard import count
from tests.proxy.client_keys import new_key

__all__ = ["main"]


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench guard", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the counts on record")
    parser.add_argument(
        "--backends", action="store_true", help="with targets, a session header, keys, and all"
    )
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
    if given.backends:
        await _with_backends(folder, counted)


async def _with_backends(folder: Path, counted: dict[str, int]) -> None:
    header = {"SIDECAR_SESSION__HEADERS": "X-Session-Affinity"}
    keys = {"SIDECAR_KEYS__ENFORCEMENT": "required"}
    for name, wanted in (("targets", 1), ("a session header", 2), ("keys", 4), ("all three", 7)):
        place = folder / f"with {wanted}"
        place.mkdir()
        key = ""
        if wanted & 4:
            key = await new_key(Settings.model_validate({"store": f"sqlite:///{place}/counted.db"}))

        def settings(url: str, wanted: int = wanted) -> dict[str, str]:
            targets = [{"name": "two", "url": [f"{url}/v1", f"{url}/other/v1"], "models": ["m*"]}]
            return {
                **({"SIDECAR_TARGETS": json.dumps(targets)} if wanted & 1 else {}),
                **(header if wanted & 2 else {}),
                **(keys if wanted & 4 else {}),
            }

        found = await count.counts_with(place, settings, key)
        print(f"with {name}:")
        for work, number in found.items():
            print(f"  {work}: {number:,} bytecodes ({number / counted[work] - 1:+.1%})", flush=True)
