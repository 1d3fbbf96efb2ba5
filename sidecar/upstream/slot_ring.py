"""Which file of an engine holds which chat's slot, and which one is written next: pure.

The engine can write a file and read it, and never deletes one: so there are as many as the settings allow,
and they are written over again and again. Rules: a place whose file is being written, or may have been left
half written, is read for nobody. A chat that has one keeps it, else it gets one that is free, else the one
that was written longest ago. Each change of a place gives it a new generation, by which one who has read a
file knows whether it was the right one to the end. What a deleted chat left behind, a save that never ended,
and files beyond what is allowed by now are written over with an empty slot.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from hashlib import blake2b
from typing import Literal

import msgspec
from msgspec.structs import replace

__all__ = [
    "LEAST_TOKENS",
    "Place",
    "Ring",
    "claimed",
    "freed",
    "half_written",
    "held",
    "holder",
    "is_due",
    "is_of_no_use",
    "name_of",
    "name_of_ring",
    "packed",
    "settled",
    "to_wipe",
    "unpacked",
]

#: A shorter prompt is computed anew as soon as it is read.
LEAST_TOKENS = 1024
# What a chat has grown since it was saved, before it is saved again: tokens, and a part of what is saved.
_LEAST_GROWTH, _GROWTH = 256, 16
# Seconds after which nobody is writing any more, whatever became of it.
_ABANDONED = 120.0
# Of what was read from a file the cache of the next prompt has at least a part, or it was of no use.
_USED = 10


class Place(msgspec.Struct, frozen=True, array_like=True):
    """One file. `session`: the chat whose slot it holds, and `conversation` the one that this is part of.

    `tokens` are in it; `model`: what the engine was when it was written; `at`: when the last change was, in
    Unix seconds.
    """

    state: Literal["free", "writing", "held"] = "free"
    generation: int = 0
    session: str = ""
    conversation: str = ""
    tokens: int = 0
    model: str = ""
    at: float = 0.0
    #: The engine's own number of the work after which it was written: the slot still shows that.
    task: int = -1


Ring = tuple[Place, ...]
_FREE = Place()
_decode = msgspec.json.Decoder(Ring).decode


def packed(ring: Ring) -> bytes:
    """As it is kept."""
    return msgspec.json.encode(ring)


def unpacked(data: bytes) -> Ring:
    """What was packed; raises `ValueError` if it was not."""
    return _decode(data) if data else ()


def name_of_ring(secret: bytes, engine: str) -> str:
    """The name by which the files of this engine are known in the store that has this secret."""
    return blake2b(engine.encode(), digest_size=16, key=secret[:64], person=b"sidecar/slots").hexdigest()


def name_of(secret: bytes, engine: str, position: int) -> str:
    """The name of a file: nobody guesses it, and it is the same for all that share the store."""
    return f"sidecar-{position:04}-{name_of_ring(secret, f'{position} {engine}')}.bin"


def holder(ring: Ring, session: str) -> int | None:
    """Where the file of this chat is; None if it has none that can be read."""
    return next(
        (at for at, place in enumerate(ring) if place.session == session and place.state == "held"), None
    )


def claimed(ring: Ring, size: int, session: str, conversation: str, now: float) -> tuple[Ring, int] | None:
    """The ring with a place to write for this chat, and which that is; None if all are being written."""
    ring = (*ring, *(_FREE,) * (size - len(ring)))
    open_ones = [at for at, place in enumerate(ring[:size]) if not _is_being_written(place, now)]
    if not open_ones or any(p.session == session and _is_being_written(p, now) for p in ring):
        return None
    chosen = min(open_ones, key=lambda at: _rank(ring[at], session))
    writing = Place("writing", ring[chosen].generation + 1, session, conversation, at=now)
    others = [at for at, place in enumerate(ring) if place.session == session and at != chosen]
    for at in others:  # it may have had more once; what is in them is not its newest
        ring = _with(ring, at, replace(half_written(), generation=ring[at].generation + 1))
    return _with(ring, chosen, writing), chosen


def settled(ring: Ring, at: int, place: Place, new: Place) -> Ring | None:
    """The ring with this in place of what was being written there; None if somebody else is at it."""
    if at >= len(ring) or ring[at] != place:
        return None
    return _with(ring, at, replace(new, generation=place.generation + 1))


def held(place: Place, tokens: int, model: str, task: int, now: float) -> Place:
    """It was written."""
    return replace(place, state="held", tokens=tokens, model=model, task=task, at=now)


def half_written() -> Place:
    """It holds something that is to be read for nobody, and nobody writes it."""
    return Place("writing")


def freed() -> Place:
    """There is nothing of anybody in it."""
    return _FREE


def to_wipe(ring: Ring, size: int, gone: Collection[str], now: float) -> tuple[Ring, int] | None:
    """The ring with a place that is to be written over with nothing, and which; None if there is none.
    `gone`: conversations that were deleted."""
    for at, place in enumerate(ring):
        if place.state == "free" or _is_being_written(place, now):
            continue
        if place.state == "writing" or at >= size or place.conversation in gone:
            return _with(ring, at, Place("writing", place.generation + 1, at=now)), at
    return None


def is_due(tokens: int, saved: int) -> bool:
    """Has a chat of so many tokens, of which so many are saved, grown enough to be saved?"""
    return tokens >= LEAST_TOKENS and abs(tokens - saved) >= max(_LEAST_GROWTH, saved // _GROWTH)


def is_of_no_use(restored: int, cached: int) -> bool:
    """Did an engine that read so many tokens from a file compute them anew all the same?"""
    return cached * _USED < restored


def _is_being_written(place: Place, now: float) -> bool:
    return place.state == "writing" and now - place.at < _ABANDONED


def _rank(place: Place, session: str) -> tuple[int, float]:
    if place.session == session:
        return 0, 0.0
    return {"free": 1, "writing": 2, "held": 3}[place.state], place.at


def _with(ring: Sequence[Place], at: int, place: Place) -> Ring:
    return (*ring[:at], place, *ring[at + 1 :])
