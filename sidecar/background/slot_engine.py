"""What is known of an engine whose slots are saved: who is where, and what is yet to be done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import NamedTuple

from sidecar.upstream.slot_api import NEEDS_FOLDER, Engine, Slot
from sidecar.upstream.slot_ring import Ring
from sidecar.upstream.target import Target

__all__ = [
    "DOES_NOT_COUNT",
    "DOES_NOT_SAVE",
    "HAS_NO_USE",
    "Answered",
    "KnownEngine",
    "Occupant",
    "WaitingSave",
    "holds",
]

# The engine has not yet put the last tokens that it said into the slot.
_NOT_YET_IN = 2
#: What an engine may be like, and what to do about it.
DOES_NOT_SAVE = "an engine does not save its slots", NEEDS_FOLDER
DOES_NOT_COUNT = (
    "an engine does not tell how many tokens its slots hold",
    "take a newer llama-server, or set session.slot_files = 0",
)
HAS_NO_USE = (
    "an engine reads saved slots and computes their prompts anew all the same",
    "start llama-server with --swa-full if its model has sliding windows, or set session.slot_files = 0",
)


class Answered(NamedTuple):
    """A whole reply: of which chat, on which slot, and how many tokens it has left there.

    `cached`: those of its prompt that the engine had; `has_grown`: nothing of the prompt before was changed.
    """

    slot: int
    session: str
    conversation: str
    tokens: int
    cached: int
    has_grown: bool


class Occupant(NamedTuple):
    """Whom a slot was last seen to hold, and by what that is seen."""

    session: str
    task: int | None
    tokens: int | None


class WaitingSave:
    """A save that is to be."""

    def __init__(self, session: str) -> None:
        self.session = session
        self.is_off = False
        self.now = asyncio.Event()
        self.task: asyncio.Task[None] | None = None


class KnownEngine:
    """What is known of one engine."""

    def __init__(self, target: Target) -> None:
        self.target = target
        self.headers: Mapping[str, str] = {}
        self.ring: Ring = ()
        #: When that was read from the store for a chat that was not found in it.
        self.read_at = 0.0
        self.occupants: dict[int, Occupant] = {}
        #: Whose turn began last on a slot, and what was brought back for it.
        self.begun: dict[int, str] = {}
        self.restored: dict[int, int] = {}
        self.waiting: dict[int, WaitingSave] = {}
        self.saving = asyncio.Lock()
        #: When the next save may begin, and until when the engine is left alone.
        self.rests_until = 0.0
        self.off_until = 0.0
        #: Why, and what to do about it.
        self.why = ("", "")
        self.useless = 0

    @property
    def engine(self) -> Engine:
        return Engine(self.target, self.headers)


def holds(here: Slot, tokens: int) -> bool:
    """Is a slot idle, with so many tokens in it?"""
    return not here.is_busy and here.tokens is not None and tokens - _NOT_YET_IN <= here.tokens <= tokens
