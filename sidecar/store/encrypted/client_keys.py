"""Keys of clients, each encrypted: nobody who can write to the store makes one, or gives one more rights."""

from __future__ import annotations

from sidecar.store.base import Store
from sidecar.store.client_keys import KeyRow
from sidecar.store.encrypted.cipher import ContentCipher
from sidecar.store.encrypted.content import Content

__all__ = ["KeepingClientKeys"]


class KeepingClientKeys(Store):
    """The part of `EncryptedStore` that keeps them."""

    _inner: Store
    _cipher: ContentCipher
    _content: Content

    async def client_key(self, id: str) -> KeyRow | None:
        row = await self._inner.client_key(id)
        return row and row._replace(data=self._content.decrypt_client_key(id, row.version, row.data))

    async def client_key_ids(self) -> list[str]:
        return await self._inner.client_key_ids()

    async def put_client_key(self, row: KeyRow) -> bool:
        data = self._content.encrypt_client_key(row.id, row.version, row.data)
        return await self._inner.put_client_key(row._replace(data=data))

    async def use_client_key(self, id: str, day: int) -> None:
        await self._inner.use_client_key(id, day)

    async def _re_encrypt_client_keys(self) -> None:
        """With the first key. What somebody changes meanwhile is encrypted with it as well."""
        for id in await self._inner.client_key_ids():
            row = await self._inner.client_key(id)
            if row is not None and not self._cipher.is_newest(row.data):
                data = self._content.decrypt_client_key(id, row.version, row.data)
                await self.put_client_key(KeyRow(id, row.version + 1, data, row.used))
