"""For which model a request asks that is no chat, so that it goes to the target that serves it.

Rules: it is told by the body (JSON, or the field `model` of a form), else by the path, as in
`/v1/engines/NAME/embeddings`. A JSON body is read whole to find that; of a form only the beginning, where
clients put the field before the file. What is larger than `limits.max_body`, or of another kind, is not
looked into, and names no model.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import msgspec
from aiohttp import web

from sidecar.access.models import in_address
from sidecar.background.large_work import LargeWork
from sidecar.conversation.message import encode
from sidecar.conversation.pieces import LARGE
from sidecar.dialects.chat.body import object_of
from sidecar.errors import BadRequest
from sidecar.proxy.bodies import Held
from sidecar.proxy.body import body_of
from sidecar.settings import Settings

__all__ = ["Asked", "Body", "asked"]

_JSON = ("", "application/x-www-form-urlencoded", "text/plain")  # curl says the second of whatever it sends
_FORM = "multipart/form-data"
_BEGINNING = 64 << 10  # bytes of a form
_FIELD = re.compile(
    rb'\r\ncontent-disposition: *form-data; *name="model"\r\n(?:[^\r\n]+\r\n)*\r\n([^\r\n]*)\r\n', re.I
)


class _Named(msgspec.Struct):
    model: Any = None


_decode = msgspec.json.Decoder(_Named).decode


Body = bytes | Callable[[], AsyncIterator[bytes]] | None


class Asked(msgspec.Struct):
    """A request: the model that it names, and its body.

    `whole`: all of it, where it was read, and `in_whole`: does that name the model? Else `first` is what was
    read, `rest` gives the rest, once, and `place` is where the model stands in the first part.
    """

    model: str | None = None
    whole: bytes | None = None
    in_whole: bool = False
    first: bytes = b""
    rest: Callable[[], AsyncIterator[bytes]] | None = None
    place: tuple[int, int] | None = None
    #: Somebody has begun to read the rest: nobody else can be sent it.
    is_spent: bool = False

    @property
    def is_large(self) -> bool:
        """Does it take a while to read it once more?"""
        return self.whole is not None and len(self.whole) > LARGE

    def body(self, name: str | None) -> tuple[Body, int]:
        """What is sent, with this name of the model, and by how many bytes it is longer than what came."""
        if name == self.model or name is None:
            return self._body(self.first), 0
        if self.whole is not None and self.in_whole:
            members = {**object_of(self.whole), "model": msgspec.Raw(encode(name))}
            return msgspec.json.encode(members), 0
        if self.place is None:  # it stands in the path, which is that of another API
            return self._body(self.first), 0
        begin, end = self.place
        named = self.first[:begin] + name.encode() + self.first[end:]
        return self._body(named), len(named) - len(self.first)

    def _body(self, first: bytes) -> Body:
        if self.rest is None or self.whole is not None:
            return self.whole
        return lambda: self._pieces(self.rest, first)

    async def _pieces(
        self, rest: Callable[[], AsyncIterator[bytes]] | None, first: bytes
    ) -> AsyncIterator[bytes]:
        self.is_spent = True
        if first:
            yield first
        if rest is not None:
            async for piece in rest():
                yield piece


async def asked(request: web.BaseRequest, settings: Settings, large: LargeWork, held: Held) -> Asked:
    """What it asks for. Raises `BadRequest`, `BodyTooLarge`, `TooManyBodies`."""
    by_path = next(iter(in_address(request.raw_path)), None)
    if not request.body_exists:
        return Asked(by_path)
    found = Asked(by_path, rest=lambda: _rest(request))
    if (request.content_length or 0) > settings.limits.max_body:
        return found
    kind = request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind == _FORM and "Content-Encoding" not in request.headers:
        await _look_into_form(request, found)
    elif kind in _JSON or kind.endswith(("/json", "+json")):
        found.whole = body = await body_of(request, settings, held)
        read = partial(_model_in, body)
        told = await large.do("parse", read) if found.is_large else read()
        found.model, found.in_whole = told or by_path, told is not None
    return found


def _model_in(body: bytes) -> str | None:
    try:
        model = _decode(body).model
    except (ValueError, RecursionError):
        return None
    return model if isinstance(model, str) and model else None


async def _look_into_form(request: web.BaseRequest, found: Asked) -> None:
    while len(found.first) < _BEGINNING and (piece := await request.content.readany()):
        found.first += piece
        if (field := _FIELD.search(found.first)) is not None:
            try:
                found.model = field[1].decode() or found.model
            except UnicodeDecodeError as error:
                raise BadRequest("`model` is no text", code="invalid_value", param="model") from error
            found.place = field.span(1)
            return


async def _rest(request: web.BaseRequest) -> AsyncIterator[bytes]:
    while chunk := await request.content.readany():
        yield chunk
