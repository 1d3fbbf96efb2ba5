"""What the requirements*.txt pin, and what a pip would still look for by itself."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

__all__ = ["ROOT", "Pin", "pins", "unpinned_extras", "version_of"]

ROOT = Path(__file__).parent.parent
#: Requirements may be meant for some versions of Python only; the pins are for all of these.
_PYTHONS = ("3.11", "3.12", "3.13", "3.14")


@dataclass(frozen=True)
class Pin:
    """A line of a lock. `options` is what stands behind the requirement: hashes, and nothing else."""

    requirement: Requirement
    options: tuple[str, ...]

    @property
    def name(self) -> str:
        return canonicalize_name(self.requirement.name)

    @property
    def extras(self) -> set[str]:
        return {canonicalize_name(extra) for extra in self.requirement.extras}


def pins(text: str) -> dict[str, Pin]:
    """The pins of a lock, by the normal form of their names."""
    lines = (line.strip() for line in text.replace("\\\n", " ").splitlines())
    found = (re.split(r"\s+(?=--)", line) for line in lines if line and not line.startswith("#"))
    read = (Pin(Requirement(requirement), tuple(options)) for requirement, *options in found)
    return {pin.name: pin for pin in read}


def version_of(pin: Pin) -> str:
    (specifier,) = pin.requirement.specifier
    return specifier.version


def unpinned_extras(locked: Mapping[str, Pin]) -> tuple[list[str], set[str]]:
    """A sentence for each extra that a locked package asks for and no pin has; and what is not installed.

    For an older pip (Debian 12's 23.0.1 is one) the pin of `name` is none of `name[extra]`: it looks for that
    among all releases, finds one newer than the pinned, and stops, since that has no hash.
    """
    faults, unknown = [], set()
    for pin in locked.values():
        try:
            requires = metadata.requires(pin.name) or []
        except metadata.PackageNotFoundError:
            unknown.add(pin.name)
            continue
        for asked in _asked(map(Requirement, requires), pin.extras):
            wanted = {canonicalize_name(extra) for extra in asked.extras}
            held = locked.get(canonicalize_name(asked.name))
            if wanted - (held.extras if held else set()):
                faults.append(
                    f"{pin.name} asks for {asked.name}[{','.join(sorted(wanted))}]: pin it with these"
                )
    return faults, unknown


def _asked(requirements: Iterable[Requirement], extras: set[str]) -> Iterator[Requirement]:
    """Those that count on some Python, with these extras or none."""
    where = [
        {"python_version": python, "python_full_version": f"{python}.0", "extra": extra}
        for python in _PYTHONS
        for extra in ("", *extras)
    ]
    for requirement in requirements:
        marker = requirement.marker
        if marker is None or any(marker.evaluate(each) for each in where):
            yield requirement
