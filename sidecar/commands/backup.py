"""`sidecar backup`: a copy of the store, as it is at one moment, while it is used."""

from __future__ import annotations

import sys

from sidecar.commands.progress import Progress
from sidecar.settings import Settings
from sidecar.store_factory import opened

__all__ = ["run"]


async def run(settings: Settings, *, file: str) -> int:
    """Copy it to `file`, which must not be there."""
    async with opened(settings) as store:
        with Progress("copied") as progress:
            await store.backup(file, progress.share)
    sys.stderr.write(f"sidecar: the store is copied to {file}\n")
    return 0
