"""When the store failed, and which requests are not recorded since it did: in memory, of this process.

Rule: a request counts once, as what its client saw of it: an error, or an answer that is kept nowhere.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from sidecar.doctor.evidence import many

__all__ = ["Lost", "LostOf", "Missing", "Outage", "Outages", "joined", "lost_by_chat", "told"]

_MOST = 20
_CHATS = 20  # that are named of one
#: How the ids begin that the sidecar gives, by which clients may name a chat too.
_OWN = "conv_"
_ERROR = "an error (503 store_unavailable, or a stream that broke off)"


class Lost(msgspec.Struct, frozen=True):
    """A request that is not recorded: its conversation's id, None if it has none yet, and how its client
    names that; `is_refused`: an error is all that its client got."""

    id: str | None
    key: str | None = None
    is_refused: bool = False


class LostOf(msgspec.Struct, frozen=True):
    """How many requests of one conversation were answered and are not recorded, and how many were refused."""

    id: str
    key: str | None = None
    unrecorded: int = 0
    refused: int = 0


class Outage(msgspec.Struct):
    """From when to when (Unix seconds; None: it lasts), and how many requests are not recorded, `refused` of
    which ended with an error; `chats`: the first conversations of which some are not."""

    since: float
    until: float | None = None
    lost: int = 0
    refused: int = 0
    chats: tuple[LostOf, ...] = ()


class Missing(msgspec.Struct, frozen=True):
    """What is missing of one conversation: of all outages together, and in a sentence for each, the newest
    first."""

    id: str
    key: str | None
    unrecorded: int
    refused: int
    said: tuple[str, ...]


class Outages:
    """The last ones, the oldest first."""

    def __init__(self) -> None:
        self.last: deque[Outage] = deque(maxlen=_MOST)

    def begin(self) -> None:
        """The store fails from now on."""
        self.last.append(Outage(time.time()))

    def end(self) -> None:
        """It works again."""
        if self.last:
            self.last[-1].until = time.time()

    def lost(self, lost: Lost, began: float | None = None) -> None:
        """This request is not recorded; `began`: when it arrived (Unix seconds), where it may have ended
        before the store failed, or be told of after it worked again."""
        if not self.last:
            return
        outage = self.last[-1]
        if began is not None and outage.until is not None and outage.until < began:
            return
        outage.lost += 1
        outage.refused += lost.is_refused
        if lost.id is not None:
            one = LostOf(lost.id, lost.key, int(not lost.is_refused), int(lost.is_refused))
            outage.chats = _summed((*outage.chats, one))


def joined(outages: Iterable[Outage]) -> list[Outage]:
    """Those of several processes, which share a store: what overlaps is one, the newest last."""
    found: list[Outage] = []
    for each in sorted(outages, key=lambda one: one.since):
        before = found[-1] if found else None
        if before is None or (before.until is not None and before.until < each.since):
            found.append(replace(each))
            continue
        ends = (before.until, each.until)
        before.until = None if None in ends else max(filter(None, ends))
        before.lost += each.lost
        before.refused += each.refused
        before.chats = _summed((*before.chats, *each.chats))
    return found


def lost_by_chat(outages: Iterable[Outage]) -> dict[str, Missing]:
    """What is missing of which conversations, by their ids, those of the newest outage first. What a client
    names by an id of ours stands under that as well."""
    found: dict[str, Missing] = {}
    for outage in reversed([*outages]):
        for each in outage.chats:
            said = f"{_span(outage)} the store failed. {_told_of(each)}"
            before = found.get(each.id, Missing(each.id, each.key, 0, 0, ()))
            found[each.id] = Missing(
                each.id,
                each.key or before.key,
                before.unrecorded + each.unrecorded,
                before.refused + each.refused,
                (*before.said, said),
            )
    named = {each.key: each for each in found.values() if each.key and each.key.startswith(_OWN)}
    return {**named, **found}


def told(outage: Outage) -> str:
    """It in a sentence."""
    said = f"{many(outage.lost, 'request')} {'is' if outage.lost == 1 else 'are'} not recorded"
    if not outage.lost:
        said = "no request is missing"
    elif outage.refused == outage.lost:
        said = f"{said}, and ended with {_ERROR}"
    elif outage.refused:
        answered = outage.lost - outage.refused
        was = "was" if answered == 1 else "were"
        said = f"{said}: {answered} {was} answered all the same, {outage.refused} ended with {_ERROR}"
    return f"{_span(outage)} the store failed: {said}."


def _told_of(chat: LostOf) -> str:
    said = []
    if chat.refused:
        said.append(
            f"{many(chat.refused, 'request')} of this chat ended with {_ERROR}: the client was told, and"
            f" nothing of {'it' if chat.refused == 1 else 'them'} is kept, unless it was sent again."
        )
    if chat.unrecorded:
        its, it = ("its", "it") if chat.unrecorded == 1 else ("their", "them")
        said.append(
            f"{many(chat.unrecorded, 'request')} of this chat {'was' if chat.unrecorded == 1 else 'were'}"
            f" answered and {'is' if chat.unrecorded == 1 else 'are'} not recorded: what stands here of {it},"
            f" if anything, came later, with {its} client's next request, and bears the time of that; what"
            f" {'it' if chat.unrecorded == 1 else 'they'} took and what was done to {it} is not kept."
        )
    return " ".join(said)


def _span(outage: Outage) -> str:
    since = _moment(outage.since)
    until = _moment(outage.until) if outage.until is not None else None
    if until is None:
        return f"Since {since} (UTC)"
    return f"At {since} (UTC)" if until == since else f"From {since} to {until} (UTC)"


def _summed(chats: Iterable[LostOf]) -> tuple[LostOf, ...]:
    found: dict[str, LostOf] = {}
    for each in chats:
        before = found.get(each.id, LostOf(each.id))
        found[each.id] = LostOf(
            each.id,
            each.key or before.key,
            before.unrecorded + each.unrecorded,
            before.refused + each.refused,
        )
    return tuple(found.values())[:_CHATS]


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
