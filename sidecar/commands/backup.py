"""`sidecar backup`: a consistent copy of the store, made while it is in use.

Rule: a copy needs no schema. A store of an older one, which no other command opens, is copied as it is.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from contextlib import AsyncExitStack

from sidecar.commands.progress import Progress
from sidecar.settings import Settings
from sidecar.store.migrations import OlderSchema
from sidecar.store_factory import open_existing, store_of

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Where to."""
    parser.add_argument("file", metavar="FILE", help="the copy; must not exist yet")


async def run(settings: Settings, args: Namespace) -> int:
    """Copy the store to a new file."""
    kept = ""
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(open_existing(settings))
        except OlderSchema as older:
            store, kept = store_of(settings), f", with the schema that it has, {older.schema}"
        with Progress("copied") as progress:
            await store.backup(args.file, progress.share)
    sys.stderr.write(f"sidecar: the store was copied to {args.file}{kept}\n")
    return 0
