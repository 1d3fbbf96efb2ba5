"""`sidecar migrate`: copy everything from one store into another, of whatever kind.

Rules: tenants and ids are hashes keyed by the store's secret, so the secret is copied too, and a target that
holds conversations under another secret is refused. What the target has already stays, so the command can
be run again: after an interruption, or to copy what was recorded in the meantime.
"""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace

from pydantic import SecretStr

from sidecar.commands.progress import Progress
from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.settings import Encryption, Settings, load
from sidecar.store import Store
from sidecar.store.encrypted.cipher import ENCRYPTED, TENANT_SIZE, changed_secret
from sidecar.store_factory import open_existing, store_of

__all__ = ["add_arguments", "copied", "run"]


def add_arguments(parser: ArgumentParser) -> None:
    """From where, and where to."""
    parser.add_argument("--from", dest="store", metavar="URL", required=True, help="the store to copy")
    parser.add_argument("--to", metavar="URL", required=True, help="an empty store, or one copied to before")


async def run(source: Settings, args: Namespace) -> int:
    """Copy from the store of these settings to the one that `--to` names."""
    target = load({"config": args.config, "store": args.to})
    if source.store == target.store:
        raise SidecarError("--from and --to name the same store")
    if target.store_path is None:
        raise SidecarError("--to is `memory:`, which keeps nothing once this process ends")
    # Not the secret of the settings, which would hide the ones that are kept in the stores.
    kept = {"secret": SecretStr("")}
    async with open_existing(await _as_it_is(source.model_copy(update=kept))) as old:
        new = store_of(target.model_copy(update=kept))
        await new.open()
        try:
            with Progress("copied conversations") as progress:
                conversations, messages = await copied(old, new, progress)
        finally:
            await new.close()
    sys.stderr.write(f"sidecar: copied {conversations} conversations with {messages} messages\n")
    return 0


async def _as_it_is(source: Settings) -> Settings:
    """Without the keys where it is not encrypted: opened with them it would be from then on."""
    plain = source.model_copy(update={"encryption": Encryption()})
    try:
        async with open_existing(plain) as store:
            async for held in store.conversation_stats(sized=False):
                if len(held.tenant) != TENANT_SIZE:
                    raise changed_secret()
            return plain
    except StoreUnavailable as error:
        if error.code != ENCRYPTED:
            raise
    return source


async def copied(old: Store, new: Store, progress: Progress) -> tuple[int, int]:
    """Copy all; returns how many conversations and messages that were."""
    if new.secret != old.secret:
        async for held in new.conversation_stats(sized=False):
            raise SidecarError(
                f"the store to copy to holds conversations under another secret (such as {held.id}): take an"
                " empty one"
            )
        if await new.client_key_ids():
            raise SidecarError(
                "the store to copy to holds clients' keys under another secret: take an empty one"
            )
        await new.replace_secret(old.secret)
    conversations = messages = 0
    async for held in old.conversation_stats(sized=False):
        whole = await old.snapshot(held.id)
        if whole is not None:  # else it was deleted meanwhile
            await new.add_snapshot(whole)
            conversations += 1
            messages += len(whole.nodes)
            progress.step()
    for id in await old.client_key_ids():
        row = await old.client_key(id)
        if row is not None:
            await new.put_client_key(row)  # what was changed meanwhile counts as well
    known = await new.load_learned()
    for name, value in (await old.load_learned()).items():
        if name not in known:
            await new.save_learned(name, value)
    return conversations, messages
