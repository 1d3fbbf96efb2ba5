"""What the commands on clients' keys have in common: which key is meant, and how it is changed."""

from __future__ import annotations

import re
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from sidecar.access.client_keys import ClientKey, changed_row, client_key_of
from sidecar.errors import SidecarError
from sidecar.printable import printable
from sidecar.store import Store
from sidecar.store.client_keys import KeyRow

__all__ = [
    "all_keys",
    "change",
    "day_of",
    "duration",
    "find_any_key",
    "find_key",
    "hand_over",
    "limit",
    "limits_of",
    "models_of",
]

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 7 * 86_400}
_DURATION = re.compile(r"([0-9]{1,6})([smhdw])")
_ATTEMPTS = 5


def duration(text: str) -> float:
    """Seconds, of a text such as `90d`."""
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ArgumentTypeError(f"{text!r} is no time; write a number and s, m, h, d or w, such as 90d")
    return float(int(found[1]) * _UNITS[found[2]])


def limit(most: int) -> Callable[[str], int]:
    """What reads a number from 1 to this."""

    def number(text: str) -> int:
        if not (text.isascii() and text.isdigit() and len(text) < 10 and 1 <= int(text) <= most):
            raise ArgumentTypeError(f"{text!r} is not a number from 1 to {most}")
        return int(text)

    return number


def models_of(given: Sequence[str]) -> tuple[str, ...]:
    """The patterns of texts that may have several with commas; none where they are for all. Raises
    `SidecarError` for texts that hold none."""
    found = tuple(each.strip() for text in given for each in text.split(",") if each.strip())
    if not found and given:
        raise SidecarError("--models names no model; '*' stands for all")
    return () if "*" in found else found


def limits_of(key: ClientKey) -> str:
    """What it may, for people."""
    return (
        f"models {', '.join(key.models) or 'all'}, parallel {key.parallel or 'any'}, rpm {key.rpm or 'any'},"
        f" expires {day_of(key.expires_at) if key.expires_at is not None else 'never'}"
    )


def day_of(seconds: float) -> str:
    """The day of a time, in UTC."""
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):  # beyond what the calendar can show
        return "-"


async def all_keys(store: Store) -> list[tuple[KeyRow, ClientKey]]:
    """Every key, the oldest first. Raises `StoreUnavailable` if one is damaged."""
    rows = [await store.client_key(id) for id in await store.client_key_ids()]
    found = [(row, client_key_of(row)) for row in rows if row is not None]
    return sorted(found, key=lambda each: (each[1].created_at, each[1].id))


async def find_key(store: Store, name: str) -> tuple[KeyRow, ClientKey]:
    """The key of this name, or of this id, that is not revoked. Raises `SidecarError` unless there is one."""
    named = [each for each in await all_keys(store) if name in (each[1].name, each[1].id)]
    valid = [each for each in named if each[1].revoked_at is None]
    if len(valid) == 1:
        return valid[0]
    if valid:
        ids = ", ".join(key.id for _, key in valid)
        raise SidecarError(f"several keys are called {printable(name)}: give the id of one ({ids})")
    if named:
        raise SidecarError(f"the key {printable(name)} is revoked")
    raise SidecarError(f"there is no key {printable(name)}; `sidecar keys list` shows all")


async def find_any_key(store: Store, name: str) -> ClientKey:
    """The only key of this name, or that of this id, revoked ones too. Raises `SidecarError` for none."""
    named = [key for _, key in await all_keys(store) if name in (key.name, key.id)]
    if not named:
        raise SidecarError(f"there is no key {printable(name)}; `sidecar keys list` shows all")
    if len(named) > 1:
        ids = ", ".join(key.id for key in named)
        raise SidecarError(f"several keys are called {printable(name)}: give the id of one ({ids})")
    return named[0]


async def change(store: Store, name: str, work: Callable[[ClientKey, float], ClientKey]) -> ClientKey:
    """The key of this name as it is after this work on it, which may be done more than once."""
    for _ in range(_ATTEMPTS):
        row, key = await find_key(store, name)
        new = work(key, time.time())
        if await store.put_client_key(changed_row(new, row)):
            return new
    raise SidecarError(f"the key {printable(name)} is being changed by somebody else; try again")


def hand_over(text: str, said: str) -> None:
    """Print a key, alone on standard output, so that it can go where it belongs, and say what it is."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()
    sys.stderr.write(f"sidecar: {said}\n")
