"""The keys that requests present, as the store has them.

Rules: what was read is believed for `_FRESH` seconds, so a key that is revoked is refused within five
seconds by every worker and replica; whatever does not fit what was read is looked up anew before it is
refused, so a new key is admitted at once. While the store cannot be read, or takes longer than `_PATIENCE`,
keys that were read before go on, and of others it cannot be told whether they are valid: nobody is let in
for that. Reads are bounded, and so is what is remembered.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import NamedTuple

from sidecar.access.client_keys import ClientKey, client_key_of, digest_of, id_in, refusal
from sidecar.errors import InvalidKey, SidecarError, StoreUnavailable
from sidecar.store import Store
from sidecar.store.client_keys import KeyRow

__all__ = ["Admission", "KnownKeys"]

_FRESH = 2.0  # seconds
_PATIENCE = 1.0  # seconds that a request waits for the store
_AGAIN = 5  # seconds after which a client may ask again, if it cannot be told
_MOST_HELD, _MOST_READS = 10_000, 64  # keys
_DAY = 86_400  # seconds


class Admission(NamedTuple):
    """A request is admitted by this key, under the secret of this digest."""

    key: ClientKey
    digest: bytes


class _Held(NamedTuple):
    key: ClientKey
    used: int | None
    at: float


class KnownKeys:
    """Those of one store, as one worker knows them. `spawn` starts work that no request waits for."""

    def __init__(
        self, store: Store, spawn: Callable[..., asyncio.Task[None]], report: Callable[[str, Exception], None]
    ) -> None:
        self._store, self._spawn, self._report = store, spawn, report
        self._held: OrderedDict[str, _Held] = OrderedDict()
        self._reads: dict[str, asyncio.Task[None]] = {}
        self._noted: dict[str, int] = {}
        #: Until then whoever holds a key does not wait for the store, which has just failed.
        self._failing_until = 0.0

    async def admit(self, text: str) -> Admission:
        """The key that this text is. Raises `InvalidKey`, and `StoreUnavailable` if it cannot be told."""
        id = id_in(text)
        if id is None:
            raise _not_valid()
        return await self.admit_again(id, digest_of(self._store.secret, text))

    async def admit_again(self, id: str, digest: bytes) -> Admission:
        """The same for what was admitted before. Raises as `admit`."""
        held = self._held.get(id)
        now = time.monotonic()
        if held is not None:
            self._held.move_to_end(id)
            if now - held.at >= _FRESH:
                held = await self._refreshed(id, held, now)
        why = refusal(held.key, digest, time.time()) if held is not None else "is not valid"
        if why is not None and (held is None or held.at < now):
            held = await self._read(id)
            why = refusal(held.key, digest, time.time()) if held is not None else "is not valid"
        if held is None or why is not None:
            raise _not_valid(why or "is not valid")
        self._note_use(held)
        return Admission(held.key, digest)

    async def _refreshed(self, id: str, held: _Held, now: float) -> _Held | None:
        """What is known now; what was, where the store does not say."""
        if now < self._failing_until:
            self._begin(id)
            return held
        try:
            return await self._read(id)
        except StoreUnavailable:
            return held

    async def _read(self, id: str) -> _Held | None:
        """What the store has. Raises `StoreUnavailable`."""
        reading = self._begin(id)
        if reading is None:
            raise _cannot_be_told()
        done, _ = await asyncio.wait((reading,), timeout=_PATIENCE)
        if not done or reading.cancelled() or reading.exception() is not None:
            self._failing_until = time.monotonic() + _FRESH
            raise _cannot_be_told()
        return self._held.get(id)

    def _begin(self, id: str) -> asyncio.Task[None] | None:
        """A read of this key that begins now, or has just begun; None if there are too many."""
        reading = self._reads.get(id)
        if reading is None and len(self._reads) < _MOST_READS:
            reading = self._reads[id] = self._spawn(self._reread(id))
        return reading

    async def _reread(self, id: str) -> None:
        at = time.monotonic()
        try:
            row = await self._store.client_key(id)
            self._keep(id, row, at)
        except StoreUnavailable as error:
            self._report("key", error)
            raise
        finally:
            del self._reads[id]

    def _keep(self, id: str, row: KeyRow | None, at: float) -> None:
        if row is None:
            self._held.pop(id, None)
            return
        self._held[id] = _Held(client_key_of(row), row.used, at)
        if len(self._held) > _MOST_HELD:
            gone, _ = self._held.popitem(last=False)
            self._noted.pop(gone, None)

    def _note_use(self, held: _Held) -> None:
        """Once a day; it is worth no more."""
        id, today = held.key.id, int(time.time()) // _DAY
        if (held.used or -1) >= today or self._noted.get(id) == today:
            return
        self._noted[id] = today
        self._spawn(self._use(id, today))

    async def _use(self, id: str, today: int) -> None:
        try:
            await self._store.use_client_key(id, today)
        except StoreUnavailable as error:
            self._noted.pop(id, None)
            self._report("key", error)


def _not_valid(why: str = "is not valid") -> InvalidKey:
    return InvalidKey(f"the API key {why}")


def _cannot_be_told() -> SidecarError:
    error = StoreUnavailable(
        "whether this API key is valid cannot be told now, since the store does not answer"
    )
    error.retry_after = _AGAIN
    return error
