"""`sidecar keys list`: all keys of clients, the oldest first, without any secret."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace
from datetime import date, timedelta

import msgspec

from sidecar.access.client_keys import ClientKey, state_of
from sidecar.commands.client_keys import all_keys, day_of
from sidecar.printable import in_json, printable
from sidecar.settings import Settings
from sidecar.store.client_keys import KeyRow
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]

_COLUMNS = "{:<20}  {:<10}  {:<12}  {:<10}  {:<10}  {:<10}  {:>8}  {:>6}  {}\n"
_HEADS = ("name", "id", "state", "made", "expires", "last used", "parallel", "rpm", "models")


def add_arguments(parser: ArgumentParser) -> None:
    """How to print them."""
    parser.add_argument("--format", choices=("text", "jsonl"), default="text", help="default: text")


async def run(settings: Settings, args: Namespace) -> int:
    """Print one line for each."""
    out, now = sys.stdout, time.time()
    async with open_existing(settings) as store:
        if args.format == "text":
            out.write(_COLUMNS.format(*_HEADS))
        for row, key in await all_keys(store):
            state = state_of(key, now, store.secret)
            out.write(_as_json(row, key, state) if args.format == "jsonl" else _as_text(row, key, state))
    return 0


def _as_text(row: KeyRow, key: ClientKey, state: str) -> str:
    return _COLUMNS.format(
        printable(key.name),
        key.id,
        state,
        day_of(key.created_at),
        day_of(key.expires_at) if key.expires_at is not None else "never",
        _day(row.used) or "never",
        key.parallel or "-",
        key.rpm or "-",
        printable(", ".join(key.models) or "all"),
    )


def _as_json(row: KeyRow, key: ClientKey, state: str) -> str:
    line = {
        "name": key.name,
        "id": key.id,
        "state": state,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "revoked_at": key.revoked_at,
        "last_used": _day(row.used),
        "models": key.models,
        "parallel": key.parallel,
        "rpm": key.rpm,
        "old_secret_until": max((each.until for each in key.secrets if each.until is not None), default=None),
    }
    return in_json(msgspec.json.encode(line).decode()) + "\n"


def _day(number: int | None) -> str | None:
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat() if number is not None else None
