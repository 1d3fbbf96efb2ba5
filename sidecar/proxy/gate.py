"""Who is let in, where clients have keys of the operator's, or not every peer may say who the user is.

Rules: it is decided before anything else is done with a request, on every path alike. What is let in
carries its key from there on, and none of the credentials that it came with. Where no key is needed, a
request without one goes as it always did; one that is not valid is refused in any case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial

from aiohttp import web

from sidecar.access.known_keys import Admission, KnownKeys
from sidecar.access.models import check_models, in_address, is_limited, plain_body
from sidecar.access.peers import Peers
from sidecar.access.places import Places
from sidecar.access.presented import presented
from sidecar.access.slots import Slots
from sidecar.aiohttp_internals.requests import with_body, with_headers
from sidecar.background.large_work import LargeWork
from sidecar.conversation.pieces import LARGE
from sidecar.errors import InvalidKey
from sidecar.proxy.bodies import Bodies
from sidecar.proxy.body import body_of
from sidecar.settings import Settings

__all__ = ["UNCOUNTED", "Gate", "asks"]

#: What a request is held by of which nobody counts anything.
UNCOUNTED: AbstractContextManager[None] = nullcontext()
_ADMISSION = web.RequestKey("admission", Admission)
# What asks no model for anything. To end an answer, which may be the one for which there was room, is such.
_READS = ("GET", "HEAD", "OPTIONS")
_OF_WHAT_IS_KEPT = re.compile(r"/(?:conversations(?:/[^/]+(?:/items)?)?|responses/[^/]+/cancel)$")


class Gate:
    """That of one worker. `folder`: where the workers of this sidecar have what they share; None of a single
    one. `keys`: None where there are none."""

    def __init__(
        self,
        settings: Settings,
        places: Places,
        bodies: Bodies,
        large: LargeWork,
        keys: KnownKeys | None,
        folder: str | None,
    ) -> None:
        self._settings, self._places = settings, places
        self._bodies, self._large = bodies, large
        self._keys, self._is_needed = keys, settings.keys.enforcement == "required"
        self._peers = Peers(settings)
        self._slots = Slots(folder if keys is not None else None)

    async def admit(self, request: web.BaseRequest) -> None:
        """Let it in: from then on it carries its key, if it came with one. Raises `SidecarError`."""
        self._peers.look(request.headers, request.remote)
        if self._keys is None:
            return
        found = presented(self._places, request.headers, request.raw_path)
        if found.headers:
            with_headers(request, found.headers)
        if found.key is not None:
            request[_ADMISSION] = await self._keys.admit(found.key)
        elif self._is_needed:
            raise InvalidKey("this needs an API key: send it as `Authorization: Bearer …`")

    async def admit_again(self, request: web.BaseRequest) -> None:
        """One that was let in asks for something more. Raises `SidecarError` if it may not any more."""
        admission = request.get(_ADMISSION)
        if self._keys is not None and admission is not None:
            request[_ADMISSION] = await self._keys.admit_again(admission.key.id, admission.digest)

    def client(self, request: web.BaseRequest) -> str | None:
        """The id of the key by which it was let in, None without one."""
        admission = request.get(_ADMISSION)
        return admission.key.id if admission is not None else None

    async def counted(self, request: web.BaseRequest) -> AbstractContextManager[object]:
        """To be held for as long as it is answered, to the last byte. Raises `TooManyRequests`."""
        admission = request.get(_ADMISSION)
        if admission is None:
            return UNCOUNTED
        key = admission.key
        slot = await self._slots.take(key.id, key.parallel, key.rpm)
        request[_COUNTED] = counted = _Counted(self._slots, key.id, slot)
        return counted

    @contextmanager
    def counted_on(self, request: web.BaseRequest) -> Iterator[None]:
        """One that counts does so for as long as this lasts, too, whatever becomes of its connection."""
        counted = request.get(_COUNTED)
        if counted is None:
            yield
            return
        counted.holders += 1
        try:
            yield
        finally:
            counted.leave()

    def models(self, request: web.BaseRequest) -> tuple[str, ...] | None:
        """The patterns of those that it may ask for; None for all."""
        admission = request.get(_ADMISSION)
        limited = admission is not None and is_limited(admission.key.models)
        return admission.key.models if admission is not None and limited else None

    async def check_models(self, request: web.BaseRequest) -> None:
        """Does it ask for no others? Its body, which is read, is one from then on that can be read in one way
        only. Raises `SidecarError`."""
        patterns = self.models(request)
        if patterns is None:
            return
        named = in_address(request.raw_path)
        if not request.body_exists:
            if named:
                check_models(patterns, named)
        elif not _OF_WHAT_IS_KEPT.search(request.path):
            with self._bodies.hold() as held:
                body = await body_of(request, self._settings, held)
                with_body(request, await self._plain(patterns, body, named))

    def check_socket(self, request: web.BaseRequest) -> None:
        """The same for a WebSocket, of whose messages nothing is read."""
        patterns = self.models(request)
        if patterns is not None:
            check_models(patterns, [*in_address(request.raw_path), *request.query.getall("model", ())])

    async def plain(self, request: web.BaseRequest, body: bytes) -> bytes:
        """The same for a body that came over a WebSocket."""
        patterns = self.models(request)
        return body if patterns is None else await self._plain(patterns, body, ())

    async def _plain(self, patterns: tuple[str, ...], body: bytes, named: Iterable[str]) -> bytes:
        read = partial(plain_body, body)
        plain, models = await self._large.do("parse", read) if len(body) > LARGE else read()
        check_models(patterns, [*named, *models])
        return plain


class _Counted:
    """A place among those that a key has at once: the last one who holds it gives it back."""

    __slots__ = ("_id", "_slot", "_slots", "holders")

    def __init__(self, slots: Slots, id: str, slot: int | None) -> None:
        self.holders = 1
        self._slots, self._id, self._slot = slots, id, slot

    def __enter__(self) -> None:
        """It is held since it was made."""

    def __exit__(self, *_: object) -> None:
        self.leave()

    def leave(self) -> None:
        """Hold it no more."""
        self.holders -= 1
        if not self.holders:
            self._slots.give_back(self._id, self._slot)


_COUNTED = web.RequestKey("counted", _Counted)


def asks(request: web.BaseRequest) -> bool:
    """Does it ask a model for anything?"""
    return request.method not in (*_READS, "DELETE") and not _OF_WHAT_IS_KEPT.search(request.path)
