"""A response that is made in the background, as all processes that share a store know of it.

Rule: it is known from its beginning until a while after its end; what was said in it is then where all else
is, in the tree.
"""

from __future__ import annotations

import msgspec

from sidecar.conversation.exchange_record import Reference

__all__ = ["KeptEvents", "RunningResponse"]


class RunningResponse(msgspec.Struct, frozen=True):
    """`runner`: the process that makes it, and `silent`: for how many seconds nothing was heard of that.
    `told`: the response as it began, JSON; once it has ended, as it ended, if nothing else tells that.
    `last`: the number of the last of its events, be it kept or not. `ended`: when, in Unix seconds; None
    while it is made. `is_unwanted`: it is to be cancelled."""

    where: Reference
    tenant: bytes
    runner: str
    told: bytes
    last: int = -1
    is_unwanted: bool = False
    ended: float | None = None
    silent: float = 0.0


class KeptEvents(msgspec.Struct, frozen=True):
    """Events that were told one after another, with the numbers of the first and the last; `data`: all of
    them, packed."""

    first: int
    last: int
    data: bytes
