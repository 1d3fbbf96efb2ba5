"""Keys for clients of a running sidecar, made and changed beside it, as the commands do."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from sidecar.access.client_keys import ClientKey, changed_row, client_key_of, id_in, made, revoked, rotated
from sidecar.settings import Settings
from sidecar.store import Store, make_store


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Store]:
    store = make_store(settings.store_path)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def new_key(settings: Settings, name: str = "ada", **limits: Any) -> str:
    async with opened(settings) as store:
        key, text = made(store.secret, name, time.time(), **limits)
        assert await store.put_client_key(changed_row(key))
    return text


async def change(settings: Settings, text: str, work: Callable[[ClientKey], ClientKey]) -> None:
    async with opened(settings) as store:
        row = await store.client_key(str(id_in(text)))
        assert row is not None
        assert await store.put_client_key(changed_row(work(client_key_of(row)), row))


async def rotate(settings: Settings, text: str, grace: float = 0.0) -> str:
    new = ""
    async with opened(settings) as store:
        secret = store.secret

    def work(key: ClientKey) -> ClientKey:
        nonlocal new
        changed, new = rotated(secret, key, time.time(), grace)
        return changed

    await change(settings, text, work)
    return new


async def revoke(settings: Settings, text: str) -> None:
    await change(settings, text, lambda key: revoked(key, time.time()))


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}
