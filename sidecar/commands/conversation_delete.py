"""`sidecar conversations delete`: conversations, each named by its id or by the client's key for it."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from sidecar.commands import delete
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "only", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which ones."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="its id, or the client's id for it")
    delete.add_confirmation(parser)


async def run(settings: Settings, args: Namespace) -> int:
    """Delete them, once that has been confirmed."""
    async with open_existing(settings) as store:
        found = [await only(store, name) for name in args.names]
        delete.confirm(f"delete {delete.number(len(found))} permanently?", args.yes)
        await delete.delete(store, found, compact=args.compact)
    return 0


async def only(store: Store, name: str) -> str:
    """The id of the one conversation that is meant. Raises `SidecarError` if there is none, or several."""
    found = [each.id async for each in store.conversation_stats(name=name, sized=False)]
    if not found:
        raise SidecarError(f"there is no conversation {name!r}")
    if len(found) > 1:
        raise SidecarError(
            f"{name!r} is the key of several conversations; name one by its id: {', '.join(found)}"
        )
    return found[0]
