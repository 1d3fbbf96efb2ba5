"""The name of a process among all that share a store, by which others may know that it is gone.

Rule: only what is certain is said. Of a process on another machine, or in another container, nobody here
knows whether it lives; it is given up when nothing is heard of it.
"""

from __future__ import annotations

import os
from pathlib import Path

from sidecar.random_ids import token

__all__ = ["is_gone", "name_of_process"]

_PROC = Path("/proc")
_START = 19  # of the fields behind the name of a process: when it began


def name_of_process() -> str:
    """The name of this one; another each time."""
    begun = _begun(os.getpid())
    return f"{_place()} {os.getpid()} {begun} {token(4).hex()}" if begun else token(12).hex()


def is_gone(name: str) -> bool:
    """Has the process of this name surely ended?"""
    place, *about = name.rsplit(" ", 3)
    if len(about) != 3 or not about[0].isdecimal() or place != _place():
        return False
    return _begun(int(about[0])) != about[1]


def _place() -> str:
    """Where numbers of processes mean the same: one boot of one machine, and within it one container."""
    try:
        boot = (_PROC / "sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink(_PROC / 'self/ns/pid')}"
    except OSError:  # not on this system
        return "elsewhere"


def _begun(number: int) -> str:
    """When the process of this number began, in the system's own count; nothing if there is none."""
    try:
        told = (_PROC / str(number) / "stat").read_text()
    except OSError:
        return ""
    fields = told.rpartition(")")[2].split()
    return fields[_START] if fields[0] != "Z" else ""
