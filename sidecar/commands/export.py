"""`sidecar export`: all conversations, those of one tenant, or one."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from typing import TextIO

from sidecar.commands.named_conversation import NAME, add_whose, only
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.errors import SidecarError
from sidecar.export import write
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "export", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which ones, and how to print them."""
    parser.add_argument("--conversation", metavar="NAME", help=f"only this one: {NAME} (default: all)")
    add_whose(parser)
    parser.add_argument("--format", choices=("jsonl", "markdown"), default="jsonl", help="default: jsonl")


async def run(settings: Settings, args: Namespace) -> int:
    """Print them."""
    selector = TenantSelector.from_args(args)
    return await export(settings, selector, name=args.conversation, format=args.format, out=sys.stdout)


async def export(
    settings: Settings, whose: TenantSelector, *, name: str | None, format: str, out: TextIO
) -> int:
    """Write what is meant to `out`; returns the exit code, 1 if one was left out, since it is damaged."""
    async with open_existing(settings) as store:
        tenant = await whose.tenant_or_none(settings, store)
        if name is not None:
            ids = [await only(settings, store, name, tenant)]
        else:
            ids = [each.id async for each in store.conversation_stats(tenant=tenant, sized=False)]
        if tenant is not None and not ids:
            raise SidecarError(
                "there is no conversation of this tenant; `sidecar conversations list` shows all"
            )
        return 0 if await write(store, ids, format=format, out=out) else 1
