"""`sidecar keys add`: a new key for a client, which is shown once."""

from __future__ import annotations

import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from sidecar.access.client_keys import changed_row, made
from sidecar.access.slots import MOST_AT_ONCE, MOST_IN_A_MINUTE
from sidecar.commands.client_keys import all_keys, duration, hand_over, limit, models_of
from sidecar.errors import SidecarError
from sidecar.printable import printable
from sidecar.settings import Settings
from sidecar.store_factory import store_in_words, store_of

__all__ = ["add_arguments", "run"]

_LONGEST_NAME = 100  # characters


def add_arguments(parser: ArgumentParser) -> None:
    """Whose it is, and what it may."""
    parser.add_argument("name", metavar="NAME", type=_name, help="whose it is, for lists")
    parser.add_argument(
        "--models",
        metavar="PATTERN",
        action="append",
        default=[],
        help="only models that fit, such as 'qwen*'; several with commas, or say it again (default: all)",
    )
    most = (MOST_AT_ONCE, MOST_IN_A_MINUTE)
    parser.add_argument(
        "--parallel", metavar="N", type=limit(most[0]), help="at most so many requests at once"
    )
    parser.add_argument(
        "--rpm", metavar="N", type=limit(most[1]), help="at most so many requests in a minute"
    )
    parser.add_argument("--expires", metavar="TIME", type=duration, help="valid for so long, such as 90d")


async def run(settings: Settings, args: Namespace) -> int:
    """Make it. There may be no store yet: keys come before the first client."""
    if settings.store_path is None:
        raise SidecarError("the store is `memory:`, which keeps nothing once its process ends; set --store")
    models = models_of(args.models)
    where, store = store_in_words(settings), store_of(settings)
    await store.open()
    try:
        if any(key.name == args.name and key.revoked_at is None for _, key in await all_keys(store)):
            raise SidecarError(
                f"there is a key {printable(args.name)} already: `sidecar keys set` changes its limits,"
                " `sidecar keys rotate` gives another secret"
            )
        now = time.time()
        expires = now + args.expires if args.expires is not None else None
        limits = {"parallel": args.parallel, "rpm": args.rpm, "expires_at": expires}
        key, text = made(store.secret, args.name, now, models=models, **limits)
        if not await store.put_client_key(changed_row(key)):
            raise SidecarError("a key of the same id was made just now; try again")
    finally:
        await store.close()
    hand_over(text, f"the key {printable(args.name)} ({key.id}) in {where}, shown this once")
    return 0


def _name(text: str) -> str:
    if not text.strip() or len(text) > _LONGEST_NAME or not text.isprintable():
        raise ArgumentTypeError(f"a name has 1 to {_LONGEST_NAME} printable characters")
    return text
