"""Requests as their clients sent them go into the store, if `inspector.keep_requests` says so.

Rules: no request waits for it, and none is kept whose exchange is not; a store that fails is left alone. What
waits to be written is bounded, and beyond that the newest are dropped, and said. If the setting is `none`,
what was kept before is deleted.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from functools import partial

from msgspec.structs import replace

from sidecar.access.places import places_of
from sidecar.background.tasks import Spawn
from sidecar.conversation.exchange_record import Exchange
from sidecar.errors import StoreUnavailable
from sidecar.exchange.client_request import ClientRequest, head_of, packed_request
from sidecar.exchange.outcome import Tracked
from sidecar.settings import Settings
from sidecar.store import Store

__all__ = ["KeptRequests"]

log = logging.getLogger("sidecar.proxy")

_MAX_WAITING = 64 << 20  # bytes of bodies
#: Headers without which a request that is sent again would be another one.
_USUAL = ("content-type", "accept", "x-sidecar-history", "x-sidecar-trim", "x-model", "openai-beta")


class KeptRequests:
    """What is kept of them, and how much waits."""

    def __init__(
        self, settings: Settings, store: Store, spawn: Spawn, store_failed: Callable[[str, Exception], None]
    ) -> None:
        self._store, self._spawn, self._store_failed = store, spawn, store_failed
        self._which, self._most = settings.inspector.keep_requests, settings.inspector.request_bytes
        places, rules, tenant = places_of(settings), settings.identity, settings.tenant
        messages = (rules.message_id_header, rules.user_message_id_header, rules.parent_id_header)
        named = (*rules.headers, *places.agents, *messages, settings.tasks.header)
        personal = (*tenant.user_headers, tenant.user_jwt_header)
        self._head_of = partial(
            head_of,
            kept=(*_USUAL, *(each.lower() for each in named)),
            secret=sorted(places.credentials),
            personal=[each.lower() for each in personal],
            parameters=places.parameters,
        )
        self._waiting = 0

    def start(self) -> None:
        """Delete what is kept no longer."""
        if self._which == "none":
            self._spawn(self._drop())

    def head_of(self, target: str, headers: Mapping[str, str]) -> ClientRequest | None:
        """What is to be kept of what comes before a body; None if nothing is."""
        return self._head_of(target, headers) if self._which != "none" else None

    def keep(self, tracked: Tracked, exchange: Exchange) -> None:
        """Begin to keep the request of this exchange, which is stored, if requests are kept."""
        if tracked.client is None:
            return
        if self._waiting + len(tracked.body) > _MAX_WAITING:
            log.warning("a request was not kept as it came: too many wait to be written")
            return
        self._waiting += len(tracked.body)
        head = replace(tracked.client, refusal=tracked.refusal)
        self._spawn(self._keep(head, tracked.body, exchange))

    async def _keep(self, head: ClientRequest, body: bytes, exchange: Exchange) -> None:
        try:
            data = await asyncio.to_thread(packed_request, head, body, self._most)
            most = self._most if self._which == "all" else 0
            await self._store.keep_request(exchange.conversation, exchange.id, data, most=most)
        except StoreUnavailable as error:
            self._store_failed("request", error)
        finally:
            self._waiting -= len(body)

    async def _drop(self) -> None:
        try:
            await self._store.drop_requests()
        except StoreUnavailable as error:
            self._store_failed("request", error)
