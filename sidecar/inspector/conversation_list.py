"""The conversations used last, page by page, and never cut without saying so."""

from __future__ import annotations

import math
from collections.abc import Mapping
from hashlib import sha256

import msgspec

from sidecar.conversation.overview import Overview, Overviews
from sidecar.doctor.outages import Missing
from sidecar.inspector.exchange_line import ExchangeLine, line_of
from sidecar.inspector.marks import Mark, marks_of
from sidecar.inspector.shown import size, title, told

__all__ = [
    "PAGE",
    "ConversationList",
    "ConversationRow",
    "LostRow",
    "before_of",
    "list_of",
    "lost_row",
    "version_of",
    "words_of",
]

#: Conversations on a page.
PAGE = 50
_NONE_MISSING: Mapping[str, Missing] = {}


class LostRow(msgspec.Struct, frozen=True):
    """A conversation of which something is missing; `name`: by which people know it; `refused`: how many of
    its requests ended with an error; `is_kept`: the store has something of it."""

    id: str
    name: str
    unrecorded: int
    refused: int
    is_kept: bool


class ConversationRow(msgspec.Struct, frozen=True):
    """One conversation; `words`: how it begins, or what there is instead. Times in Unix seconds. `errors`:
    with those that are kept nowhere, since the store failed. `marks`: what happened in its newest exchanges,
    of which `looked` were looked at."""

    id: str
    key: str
    tenant: str
    words: str
    created_at: float
    updated_at: float
    messages: int
    branches: int
    exchanges: int
    errors: int
    last: ExchangeLine | None
    marks: tuple[Mark, ...]
    looked: int


class ConversationList(msgspec.Struct, frozen=True):
    """A page of them; `next`: from where the page after it begins, None where this is the last. `version`: on
    the first page what becomes another one when something is used, begun or deleted. `outages`: when
    the store failed, and what is missing since; `lost_of`: the conversations of which something is."""

    total: int
    rows: tuple[ConversationRow, ...]
    next: str | None
    is_first: bool
    version: str = ""
    outages: tuple[str, ...] = ()
    lost_of: tuple[LostRow, ...] = ()


def before_of(text: str) -> tuple[float, str] | None:
    """The place in the list that `next` names; None for none."""
    at, mark, id = text.partition("~")
    try:
        time = float(at)
    except ValueError:
        return None
    # Not every store takes a text with a NUL.
    return (time, id) if mark and math.isfinite(time) and id.isprintable() else None


def list_of(
    found: Overviews, before: tuple[float, str] | None, lost: Mapping[str, Missing] = _NONE_MISSING
) -> ConversationList:
    """The page that stands behind this place; `lost`: what is missing of which conversations."""
    last = found.conversations[-1] if found.conversations else None
    is_full = len(found.conversations) == PAGE
    return ConversationList(
        total=found.total,
        rows=tuple(_row(each, lost.get(each.id)) for each in found.conversations),
        next=f"{last.updated_at!r}~{last.id}" if last and is_full else None,
        is_first=before is None,
        version=version_of(found) if before is None else "",
    )


def version_of(found: Overviews) -> str:
    """That of the first page, of which at least the first row is here."""
    newest = found.conversations[0] if found.conversations else None
    about = (newest.id, newest.updated_at, newest.exchanges) if newest else ()
    return sha256(repr((found.total, *about)).encode("utf-8", "surrogatepass")).hexdigest()[:32]


def lost_row(missing: Missing, id: str | None) -> LostRow:
    """What is told of it in a line; `id`: under which the store has it, None if it has nothing of it."""
    name = told(missing.key, 80) or missing.id
    return LostRow(id or missing.id, name, missing.unrecorded, missing.refused, id is not None)


def _row(each: Overview, lost: Missing | None) -> ConversationRow:
    recent = [each.last, *each.earlier] if each.last else []
    return ConversationRow(
        id=each.id,
        key=told(each.key, 80),
        tenant=each.tenant.hex(),
        words=words_of(each),
        created_at=each.created_at,
        updated_at=each.updated_at,
        messages=each.messages,
        branches=each.branches,
        exchanges=each.exchanges,
        errors=each.errors + (lost.refused if lost is not None else 0),
        last=line_of(each.last) if each.last else None,
        marks=marks_of(recent, lost=lost.unrecorded + lost.refused if lost is not None else 0),
        looked=len(recent),
    )


def words_of(each: Overview) -> str:
    """How it begins, or what there is instead."""
    if each.problem:
        return f"(not readable: {told(each.problem)})"
    if each.first is None:
        return f"(a first message of {size(each.first_size)})" if each.messages else "(no message)"
    try:
        return title(each.first.fields) or "(no text)"
    except ValueError:
        return "(not a message)"
