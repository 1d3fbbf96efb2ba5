"""`sidecar conversations delete`: conversations, each named by its id or by the client's key for it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sidecar.commands import delete
from sidecar.commands.named_conversation import NAME, add_whose, only
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which ones."""
    parser.add_argument("names", nargs="+", metavar="NAME", help=NAME)
    add_whose(parser)
    delete.add_confirmation(parser)


async def run(settings: Settings, args: Namespace) -> int:
    """Delete them, once that has been confirmed."""
    async with open_existing(settings) as store:
        tenant = await TenantSelector.from_args(args).tenant_or_none(settings, store)
        found = [await only(settings, store, name, tenant) for name in args.names]
        delete.confirm(f"delete {delete.number(len(found))} permanently?", args.yes)
        await delete.delete(store, found, compact=args.compact)
    return 0
