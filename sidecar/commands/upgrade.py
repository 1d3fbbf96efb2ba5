"""`sidecar upgrade`: bring the store to this version's schema without serving."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from sidecar.settings import Settings
from sidecar.store.migrations import OlderSchema, newest_schema
from sidecar.store.url import is_postgres
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Whether to do it."""
    parser.add_argument("--dry-run", action="store_true", help="only say which schema the store has")


async def run(settings: Settings, args: Namespace) -> int:
    """Upgrade it, or with `--dry-run` only say from which schema to which that would be."""
    newest = newest_schema("postgres" if is_postgres(settings.store) else "sqlite")
    try:
        async with open_existing(settings):
            said = f"the store has schema {newest} already, which is this version's"
    except OlderSchema as older:
        said = f"the store has schema {older.schema}, and this version needs {older.newest}"
        if not args.dry_run:
            begun = time.monotonic()
            async with open_existing(settings, upgrades=True):
                seconds = time.monotonic() - begun
            said = f"the store was brought from schema {older.schema} to {older.newest} in {seconds:.1f} s"
    sys.stderr.write(f"sidecar: {said}\n")
    return 0
