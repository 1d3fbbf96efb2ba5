"""`sidecar rekey`: encrypt with the first key all that is not, whether it was with another or not at all.

Rule: once it says that it is done, nothing in the store needs another key than the first, and no file of
the store holds a word that is readable. Broken off, it goes on where it was when it is run again.
"""

from __future__ import annotations

import sys

from sidecar.commands.progress import Progress
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.store.encrypted.store import EncryptedStore
from sidecar.store_factory import opened

__all__ = ["run"]


async def run(settings: Settings) -> int:
    """Go over the whole store."""
    async with opened(settings, takes_clear=True) as store:
        if not isinstance(store, EncryptedStore):
            raise SidecarError("there is no key to encrypt with: set encryption.key or encryption.key_file")
        with Progress("looked at messages") as progress:
            changed = await store.reseal(progress.step)
        await store.scrub(compact=True)
    sys.stderr.write(f"sidecar: encrypted {changed} conversations with the first key\n")
    return 0
