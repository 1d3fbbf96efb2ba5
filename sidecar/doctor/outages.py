"""When the store failed, and how many requests are not recorded since it did: in memory, of this process."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable

import msgspec

from sidecar.doctor.evidence import many

__all__ = ["Outage", "Outages", "joined", "lost_by_chat", "told"]

_MOST = 20
_CHATS = 20  # that are named of one


class Outage(msgspec.Struct):
    """From when to when (Unix seconds; None: it lasts), and how many requests are not recorded; `chats`: the
    ids of the first conversations of which some are not."""

    since: float
    until: float | None = None
    lost: int = 0
    chats: tuple[str, ...] = ()


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

    def lost(self, chat: str) -> None:
        """A request of the conversation with this id is not recorded."""
        if self.last:
            self.last[-1].lost += 1
            self.last[-1].chats = _named(self.last[-1].chats, (chat,))


def joined(outages: Iterable[Outage]) -> list[Outage]:
    """Those of several processes, which share a store: what overlaps is one, the newest last."""
    found: list[Outage] = []
    for each in sorted(outages, key=lambda one: one.since):
        before = found[-1] if found else None
        if before is None or (before.until is not None and before.until < each.since):
            found.append(msgspec.structs.replace(each))
            continue
        ends = (before.until, each.until)
        before.until = None if None in ends else max(filter(None, ends))
        before.lost += each.lost
        before.chats = _named(before.chats, each.chats)
    return found


def lost_by_chat(outages: Iterable[Outage]) -> dict[str, tuple[str, ...]]:
    """The ids of the conversations of which something is not recorded, those of the newest outage first; of
    each when that was, in a sentence for each outage, the newest first."""
    found: dict[str, tuple[str, ...]] = {}
    for each in reversed([*outages]):
        for chat in each.chats:
            found[chat] = (*found.get(chat, ()), told(each))
    return found


def told(outage: Outage) -> str:
    """It in a sentence."""
    since = _moment(outage.since)
    until = _moment(outage.until) if outage.until is not None else None
    ended = f"At {since}" if until == since else f"From {since} to {until}"
    span = f"Since {since} (UTC)" if until is None else f"{ended} (UTC)"
    lost = f"{many(outage.lost, 'request')} {'is' if outage.lost == 1 else 'are'} not recorded"
    return f"{span} the store failed: {lost if outage.lost else 'no request is missing'}."


def _named(chats: tuple[str, ...], more: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys((*chats, *more)))[:_CHATS]


def _moment(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(at))
