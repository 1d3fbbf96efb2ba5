"""An upstream that answers as it is told, but refuses what its profile refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.proxy.mock_upstream import EVENTS, Answer, Exchange, Received, says, sends
from tests.referee.profiles import Profile, Refusal, refused

#: What a test refuses beside its profile: the request -> the error.
More = Callable[[Received], Refusal | None]


@dataclass
class Strict:
    """The answer to every request: set it as `otherwise` of an upstream.

    `in_stream`: refuse in the first event of a 200. `refusals`: what was refused, in that order.
    """

    profile: Profile
    then: Answer = field(default_factory=says)
    more: More | None = None
    in_stream: bool = False
    refusals: list[Refusal] = field(default_factory=list)
    #: The bodies that were taken.
    taken: list[bytes] = field(default_factory=list)

    async def __call__(self, exchange: Exchange) -> None:
        found = refused(self.profile, exchange.request.body)
        if found is None and self.more is not None:
            found = self.more(exchange.request)
        if found is None:
            self.taken.append(exchange.request.body)
            await self.then(exchange)
            return
        self.refusals.append(found)
        body = json.dumps(found.body).encode()
        if self.in_stream:
            await sends(b"data: " + body + b"\n\n", headers=EVENTS)(exchange)
        else:
            await sends(body, status=found.status)(exchange)
