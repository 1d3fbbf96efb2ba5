"""`./dev audit`: looks every pinned release up in a database of advisories.

pip-audit says "No known vulnerabilities found", and ends with 0, also of what it could not look up. So what
counts here is its report: each pin has to be in it, and not as skipped.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.locks import ROOT, pins, version_of

__all__ = ["faults", "main"]


def main(arguments: list[str]) -> None:
    found = []
    for lock in sorted(ROOT.glob("requirements*.txt")):
        # Without markers: what is meant for another machine is looked up as well.
        wanted = {pin.name: version_of(pin) for pin in pins(lock.read_text()).values()}
        unsound = faults(_report(wanted, arguments), wanted)
        print(f"{lock.name}: {len(wanted)} pins, {len(unsound)} of them affected or not audited", flush=True)
        found += [f"{lock.name}: {fault}" for fault in unsound]
    if found:
        print(*found, "./dev audit: FAILED", sep="\n", file=sys.stderr)
        sys.exit(1)
    print("./dev audit: every pin was looked up, and none has a known advisory")


def faults(report: Mapping[str, Any], wanted: Mapping[str, str]) -> list[str]:
    """A sentence for each pin that is affected by an advisory, or that the report says nothing about.

    `report` is what pip-audit writes with `--format json`.
    """
    told = {(each["name"], each.get("version")): each for each in report["dependencies"]}
    skipped = {each["name"]: each["skip_reason"] for each in report["dependencies"] if "skip_reason" in each}
    found = []
    for name, version in wanted.items():
        audited = told.get((name, version))
        if audited is None:
            found.append(f"{name} {version} was not audited: {skipped.get(name, 'it is not in the report')}")
        elif audited["vulns"]:
            advisories = ", ".join(
                f"{each['id']} (fixed in {' or '.join(each['fix_versions']) or 'no release'})"
                for each in audited["vulns"]
            )
            found.append(f"{name} {version} is affected: {advisories}")
    return found


def _report(wanted: Mapping[str, str], arguments: list[str]) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        listed = Path(folder) / "pins.txt"
        listed.write_text("".join(f"{name}=={version}\n" for name, version in wanted.items()))
        plain = ("--disable-pip", "--no-deps", "--progress-spinner", "off")
        command = (sys.executable, "-m", "pip_audit", *plain, "--format", "json", "--requirement", listed)
        run = subprocess.run((*command, *arguments), capture_output=True, text=True)
    try:
        report: dict[str, Any] = json.loads(run.stdout)
    except ValueError:
        last = (run.stderr.strip().splitlines() or ["nothing"])[-1]
        sys.exit(f"./dev audit: FAILED: nothing was audited; is the database of advisories reachable? {last}")
    return report


if __name__ == "__main__":
    main(sys.argv[1:])
