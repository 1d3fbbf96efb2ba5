"""`sidecar keys revoke`: a key admits nobody any more. Its conversations stay."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from sidecar.access.client_keys import revoked
from sidecar.commands.client_keys import change
from sidecar.printable import printable
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which."""
    parser.add_argument("name", metavar="NAME", help="the key's name, or its id")


async def run(settings: Settings, args: Namespace) -> int:
    """Do it."""
    async with open_existing(settings) as store:
        key = await change(store, args.name, revoked)
    sys.stderr.write(
        f"sidecar: the key {printable(key.name)} ({key.id}) is revoked: within 5 seconds it is refused\n"
    )
    return 0
