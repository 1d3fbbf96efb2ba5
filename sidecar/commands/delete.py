"""`sidecar delete`: all conversations of a tenant, or everything.

Rule: nothing is deleted before somebody has confirmed the number of conversations; and once the command
says that they are deleted, they are in no file of the store any more.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from collections.abc import AsyncIterator, Sequence

from sidecar.commands import tenant_selector
from sidecar.commands.progress import Progress
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.errors import SidecarError
from sidecar.retention import deleted
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.store_factory import open_existing

__all__ = ["Unconfirmed", "add_arguments", "add_confirmation", "confirm", "delete", "number", "run"]


class Unconfirmed(SidecarError):
    """The command line does not say clearly enough what to delete, or nobody confirmed it."""


def add_arguments(parser: ArgumentParser) -> None:
    """Whose conversations."""
    tenant_selector.add_arguments(parser)
    tenant_selector.add_key(parser)
    add_confirmation(parser)
    parser.add_argument("--all", action="store_true", help="everything, of every tenant")


def add_confirmation(parser: ArgumentParser) -> None:
    """The flags of everything that deletes."""
    parser.add_argument("--yes", action="store_true", help="do not ask for confirmation")
    parser.add_argument(
        "--no-compact",
        dest="compact",
        action="store_false",
        help="do not shrink the file, so that other processes need not wait; deleted data is overwritten"
        " all the same",
    )


async def run(settings: Settings, args: Namespace) -> int:
    """Delete all conversations of a tenant; with `--all` those of every tenant, and what was learned."""
    named = TenantSelector.from_args(args)
    if named.is_empty and not args.all:
        raise Unconfirmed("name a tenant with --user, --credential, --key or --tenant, or give --all")
    if args.all and not named.is_empty:
        raise Unconfirmed("--all means everything of everybody: leave it out, or what names a tenant")
    selector = None if args.all else named
    async with open_existing(settings) as store:
        tenant = await selector.tenant_in(settings, store) if selector else None
        found = [each.id async for each in store.conversation_stats(tenant=tenant, sized=False)]
        if selector is not None and not found:
            raise SidecarError(
                "there is no conversation of this tenant; `sidecar conversations list` shows all"
            )
        confirm(f"delete {number(len(found))}{'' if selector else ' (all of them)'} permanently?", args.yes)
        if selector is None:
            await store.delete_learned()
        await delete(store, found, compact=args.compact)
    return 0


async def delete(store: Store, found: Sequence[str], *, compact: bool) -> None:
    """Delete these conversations and overwrite what is left of them in the store's files."""

    async def all_of_them() -> AsyncIterator[tuple[str, float | None]]:
        for id in found:
            yield id, None

    with Progress("deleted", len(found)) as progress:
        count = await deleted(store, all_of_them(), progress.step)
    sys.stderr.write("sidecar: shrinking the file ...\n" if compact and count > 1000 else "")
    await store.purge(compact=compact)
    sys.stderr.write(f"sidecar: deleted {number(count)}\n")


def confirm(question: str, yes: bool) -> None:
    """Ask on a terminal, unless `yes`. Raises `Unconfirmed` if the answer is no or nobody can be asked."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Unconfirmed(f"{question[0].upper()}{question[1:]} Confirm it with --yes")
    sys.stderr.write(f"sidecar: {question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Unconfirmed("nothing was deleted")


def number(count: int) -> str:
    """`1 conversation`, `2 conversations`."""
    return f"{count} conversation{'' if count == 1 else 's'}"
