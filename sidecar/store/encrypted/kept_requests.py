"""Requests as their clients sent them, encrypted."""

from __future__ import annotations

import asyncio
from functools import partial

from sidecar.store.base import Store
from sidecar.store.encrypted.content import Content

__all__ = ["KeepingRequests"]


class KeepingRequests(Store):
    """The part of `EncryptedStore` that keeps them."""

    _inner: Store
    _content: Content

    async def keep_request(self, conversation: str, exchange: bytes, data: bytes, *, most: int) -> None:
        encrypted = await asyncio.to_thread(self._content.encrypt_request, conversation, exchange, data)
        await self._inner.keep_request(conversation, exchange, encrypted, most=most)

    async def kept_request(self, tenant: bytes, conversation: str, exchange: bytes) -> bytes | None:
        for name in self._names(tenant):
            found = await self._inner.kept_request(name, conversation, exchange)
            if found is not None:
                work = partial(self._content.decrypt_request, conversation, exchange, found)
                return await asyncio.to_thread(work)
        return None

    async def drop_requests(self) -> None:
        await self._inner.drop_requests()

    def _names(self, tenant: bytes) -> tuple[bytes, ...]:
        """Under which names the store may have a tenant."""
        raise NotImplementedError
