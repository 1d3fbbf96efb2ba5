"""`sidecar conversations show`: one conversation, as Markdown or as JSON Lines."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from sidecar.export import write
from sidecar.settings import Settings

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Which one, and how to print it."""
    parser.add_argument("name", metavar="NAME", help="its id, or the client's id for it")
    parser.add_argument(
        "--format", choices=("jsonl", "markdown"), default="markdown", help="default: markdown"
    )


async def run(settings: Settings, args: Namespace) -> int:
    """Print it."""
    return await write(settings, conversation=args.name, format=args.format, out=sys.stdout)
