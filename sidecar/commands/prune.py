"""`sidecar prune`: delete now what the `[retention]` settings no longer keep."""

from __future__ import annotations

import sys
import time
from argparse import ArgumentParser, Namespace

from sidecar.commands.progress import Progress
from sidecar.errors import SidecarError
from sidecar.retention import expired, prune
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """Whether to delete, and whether to shrink the file."""
    parser.add_argument("--dry-run", action="store_true", help="only say how many that would be")
    parser.add_argument("--compact", action="store_true", help="then shrink the file as far as possible")


async def run(settings: Settings, args: Namespace) -> int:
    """Delete, or with `--dry-run` only say how many conversations that would be."""
    rules = settings.retention
    if rules.max_days is None and rules.max_conversations is None and rules.max_bytes is None:
        raise SidecarError(
            "no rule says what to delete: set retention.max_days, retention.max_conversations or"
            " retention.max_bytes"
        )
    async with open_existing(settings) as store:
        with Progress("checked conversations") as progress:
            now = time.time()
            if args.dry_run:
                seen = [id async for id, _ in expired(store, rules, now, lambda _: progress.step())]
                count = len(seen)
            else:
                count = await prune(store, rules, now, lambda _: progress.step())
        if args.compact and not args.dry_run:
            await store.purge(compact=True)
    sys.stderr.write(f"sidecar: {'would delete' if args.dry_run else 'deleted'} {count} conversations\n")
    return 0
