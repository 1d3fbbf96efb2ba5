"""`sidecar conversations show`: one conversation, as Markdown or as JSON Lines."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from sidecar.commands.export import export
from sidecar.commands.named_conversation import NAME, add_whose
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.settings import Settings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which one, and how to print it."""
    parser.add_argument("name", metavar="NAME", help=NAME)
    add_whose(parser)
    parser.add_argument(
        "--format", choices=("jsonl", "markdown"), default="markdown", help="default: markdown"
    )


async def run(settings: Settings, args: Namespace) -> int:
    """Print it."""
    selector = TenantSelector.from_args(args)
    return await export(settings, selector, name=args.name, format=args.format, out=sys.stdout)
