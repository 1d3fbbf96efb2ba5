"""Responses that are made in the background, encrypted: what they say, and their events."""

from __future__ import annotations

import asyncio
from functools import partial

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.store.encrypted.kept_requests import KeepingRequests

__all__ = ["RunningResponses"]

_LARGE = 1 << 20  # bytes that take a millisecond


class RunningResponses(KeepingRequests):
    """The part of `EncryptedStore` that keeps them."""

    async def begin_response(self, response: RunningResponse, events: KeptEvents) -> None:
        where, content = response.where, self._content
        sealed = replace(
            response, tenant=self._names(response.tenant)[0], told=content.encrypt_told(where, response.told)
        )
        await self._inner.begin_response(sealed, content.encrypt_events(where, events))

    async def add_events(self, where: Reference, events: KeptEvents) -> bool:
        return await self._inner.add_events(where, await self._sealed(where, events))

    async def end_response(
        self, where: Reference, told: bytes, last: int, events: KeptEvents | None = None
    ) -> bool:
        sealed = await self._sealed(where, events) if events is not None else None
        return await self._inner.end_response(where, self._content.encrypt_told(where, told), last, sealed)

    async def running_response(self, tenant: bytes, where: Reference) -> RunningResponse | None:
        for name in self._names(tenant):
            found = await self._inner.running_response(name, where)
            if found is not None:
                return replace(found, tenant=tenant, told=self._content.decrypt_told(where, found.told))
        return None

    async def response_events(
        self, tenant: bytes, where: Reference, after: int, most: int
    ) -> list[KeptEvents]:
        for name in self._names(tenant):
            found = await self._inner.response_events(name, where, after, most)
            if found:
                return await asyncio.to_thread(
                    lambda some: [self._content.decrypt_events(where, each) for each in some], found
                )
        return []

    async def heard_of(self, runner: str) -> None:
        await self._inner.heard_of(runner)

    async def made_by(self, runner: str) -> dict[bytes, bool]:
        return await self._inner.made_by(runner)

    async def cancel_response(self, tenant: bytes, where: Reference) -> None:
        for name in self._names(tenant):
            await self._inner.cancel_response(name, where)

    async def forget_response(self, tenant: bytes, where: Reference) -> bool:
        return any([await self._inner.forget_response(name, where) for name in self._names(tenant)])

    async def forget_responses(self, after: float) -> bool:
        return await self._inner.forget_responses(after)

    async def _sealed(self, where: Reference, events: KeptEvents) -> KeptEvents:
        work = partial(self._content.encrypt_events, where, events)
        return await asyncio.to_thread(work) if len(events.data) > _LARGE else work()
