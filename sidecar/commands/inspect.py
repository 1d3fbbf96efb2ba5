"""`sidecar inspect`: one conversation, or one exchange of it, as the pages of the inspector show it."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace

from sidecar.commands.named_conversation import NAME, add_whose, only
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.inspector import reading
from sidecar.inspector.render import as_json
from sidecar.inspector.text import conversation_text, exchange_text
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which one, and what of it."""
    parser.add_argument("name", metavar="NAME", help=NAME)
    add_whose(parser)
    parser.add_argument(
        "--at", metavar="ID", type=_id, help="the branch with this message (default: the newest)"
    )
    parser.add_argument("--from", dest="start", metavar="N", type=_number, help="from this message of it on")
    parser.add_argument(
        "--exchange", metavar="ID", type=_id, help="what went where in this exchange, and why"
    )
    parser.add_argument("--format", choices=("text", "json"), default="text", help="default: text")


async def run(settings: Settings, args: Namespace) -> int:
    """Print it."""
    async with open_existing(settings) as store:
        tenant = await TenantSelector.from_args(args).tenant_or_none(settings, store)
        id = await only(settings, store, args.name, tenant)
        if args.exchange is not None:
            exchange = await reading.exchange_page(store, id, args.exchange, settings)
            told = as_json(exchange).decode() if args.format == "json" else exchange_text(exchange)
        else:
            start = args.start - 1 if args.start is not None else None
            page = await reading.conversation_page(store, id, args.at, start)
            told = as_json(page).decode() if args.format == "json" else conversation_text(page)
    sys.stdout.write(told)
    return 0


def _id(text: str) -> bytes:
    try:
        return bytes.fromhex(text.removeprefix("b2:"))
    except ValueError as error:
        raise ArgumentTypeError(
            f"{text!r} is no such id: `sidecar inspect NAME` lists those of a conversation, and with"
            " `logs.requests` the line of each exchange in the log has its own as `exchange`"
        ) from error


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise ArgumentTypeError(f"{text!r} is not the number of a message, 1 or more")
    return int(text[:9])
