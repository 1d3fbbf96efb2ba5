"""`sidecar rekey`: re-encrypt the whole store with the first key.

Rule: once it says that it is done, nothing in the store needs any key but the first, and no file of the
store holds readable text. If it is interrupted, the next run continues where it stopped.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from sidecar.commands.progress import Progress
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.store.encrypted.store import EncryptedStore
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]


def add_arguments(_parser: ArgumentParser) -> None:
    """There are none: the keys are settings."""


async def run(settings: Settings, _args: Namespace) -> int:
    """Re-encrypt every conversation, then overwrite what was readable."""
    async with open_existing(settings, accept_plaintext=True) as store:
        if not isinstance(store, EncryptedStore):
            raise SidecarError("there is no key to encrypt with: set encryption.key or encryption.key_file")
        with Progress("checked messages") as progress:
            changed = await store.re_encrypt(progress.step)
        await store.purge(compact=True)
    sys.stderr.write(f"sidecar: encrypted {changed} conversations with the first key\n")
    return 0
