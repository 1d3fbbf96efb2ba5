"""`sidecar prune`: delete what the `[retention]` settings keep no longer, now."""

from __future__ import annotations

import sys
import time

from sidecar.commands.progress import Progress
from sidecar.errors import SidecarError
from sidecar.retention import doomed, prune
from sidecar.settings import Settings
from sidecar.store_factory import opened

__all__ = ["run"]


async def run(settings: Settings, *, dry_run: bool, compact: bool) -> int:
    """Delete, or with `dry_run` only say how many conversations that would be."""
    rules = settings.retention
    if rules.max_days is None and rules.max_conversations is None and rules.max_bytes is None:
        raise SidecarError(
            "nothing says what is to go: set retention.max_days, retention.max_conversations or"
            " retention.max_bytes"
        )
    async with opened(settings) as store:
        with Progress("looked at conversations") as progress:
            now = time.time()
            if dry_run:
                seen = [id async for id, _ in doomed(store, rules, now, lambda _: progress.step())]
                count = len(seen)
            else:
                count = await prune(store, rules, now, lambda _: progress.step())
        if compact and not dry_run:
            await store.scrub(compact=True)
    sys.stderr.write(f"sidecar: {'would delete' if dry_run else 'deleted'} {count} conversations\n")
    return 0
