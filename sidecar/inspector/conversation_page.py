"""One conversation: the shape of its tree, and a window of one path through it, with the exchanges behind it.

Rule: however long the conversation, as much of it is read as one page shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec
from msgspec.structs import replace

from sidecar.conversation.exchange_record import OF_CONVERSATION, Exchange
from sidecar.conversation.overview import Outline, Stem
from sidecar.conversation.tree import Conversation, Node
from sidecar.inspector.exchange_line import ExchangeLine, line_of
from sidecar.inspector.marks import marks_under
from sidecar.inspector.message_view import Budget, MessageView, view_of
from sidecar.inspector.noticed import noted
from sidecar.inspector.shown import Clip, title, told
from sidecar.inspector.sums import Sums
from sidecar.inspector.tree_shape import Beside, BranchPoint, Run, Shape

__all__ = ["ConversationPage", "Entry", "Window", "page_of", "window_of"]

#: Messages on a page.
PAGE = 40
#: Bytes of one message, and of all messages of a page, that are read.
_LARGE, _ALL = 1 << 20, 8 << 20
#: Runs that are told by how they begin.
_TOLD = 40


class Window(msgspec.Struct, frozen=True):
    """A part of a path, from its message number `start` (from 0). `readable`: the ids of those of its
    messages that are read; `runs`: those between branches, of `total_runs`."""

    shape: Shape
    path: tuple[Stem, ...]
    start: int
    shown: tuple[Stem, ...]
    readable: tuple[bytes, ...]
    runs: tuple[Run, ...]
    total_runs: int

    @property
    def beginnings(self) -> list[Stem]:
        """The first messages of the runs that are told in words."""
        told = self.runs[:_TOLD] if len(self.runs) > 1 else ()
        return [stem for each in told if (stem := self.shape.find(bytes.fromhex(each.first))) is not None]


class Entry(msgspec.Struct, frozen=True):
    """A message of the path. `exchange`: that of which it is the reply; `notes`: by what the list marks that,
    beside what its line tells; `failed`: those that ended with this message and brought none;
    `asked_more`: and they asked something behind it, which is not stored with them."""

    message: MessageView
    beside: Beside | None
    exchange: ExchangeLine | None
    notes: tuple[str, ...]
    failed: tuple[ExchangeLine, ...]
    asked_more: bool


class ConversationPage(msgspec.Struct, frozen=True):
    """The page. `points`: where this path has others beside it. `start`, `end`: which of its messages are
    shown, from 0, the last one not included; `at`: the message that was asked for, or the last. `system`: the
    leading system messages, as last sent. `words`: how it begins. `lost`: when the store failed for it, and
    something of it is missing since. `is_opaque`: the upstream knows it by `id` alone (`session.opaque`).
    `sums`: what all its exchanges took."""

    id: str
    key: str
    words: str
    tenant: str
    created_at: float
    updated_at: float
    messages: int
    length: int
    start: int
    end: int
    earlier: int | None
    later: int | None
    at: str
    runs: tuple[Run, ...]
    total_runs: int
    points: tuple[BranchPoint, ...]
    total_points: int
    system: Clip | None
    entries: tuple[Entry, ...]
    lost: tuple[str, ...] = ()
    is_opaque: bool = False
    sums: Sums = msgspec.field(default_factory=Sums)


def window_of(outline: Outline, at: bytes | None, start: int | None) -> Window:
    """The window that shows the message `at`, or the end of what was recorded last; with `start` that from
    there on. Raises `KeyError` if there is no such message."""
    shape = Shape(outline.stems)
    if at is None:
        chosen = outline.stems[-1] if outline.stems else None
    else:
        chosen = shape.find(at)
        if chosen is None:
            raise KeyError(at)
    path = shape.path(shape.end(chosen)) if chosen is not None else []
    if start is None:
        place = path.index(chosen) if at is not None and chosen is not None else len(path)
        start = min(place - PAGE // 4, len(path) - PAGE) if at is not None else len(path) - PAGE
    start = max(0, min(start, len(path) - 1))
    shown = path[start : start + PAGE]
    return Window(shape, tuple(path), start, tuple(shown), _readable(shown), *shape.runs(path))


def _readable(stems: Sequence[Stem]) -> tuple[bytes, ...]:
    room, ids = _ALL, []
    for stem in stems:
        if stem.size <= min(_LARGE, room):
            room -= stem.size
            ids.append(stem.id)
    return tuple(ids)


def page_of(
    about: Conversation,
    window: Window,
    nodes: Mapping[bytes, Node],
    problems: Mapping[bytes, str],
    exchanges: Sequence[Exchange],
    system: bytes | None,
) -> ConversationPage:
    """The page of this window. `problems`: why a message could not be read, by its id."""
    budget = Budget()
    by_reply = {
        reply: (line_of(each), marks_under(each, notes))
        for each, notes in noted(exchanges)
        for reply in each.detail.replies
    }
    failed: dict[bytes | None, list[ExchangeLine]] = {}
    for each in reversed(exchanges):
        if not each.detail.replies and each.outcome != OF_CONVERSATION:
            failed.setdefault(each.parent, []).append(line_of(each))
    head = budget.clip(system.decode("utf-8", "replace"), 300) if system is not None else None
    entries = []
    for number, stem in enumerate(window.shown, window.start + 1):
        problem = problems.get(stem.id, "")
        if not problem and stem.id not in nodes:
            problem = "it is too large for this page" if stem.size > _LARGE else "this page is full"
        line, notes = by_reply.get(stem.id, (None, ()))
        entries.append(
            Entry(
                message=view_of(stem, number, nodes.get(stem.id), budget, problem),
                beside=window.shape.beside(stem),
                exchange=line,
                notes=notes,
                failed=tuple(failed.get(stem.id, ())),
                asked_more=stem.id in failed and stem.role == "assistant",
            )
        )
    points, all_points = window.shape.branch_points(window.path)
    end = window.start + len(window.shown)
    return ConversationPage(
        id=about.id,
        key=told(about.key),
        words=_words(nodes.get(window.path[0].id)) if window.path else "",
        tenant=about.tenant.hex(),
        created_at=about.created_at,
        updated_at=about.updated_at,
        messages=len(window.shape.stems),
        length=len(window.path),
        start=window.start,
        end=end,
        earlier=max(0, window.start - PAGE) if window.start else None,
        later=end if end < len(window.path) else None,
        at=window.path[-1].id.hex() if window.path else "",
        runs=tuple(replace(each, words=_words(nodes.get(bytes.fromhex(each.first)))) for each in window.runs),
        total_runs=window.total_runs,
        points=points,
        total_points=all_points,
        system=head,
        entries=tuple(entries),
    )


def _words(node: Node | None) -> str:
    try:
        return title(node.fields, 80) if node is not None else ""
    except ValueError:  # it is no message
        return ""
