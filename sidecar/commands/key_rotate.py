"""`sidecar keys rotate`: another secret for a key, which keeps its conversations; shown once."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace

from msgspec.structs import replace

from sidecar.access.client_keys import ClientKey, rotated
from sidecar.commands.client_keys import change, duration, hand_over
from sidecar.errors import SidecarError
from sidecar.printable import printable
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which, and for how long the old one stays valid."""
    parser.add_argument("name", metavar="NAME", help="the key's name, or its id")
    parser.add_argument(
        "--grace",
        metavar="TIME",
        type=duration,
        default=0.0,
        help="the old secret is valid for so long beside it, such as 1h (default: not at all)",
    )
    parser.add_argument(
        "--expires", metavar="TIME", type=duration, help="valid for so long from now on (default: as before)"
    )


async def run(settings: Settings, args: Namespace) -> int:
    """Do it."""
    text = ""
    async with open_existing(settings) as store:

        def work(key: ClientKey, now: float) -> ClientKey:
            nonlocal text
            if args.expires is not None:
                key = replace(key, expires_at=now + args.expires)
            elif key.expires_at is not None and key.expires_at <= now:
                raise SidecarError(f"the key {printable(key.name)} has expired: say --expires TIME as well")
            new, text = rotated(store.secret, key, now, args.grace)
            return new

        key = await change(store, args.name, work)
    still = f"; the old one is valid for {args.grace:g} s" if args.grace else ", in place of the old one"
    hand_over(text, f"the key {printable(key.name)} ({key.id}) has another secret, shown this once{still}")
    return 0
