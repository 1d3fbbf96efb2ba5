"""The JSON of a body: its fields, as far as they are read, or what is wrong with it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from sidecar.conversation.pieces import LARGE, count, has_more_pieces
from sidecar.errors import BadRequest

__all__ = [
    "MAX_VALUES_PER_MESSAGE",
    "Body",
    "fields_of",
    "object_of",
    "read_body",
    "read_messages",
    "read_object",
    "refuse_excess",
    "too_many",
]

#: So many strings, lists and objects a message may have, on the average over the most that there may be. One
#: with a tool call, as large as they come, has about as many.
MAX_VALUES_PER_MESSAGE = 16


class Body(msgspec.Struct):
    messages: list[msgspec.Raw]
    model: Any = None
    tools: msgspec.Raw = msgspec.Raw(b"")
    max_completion_tokens: Any = None
    max_tokens: Any = None
    n: Any = None
    user: Any = None
    safety_identifier: Any = None


read_body = msgspec.json.Decoder(Body).decode
read_messages = msgspec.json.Decoder(list[msgspec.Raw]).decode
read_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
# A surrogate without its other half, in a text without escaped backslashes. It has a fixed beginning and
# matches nothing else, since each match, and each place to try, costs as much as 50 bytes read.
_HALF = re.compile(
    rb"\\u[dD](?:[89abAB]..(?!\\u[dD][c-fC-F])|(?<!\\u[dD][89abAB]..\\u[dD])[c-fC-F]..)", re.DOTALL
)
_BACKSLASH, _NO_UTF8 = rb"\\", b"\xff\xff"
T = TypeVar("T")


def fields_of(body: bytes) -> Body:
    """What a request says. Raises `BadRequest`."""
    try:
        return _read(read_body, body)
    except msgspec.ValidationError as error:
        raise _no_request(body) from error
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, nested beyond reason
        raise _not_json(error) from error


def object_of(body: bytes) -> dict[str, Any]:
    """The fields of a body that has been read, each as it is spelled."""
    return _read(read_object, body)


def _read(decode: Callable[[bytes], T], body: bytes) -> T:
    """Read JSON; half an emoji, as JavaScript cuts one in two, is valid there and not to the decoder."""
    try:
        return decode(body)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:
        mended = _with_whole_characters(body)
        if mended is body:
            raise
        return decode(mended)


def _with_whole_characters(body: bytes) -> bytes:
    """The body with a replacement character for each half; the very same if it has none."""
    if (b"\\ud" not in body and b"\\uD" not in body) or _NO_UTF8[:1] in body:
        return body
    mended, halves = _HALF.subn(rb"\\ufffd", body.replace(_BACKSLASH, _NO_UTF8))
    return mended.replace(_NO_UTF8, _BACKSLASH) if halves else body


def _not_json(error: Exception) -> BadRequest:
    return BadRequest(f"the body is not valid JSON: {error}", code="invalid_json")


def _no_request(body: bytes) -> BadRequest:
    """What to say of a body whose front is JSON and yet no request; its rest may be no JSON at all."""
    try:
        fields = _read(read_object, body)
    except msgspec.ValidationError:
        wrong = "the body has to be a JSON object with a list of `messages`"
    except (ValueError, RecursionError) as error:
        return _not_json(error)
    else:
        is_missing = "`messages` is missing: it" if "messages" not in fields else "`messages`"
        wrong = f"{is_missing} has to be a list of message objects"
    return BadRequest(wrong, code="invalid_messages", param="messages")


def refuse_excess(body: bytes, most: int, escapes: int, pieces: int) -> None:
    """Raises `BadRequest` for a body that holds far more than so many messages could, or escaped characters.

    `pieces` is what `most_pieces` found in it.
    """
    if len(body) > LARGE and count(body, b"\\") > escapes:
        raise BadRequest(
            f"the request has more escaped characters than `limits.max_escapes` = {escapes}",
            code="too_many_escapes",
            param="messages",
        )
    if has_more_pieces(body, MAX_VALUES_PER_MESSAGE * most, pieces):
        raise too_many(f"strings, lists and objects than {MAX_VALUES_PER_MESSAGE} for each of", most)


def too_many(what: str, most: int) -> BadRequest:
    """The error for a request with more of that than it may have."""
    return BadRequest(
        f"the request has more {what} `limits.max_messages` = {most}",
        code="too_many_messages",
        param="messages",
    )
