"""`sidecar backup`: a consistent copy of the store, made while it is in use."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from sidecar.commands.progress import Progress
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Where to."""
    parser.add_argument("file", metavar="FILE", help="the copy; must not exist yet")


async def run(settings: Settings, args: Namespace) -> int:
    """Copy the store to a new file."""
    async with open_existing(settings) as store:
        with Progress("copied") as progress:
            await store.backup(args.file, progress.share)
    sys.stderr.write(f"sidecar: the store was copied to {args.file}\n")
    return 0
