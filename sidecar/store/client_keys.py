"""A client's key as a row: what every store can read of it, and the rest, which only `access` reads."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["KeyRow"]


class KeyRow(NamedTuple):
    """`version` counts its changes; `data` is all that `access.client_keys` writes of it. `used`: the day on
    which it was used last, as days since 1970."""

    id: str
    version: int
    data: bytes
    used: int | None = None
