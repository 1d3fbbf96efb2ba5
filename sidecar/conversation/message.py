"""One message of a conversation, and the two forms in which messages are compared.

*Normal form* answers "is this the same message?": role, text without outer white space and without
reasoning, tool calls with their arguments as JSON values, images by their bytes, unknown fields as
they are. Null and empty fields do not count, for SDKs add and drop them; nor do marks that move from one
message to the next between requests, `cache_control` (Anthropic's prompt caching, also through LiteLLM and
OpenRouter), on a message, a part or a call.

*Exact form* answers "would the upstream see the same thing?": as above, but white space and the
spelling of tool arguments count. Reasoning does not, since by default it is not sent again.

Both forms are bytes, made for hashing (see `tree.Chain`), and part of the versioned contract that
the golden values in the tests pin.
"""

from __future__ import annotations

import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from itertools import accumulate
from typing import Any

import msgspec

from sidecar.conversation.pieces import SLICE, count, slices
from sidecar.conversation.read_in_pieces import read_in_pieces
from sidecar.conversation.reasoning import REASONING_FIELDS, said, seen, without_fields

__all__ = [
    "MAX_DEPTH",
    "SYSTEM_ROLES",
    "Fields",
    "are_respelled",
    "both_forms",
    "call_form",
    "call_forms",
    "call_ids",
    "encode",
    "exact_form",
    "is_plain",
    "is_text",
    "is_too_deep",
    "normal_form",
    "read",
    "read_long",
    "text_of",
    "visible_text",
    "without_reasoning",
]

Fields = Mapping[str, Any]

_MARK = "cache_control"
_STRUCTURED = frozenset(("role", "content", "tool_calls", _MARK))
_NOT_OF_A_CALL = frozenset(("index", _MARK))

# Lists and objects one in another. What can be read at all differs between interpreters (Python 3.11 ends a
# little below 1,000, with the whole stack counted) and they may share a store: so it is the same for all.
MAX_DEPTH = 200
_STEPS = {ord("["): 1, ord("{"): 1, ord("]"): -1, ord("}"): -1}
_NO_BRACKETS = bytes(set(range(256)) - set(_STEPS))

#: Who speaks for the application: OpenAI has renamed the first into the second.
SYSTEM_ROLES = frozenset(("system", "developer"))
_NOT_IN_IDS = re.compile(r"[^A-Za-z0-9]+")
_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder(order="deterministic").encode
encode = msgspec.json.Encoder().encode


def read(raw: bytes, decode: Callable[[bytes], Any] = _decode) -> dict[str, Any]:
    """The fields of one message. Raises `ValueError` if `raw` is not a JSON object."""
    try:
        fields = decode(raw)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not valid JSON: {error}") from error
    if type(fields) is not dict:
        raise ValueError(f"not an object but {type(fields).__name__}")
    return fields


def read_long(raw: bytes) -> dict[str, Any]:
    """`read`, for a message that may be large: nobody has to wait long for the interpreter meanwhile."""
    return read(raw, read_in_pieces)


def is_too_deep(raw: bytes) -> bool:
    """Is this JSON nested so deep that it could be kept, and then not be read from deeper in the stack, or by
    another interpreter?

    A conversation with such a message in it would be stuck for ever.
    """
    if count(raw, b"[") + count(raw, b"{") <= MAX_DEPTH:
        return False
    if b"\\" in raw:
        raw = raw.replace(b"\\\\", b"").replace(b'\\"', b"")
    brackets = b"".join(raw.split(b'"')[::2]).translate(None, _NO_BRACKETS)
    return max(accumulate(map(_STEPS.__getitem__, brackets)), default=0) > MAX_DEPTH


def text_of(fields: Fields) -> str:
    """The text of the message: its content, or its text parts, one a line."""
    content = fields.get("content")
    if type(content) is str:
        return content
    if type(content) is list:
        return "\n".join(part["text"] for part in content if is_text(part))
    return ""


def visible_text(fields: Fields) -> str:
    """What a person sees of the message: its text without reasoning and without outer white space."""
    text = text_of(fields)
    if fields.get("role") == "assistant":
        return seen(said(text, has_field=not REASONING_FIELDS.isdisjoint(fields)))
    return text.strip()


def is_plain(fields: Fields) -> bool:
    """Is it a role and a text and nothing else, as nearly every message?"""
    return len(fields) == 2 and type(fields.get("content")) is str and "role" in fields


def normal_form(fields: Fields) -> bytes:
    """The bytes that are equal for two messages exactly when they say the same."""
    role = fields.get("role")
    content = fields.get("content")
    if is_plain(fields):
        visible = _visible(role, fields["content"])
        return _encode((role, visible)) if len(visible) <= SLICE else _of_long_text(role, visible)
    if type(content) is list:
        content = _merged(content, str.strip)
    if type(content) is str:
        content = _visible(role, content)
    return _form(role, content, fields, _tool_call_value, skip=REASONING_FIELDS)


def exact_form(fields: Fields) -> bytes:
    """The bytes that are equal for two messages exactly when an upstream reads the same from both."""
    role = fields.get("role")
    content = fields.get("content")
    if is_plain(fields):
        said = _exact_text(role, fields["content"])
        return _encode((role, said)) if len(said) <= SLICE else _of_long_text(role, said)
    if type(content) is list:
        content = _merged(content, str)
    if type(content) is str:
        content = _exact_text(role, content)
    return _form(role, content, fields, _tool_call_spelling, skip=REASONING_FIELDS)


def both_forms(fields: Fields) -> tuple[bytes, bytes]:
    """`normal_form` and `exact_form`, at the price of one where they are the same, as they mostly are."""
    if is_plain(fields) and len(text := fields["content"]) <= SLICE:
        role = fields["role"]
        visible = _visible(role, text)
        normal = _encode((role, visible))
        return normal, normal if visible == text else _encode((role, _exact_text(role, text)))
    return normal_form(fields), exact_form(fields)


def _of_long_text(role: object, text: str) -> bytes:
    """The form of a message with nothing but this text, by many calls, since each keeps the interpreter."""
    pieces = [_encode(text[begin:end])[1:-1] for begin, end in slices(0, len(text))]
    return b"".join((_encode((role, ""))[:-2], *pieces, b'"]'))


def without_reasoning(raw: bytes) -> bytes:
    """The message as it is sent again: without reasoning; the very same bytes if it has none."""
    fields = read(raw)
    left = without_fields(fields)
    return raw if left is fields else encode(left)


def _visible(role: object, text: str) -> str:
    return seen(text) if role == "assistant" else text.strip()


def _exact_text(role: object, text: str) -> str:
    """The text as it is, unless it holds reasoning: what is left of it then has no edge to keep."""
    if role == "assistant":
        left = seen(text)
        if left != text.strip():
            return left
    return text


def _form(role: object, content: Any, fields: Fields, of_call: Any, *, skip: frozenset[str]) -> bytes:
    calls = fields.get("tool_calls")
    rest = {
        name: _identified(value) if name == "audio" else value
        for name, value in fields.items()
        if name not in _STRUCTURED and name not in skip and not _is_empty(value)
    }
    form: tuple[Any, ...] = (role, None if _is_empty(content) else content)
    if rest or not _is_empty(calls):
        calls = None if _is_empty(calls) else calls
        form = (*form, [of_call(call) for call in calls] if type(calls) is list else calls, rest)
    return _encode(form if len(form) > 2 or form[1] is not None else (role, ""))


def _is_empty(value: Any) -> bool:
    return value is None or (type(value) in (str, list, dict) and not value)


def is_text(part: Any) -> bool:
    """Is this part of a content a text?"""
    return type(part) is dict and part.get("type") == "text" and type(part.get("text")) is str


def _merged(parts: list[Any], of_text: Callable[[str], str]) -> Any:
    """Parts with the images by their bytes; a list of nothing but text is the text itself."""
    if all(map(is_text, parts)):
        return "\n".join(part["text"] for part in parts)
    return [_part(part, of_text) for part in parts]


def _part(part: Any, of_text: Callable[[str], str]) -> Any:
    if is_text(part):
        return {"text": of_text(part["text"])}
    if type(part) is dict and _MARK in part:
        part = {name: value for name, value in part.items() if name != _MARK}
    if type(part) is dict and type(part.get("image_url")) is dict:
        image = part["image_url"]
        return {**part, "image_url": {**image, "url": _image(image.get("url"))}}
    return part


def _image(url: Any) -> Any:
    """A data URL by the hash of its bytes, so that a re-wrapped base64 text is the same image."""
    if type(url) is not str or not url.startswith("data:"):
        return url
    head, found, payload = url.partition(";base64,")
    if not found:
        return url
    digest = _digest(payload)
    return url if digest is None else f"{head};b2,{digest}"


def _digest(payload: str) -> str | None:
    """The hash of what this base64 text holds; None if it is none."""
    hashed = hashlib.blake2b(digest_size=16)
    try:
        parts = _decoded_in_slices(payload) if len(payload) > SLICE else None
        for part in parts or (binascii.a2b_base64(payload),):
            hashed.update(part)
    except ValueError:
        return None
    return hashed.hexdigest()


def _decoded_in_slices(payload: str) -> list[bytes] | None:
    """What a long base64 text holds, as decoding it at once would give it; None where a slice is not what so
    many letters hold, since there is something between them, or an end."""
    parts: list[bytes] = []
    for begin, end in slices(0, len(payload)):
        try:
            parts.append(binascii.a2b_base64(payload[begin:end]))
        except ValueError:
            return None
        if end < len(payload) and len(parts[-1]) * 4 != SLICE * 3:
            return None
    return parts


def _identified(value: Any) -> Any:
    """Audio is sent again by its id alone (OpenAI's rule), so the id is the message's audio."""
    return value["id"] if type(value) is dict and "id" in value else value


def _tool_call_value(call: Any) -> Any:
    return _tool_call(call, _argument_value)


def _tool_call_spelling(call: Any) -> Any:
    return _tool_call(call, lambda arguments: arguments)


def _tool_call(call: Any, of_arguments: Any) -> Any:
    """`index` belongs to the stream and not to the call; a missing type means `function`."""
    if type(call) is not dict:
        return call
    kept = {
        name: value for name, value in call.items() if name not in _NOT_OF_A_CALL and not _is_empty(value)
    }
    kept.setdefault("type", "function")
    function = kept.get("function")
    if type(function) is dict and "arguments" in function:
        told = {name: value for name, value in function.items() if not _is_empty(value)}
        kept["function"] = {**told, "arguments": of_arguments(function["arguments"])}
    return kept


def _argument_value(arguments: Any) -> Any:
    """Arguments as a JSON value; text that is not JSON, or nested too deep, stays text, and no text at all is
    no arguments."""
    if type(arguments) is not str:
        return _plain_numbers(arguments)
    told = arguments.strip().encode() or b"{}"
    try:
        return arguments.strip() if is_too_deep(told) else _plain_numbers(_decode(told))
    except (msgspec.DecodeError, RecursionError):
        return arguments.strip()


def _plain_numbers(value: Any) -> Any:
    """`1.0` and `1` are one JSON value: JavaScript clients write the first as the second."""
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is list:
        return [_plain_numbers(item) for item in value]
    if type(value) is dict:
        return {name: _plain_numbers(item) for name, item in value.items()}
    return value


def call_ids(fields: Fields) -> Iterable[str]:
    """The ids of the tool calls that the message makes."""
    calls = fields.get("tool_calls")
    if type(calls) is not list:
        return ()
    return [call["id"] for call in calls if type(call) is dict and type(call.get("id")) is str]


def call_forms(fields: Fields) -> frozenset[bytes]:
    """The tool calls that the message makes, each by what makes it that call: id, name and arguments."""
    made = fields.get("tool_calls")
    return frozenset(map(call_form, made)) if type(made) is list else frozenset()


def are_respelled(one: Fields, other: Fields) -> bool:
    """Do both messages make the same calls, by ids of which one is the other in another spelling, or missing?

    Clients cut ids to what a provider takes (Mistral's nine letters and digits), and make up missing ones.
    """
    calls, others = one.get("tool_calls"), other.get("tool_calls")
    if type(calls) is not list or type(others) is not list or len(calls) != len(others):
        return False
    return all(map(_is_respelled, calls, others))


def _is_respelled(call: Any, other: Any) -> bool:
    if type(call) is not dict or type(other) is not dict:
        return bool(call == other)
    one, two = (_NOT_IN_IDS.sub("", str(each.get("id") or "")).lower() for each in (call, other))
    if one not in two and two not in one:
        return False
    return call_form({**call, "id": None}) == call_form({**other, "id": None})


def call_form(call: Any) -> bytes:
    """The bytes that are equal for two calls exactly when they are the same one: id, name and arguments as a
    JSON value, whatever other fields a client has lost."""
    if type(call) is not dict:
        return _encode(call)
    told: Any = call.get("function")
    if type(told) is dict:
        told = (told.get("name"), _argument_value(told.get("arguments") or ""))
    return _encode((call.get("id") or None, told or call.get("custom")))
