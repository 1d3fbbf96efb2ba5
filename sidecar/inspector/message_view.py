"""One message as people read it: its text, what it reasoned, the calls it makes, images, and the rest.

Rule: all of it is text, whatever it says of itself. An image is one only where it is a data URL of a format
that carries no script; what a link leads to is never loaded.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from sidecar.conversation.message import Fields, is_text
from sidecar.conversation.overview import Stem
from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.conversation.tree import Node
from sidecar.inspector.shown import Clip, clip, size, told, without_files

__all__ = ["Budget", "MessageView", "Piece", "pieces_of", "view_of", "words_of"]

_IMAGE = re.compile(r"data:image/(?:png|jpeg|gif|webp|avif);base64,[A-Za-z0-9+/=\s]*")
_KNOWN = {"role", "content", "tool_calls", "tool_call_id", "name", *REASONING_FIELDS}

_encode = msgspec.json.Encoder().encode


class Piece(msgspec.Struct, frozen=True):
    """A part of a message. `kind`: `text`, `reasoning`, `call`, `image`, `other`. `image`: a data URL."""

    kind: str
    title: str
    text: Clip
    image: str = ""


class MessageView(msgspec.Struct, frozen=True):
    """A message on a page; `number` on its path, from 1; `problem`: why nothing of it is shown."""

    id: str
    number: int
    role: str
    source: str
    state: str
    created_at: float
    model: str
    finish_reason: str
    size: int
    pieces: tuple[Piece, ...]
    problem: str = ""


class Budget:
    """How much one page may hold: characters of texts and of images, and pieces, each of which takes a tenth
    of a millisecond."""

    def __init__(self, texts: int = 110_000, images: int = 512 << 10, pieces: int = 1000) -> None:
        self.texts = texts
        self.images = images
        self.pieces = pieces

    def clip(self, text: str, seen: int = 1500) -> Clip:
        """As much of a text as there is room for."""
        room = max(200, min(10_000, self.texts))
        made = clip(text, seen=min(seen, room), most=room)
        self.texts -= len(made.seen) + len(made.rest)
        return made

    def image(self, url: str) -> str:
        """The image, for which there has to be room."""
        self.images -= len(url)
        return url


def view_of(stem: Stem, number: int, node: Node | None, budget: Budget, problem: str = "") -> MessageView:
    """What is shown of a message; `node` is None where it is not read, and `problem` says why."""
    pieces: tuple[Piece, ...] = ()
    if node is not None:
        try:
            pieces = tuple(pieces_of(node.fields, budget))
        except ValueError:
            problem = "it is not a message: what is stored is no JSON object"
    return MessageView(
        id=stem.id.hex(),
        number=number,
        role=told(stem.role, 40),
        source=stem.source,
        state=stem.state,
        created_at=stem.created_at,
        model=told(stem.model),
        finish_reason=told(stem.finish_reason),
        size=stem.size,
        pieces=pieces,
        problem=told(problem, 300),
    )


def pieces_of(fields: Fields, budget: Budget) -> Iterator[Piece]:
    """The parts of a message, in the order in which they are read, as long as there is room for them."""
    for piece in _pieces(fields, budget):
        if not budget.pieces:
            yield Piece("other", "further parts, which are not shown", Clip("", "", 0, is_cut=True))
            return
        budget.pieces -= 1
        yield piece


def _pieces(fields: Fields, budget: Budget) -> Iterator[Piece]:
    for name in sorted(REASONING_FIELDS & fields.keys()):
        if text := _text(fields[name]):
            yield Piece("reasoning", told(name, 60), budget.clip(text))
    call = fields.get("tool_call_id")
    title = f"result of {told(str(call), 80)}" if call else ""
    content = fields.get("content")
    for part in content if isinstance(content, list) else [content]:
        if (piece := _content(part, title, budget)) is not None:
            yield piece
    calls = fields.get("tool_calls")
    for each in calls if isinstance(calls, list) else []:
        yield _call(each, budget)
    rest = {
        name: value for name, value in fields.items() if name not in _KNOWN and value not in (None, "", [])
    }
    if rest:
        yield Piece("other", "other fields", budget.clip(_text(rest)))


def words_of(fields: Fields) -> str:
    """How a message begins, on one line."""
    budget, words = Budget(1000), []
    for piece in pieces_of(fields, budget):
        if piece.kind != "reasoning":
            words.append(" ".join(filter(None, (piece.title, without_files(piece.text.seen)[:200].strip()))))
        if sum(map(len, words)) > 160:
            break
    return told(" · ".join(filter(None, words)), 160)


def _content(part: Any, title: str, budget: Budget) -> Piece | None:
    if part is None or part == "":
        return None
    if isinstance(part, str):
        return Piece("text", title, budget.clip(part))
    if is_text(part):
        return Piece("text", title, budget.clip(part["text"]))
    kind = str(part.get("type") or "part") if isinstance(part, dict) else "part"
    url = _url(part)
    if url is None:
        return Piece("other", told(kind, 60), budget.clip(_text(part)))
    if not url.startswith("data:"):
        return Piece("image", "a link, which is not followed", budget.clip(url))
    head = told(url[:80].partition(",")[0], 60)
    if len(url) <= budget.images and _IMAGE.fullmatch(url):
        return Piece("image", head, clip(""), budget.image(url))
    return Piece("image", f"{head}, {size(len(url))}: not shown", clip(""))


def _url(part: Any) -> str | None:
    image = part.get("image_url") if isinstance(part, dict) else None
    url = image.get("url") if isinstance(image, dict) else image
    return url if isinstance(url, str) else None


def _call(call: Any, budget: Budget) -> Piece:
    function = call.get("function") if isinstance(call, dict) else None
    if not isinstance(function, dict):
        return Piece("call", "a call", budget.clip(_text(call)))
    named = " ".join(filter(None, (told(str(function.get("name")), 80), told(str(call.get("id") or ""), 80))))
    return Piece("call", named, budget.clip(_text(function.get("arguments", ""))))


def _text(value: Any) -> str:
    return value if isinstance(value, str) else _encode(value).decode()
