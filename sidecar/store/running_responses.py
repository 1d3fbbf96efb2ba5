"""Responses that are made in the background, in dictionaries: the part of `MemoryStore` that keeps them."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.store.base import Store

__all__ = ["RunningInMemory"]


@dataclass(slots=True)
class _Held:
    response: RunningResponse
    heard: float
    events: list[KeptEvents] = field(default_factory=list)


class RunningInMemory(Store):
    """Those of this process alone."""

    def __init__(self) -> None:
        self._responses: dict[Reference, _Held] = {}

    async def begin_response(self, response: RunningResponse, events: KeptEvents) -> None:
        self._responses[response.where] = _Held(response, time.time(), [events])

    async def add_events(self, where: Reference, events: KeptEvents) -> bool:
        held = self._made(where)
        if held is not None:
            held.response = replace(held.response, last=events.last)
            held.events.append(events)
        return held is not None

    async def end_response(
        self, where: Reference, told: bytes, last: int, events: KeptEvents | None = None
    ) -> bool:
        held = self._made(where)
        if held is not None:
            held.response = replace(held.response, told=told, last=last, ended=time.time())
            held.events += [events] if events is not None else ()
        return held is not None

    async def running_response(self, tenant: bytes, where: Reference) -> RunningResponse | None:
        held = self._own(tenant, where)
        return replace(held.response, silent=max(0.0, time.time() - held.heard)) if held else None

    async def response_events(
        self, tenant: bytes, where: Reference, after: int, most: int
    ) -> list[KeptEvents]:
        held = self._own(tenant, where)
        return [each for each in held.events if each.last > after][:most] if held else []

    async def heard_of(self, runner: str) -> None:
        for held in self._made_by(runner):
            held.heard = time.time()

    async def made_by(self, runner: str) -> dict[bytes, bool]:
        found = [held.response for held in self._made_by(runner)]
        return {each.where.exchange: each.is_unwanted for each in found}

    async def cancel_response(self, tenant: bytes, where: Reference) -> None:
        held = self._own(tenant, where)
        if held is not None and held.response.ended is None:
            held.response = replace(held.response, is_unwanted=True)

    async def forget_response(self, tenant: bytes, where: Reference) -> bool:
        return self._own(tenant, where) is not None and bool(self._responses.pop(where))

    async def forget_responses(self, after: float) -> bool:
        old = time.time() - after
        self._responses = {
            where: held
            for where, held in self._responses.items()
            if (held.response.ended or held.heard) > old
        }
        return bool(self._responses)

    def forget_responses_of(self, conversation: str) -> None:
        """Those of the conversation of this id."""
        for where in [each for each in self._responses if each.conversation == conversation]:
            del self._responses[where]

    def _own(self, tenant: bytes, where: Reference) -> _Held | None:
        held = self._responses.get(where)
        return held if held is not None and held.response.tenant == tenant else None

    def _made(self, where: Reference) -> _Held | None:
        held = self._responses.get(where)
        return held if held is not None and held.response.ended is None else None

    def _made_by(self, runner: str) -> list[_Held]:
        held = self._responses.values()
        return [each for each in held if each.response.runner == runner and each.response.ended is None]
