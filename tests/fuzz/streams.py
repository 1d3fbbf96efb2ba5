"""Replies of any kind; `one` fails where the assembler reads anything else in one than `plain`, or raises."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

from sidecar.dialects.chat.assembly import Assembler, from_body, from_stream
from sidecar.dialects.chat.done_marker import Ending, UnnamedEnding
from sidecar.dialects.chat.first_event import Opening
from sidecar.dialects.sse import Decoder, payloads
from tests.fuzz.plain import events, read
from tests.fuzz.sent_again import sent_again

__all__ = ["ANY", "CHUNKS", "STREAMS", "one"]


def one(data: bytes) -> None:
    """Check one reply, as whole and in two pieces: whatever it is, nothing raises and nothing is lost."""
    from_body(data)
    assert payloads(data) == events(data), data
    said = from_stream(data)
    expected = read(data)
    found = [
        (json.loads(reply.message), reply.finish_reason, reply.settled, reply.failed)
        for reply in said.replies
    ]
    assert found == expected["replies"], (data, found, expected["replies"])
    for reply in said.replies:
        sent_again(reply.message)
    assert said.done == expected["done"], data
    assert (said.error is not None) == expected["failed"], (data, said.error)
    decoder, assembler = Decoder(), Assembler()
    for piece in (data[: len(data) // 2], data[len(data) // 2 :]):
        for payload in decoder.feed(piece):
            assembler.add(payload)
    for payload in decoder.close():
        assembler.add(payload)
    assert assembler.result() == said, data
    step = max(7, len(data) // 40)
    pieces = [data[at : at + step] for at in range(0, len(data), step)]
    for ending in (Ending(), UnnamedEnding()):
        assert b"".join(map(ending.feed, pieces)) + ending.held == data
    opening = Opening()
    for piece in pieces:
        if opening.feed(piece) != "open":
            break
    else:
        assert opening.close() != "open"


# ---- replies made at random

WORDS = [
    "role",
    "id",
    "type",
    "content",
    "tool_calls",
    "function_call",
    "function",
    "name",
    "arguments",
    "index",
]
MORE = ["reasoning_details", "thinking_blocks", "thinking", "text", "signature", "error", "custom", "x"]
ANY: st.SearchStrategy[Any] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    # Those with an exponent are one number in several spellings, and any may be kept.
    | st.sampled_from([0.5, -1.0, 2.25, float("inf"), float("nan")])
    | st.sampled_from(
        ["", "a", "{}", "f", '{"a":', "1}", "text", "thinking", "0", "1", "error", "\ud83d", "\ude00", 2**70]
    ),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*WORDS, *MORE]), inner, max_size=4)
    ),
    max_leaves=12,
)


def _mostly(usual: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.integers(0, 7).flatmap(lambda odd: usual if odd else ANY)


_FUNCTIONS = st.fixed_dictionaries(
    {},
    optional={
        "name": _mostly(st.sampled_from(["f", "g", "fg", ""])),
        "arguments": _mostly(st.sampled_from(["", "{}", '{"a":', "1}", '{"a":1}', '"', "\\", "null"])),
    },
)
_CALLS = st.fixed_dictionaries(
    {"function": _mostly(_FUNCTIONS)},
    optional={
        "index": _mostly(st.integers(0, 2)),
        "id": _mostly(st.sampled_from(["a", "b", ""])),
        "type": _mostly(st.sampled_from(["function", "custom", ""])),
    },
)
_PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "thinking", "image"])},
    optional={"text": st.text(max_size=2), "thinking": ANY, "index": st.integers(0, 1), "signature": ANY},
)
_DELTAS = st.fixed_dictionaries(
    {},
    optional={
        "role": _mostly(st.just("assistant")),
        "content": _mostly(st.text(max_size=3) | st.lists(_PARTS, max_size=2)),
        "reasoning": _mostly(st.text(max_size=3)),
        "tool_calls": _mostly(st.lists(_CALLS, max_size=3)),
        "function_call": _mostly(_FUNCTIONS),
        "reasoning_details": _mostly(st.lists(_PARTS, max_size=2)),
        "thinking_blocks": _mostly(st.lists(_PARTS, max_size=2)),
        "error": st.none() | ANY,
    },
)
_CHOICES = st.fixed_dictionaries(
    {},
    optional={
        "index": _mostly(st.integers(0, 1)),
        "delta": _mostly(_DELTAS),
        "message": _mostly(_DELTAS),
        "finish_reason": _mostly(st.sampled_from(["stop", "null", "error", "tool_calls", None])),
        "error": ANY,
    },
)
_CALLING = st.lists(_CALLS, min_size=1, max_size=2).map(
    lambda calls: {"choices": [{"index": 0, "delta": {"tool_calls": calls}}]}
)
CHUNKS = _CALLING | st.fixed_dictionaries(
    {"choices": st.lists(_CHOICES, min_size=1, max_size=3)},
    optional={"usage": ANY, "error": ANY, "detail": ANY, "model": ANY},
)
_CODES = _mostly(st.sampled_from([0, 200, "0", "ok", 500, "1008"]))
_TOLD = st.fixed_dictionaries(
    {},
    optional={
        "choices": st.sampled_from([None, []]),
        "usage": ANY,
        "base_resp": _mostly(st.fixed_dictionaries({}, optional={"status_code": _CODES})),
        "code": _CODES,
        "msg": ANY,
        "message": ANY,
        "success": ANY,
        "status": st.sampled_from(["error", "failed", "running", None, 5]),
        "type": st.sampled_from(["error", "ping", None]),
        "error_msg": ANY,
    },
)
_PAYLOADS = _mostly(CHUNKS | _TOLD).map(lambda value: json.dumps(value).encode()) | st.sampled_from(
    [b"[DONE]", b"", b"no JSON", b'{"choices":[{"delta":{"content":"\xf0\x9f"}}]}']
)
_LINES = st.builds(
    lambda field, payload, end: field + payload + end,
    st.sampled_from(
        [b"data: ", b"data: ", b"data:", b"", b"error: ", b"event: error\ndata: ", b": ", b"id: "]
    ),
    _PAYLOADS,
    st.sampled_from([b"\n\n", b"\n\n", b"\n", b"\r\n\r\n", b"\r\n", b"\r", b"\r\r", b""]),
)
#: Bodies of any kind, most of them streams of events.
STREAMS = st.builds(
    lambda start, lines, cut: (start + b"".join(lines))[: cut or None],
    st.sampled_from([b"", b"\xef\xbb\xbf", b"\n"]),
    st.lists(_LINES, max_size=6),
    st.integers(-9, 0),
)
