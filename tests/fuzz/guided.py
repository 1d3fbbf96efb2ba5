"""Replies made of real ones by small changes; those that reach new code are changed further.

The corpus is what servers are known to send (`tests/dialects`). What must hold of each is `streams.one`.
"""

from __future__ import annotations

import json
import random
import sys
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import sidecar.dialects
from sidecar.dialects.chat.assembly import from_body
from tests.dialects.gateways import GATEWAYS
from tests.dialects.transcripts import TRANSCRIPTS
from tests.fuzz.process import Findings
from tests.fuzz.streams import one

__all__ = ["Coverage", "changed", "run"]

_WATCHED = str(Path(sidecar.dialects.__file__).parent)
_LOOK = 16  # of so many replies one is looked at for the code that it reaches: that takes ten times as long
_LONGEST = 4000  # bytes; longer ones reach nothing else, and take longer

_EVENT = b"data: "
_BYTES = (
    *(b"\n", b"\n\n", b"\r", b"\r\n", b"\xef\xbb\xbf", b"\xf0\x9f", b"\xff", b"\0", b"\\ud83d", b"\\"),
    *(b"data:", b"data: ", b"event: error\n", b"error: ", b": ", b"id: 1\n", b"retry: 1\n", b"[DONE]"),
    *(b"{", b"}", b"[", b"]", b",", b'"', b"null", b"NaN", b"{}", b'{"error":1}'),
    *(b"data: {}\n\n", b"data: [DONE]\n\n"),
)
_KEYS = (
    *("role", "content", "tool_calls", "function_call", "function", "name", "arguments", "index", "id"),
    *("delta", "message", "finish_reason", "error", "choices", "usage", "model", "text", "thinking"),
    *("reasoning", "reasoning_content", "reasoning_details", "thinking_blocks", "reasoning_opaque"),
    *("custom", "detail", "msg", "code", "base_resp", "status_code", "success", "status", "type", "x"),
    *("extra_content", "refusal", "signature"),
)
_VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 1.0, -1, 7, 0.5, 2**70, "", "a", "0", "1", "{}", "null", '""', '{"a":', "1}"),
    *("stop", "tool_calls", "function", "assistant", "\ud83d", "\ude00", "thinking", "text", "error", "f"),
    *([], {}, ["a"], {"a": 1}, [{}], [{"type": "text", "text": "a"}]),
    [{"type": "thinking", "thinking": "a"}],
)


def run(seconds: float, seed: int, most: int = 0, check: Callable[[bytes], None] = one) -> Findings:
    """Change replies for so long, or `most` of them; end with the first that fails."""
    found, chance, coverage = Findings(), random.Random(seed), Coverage()
    corpus = [transcript.stream for transcript in (*TRANSCRIPTS, *GATEWAYS)]
    for each in corpus:
        coverage.is_new(each)
    end = time.monotonic() + seconds
    while not found.tried or (found.tried < most if most else time.monotonic() < end):
        data = changed(chance, chance.choice(corpus), corpus)
        found.tried += 1
        try:
            check(data)
        except Exception as error:  # whatever it is, it is a finding
            found.faults.append(f"--seed {seed}: {error!r}\n{data!r}"[:4000])
            break
        if found.tried % _LOOK == 0 and len(data) <= _LONGEST and coverage.is_new(data):
            corpus.append(data)
    return found


class Coverage:
    """Which steps from line to line have been taken, in the code that reads replies."""

    def __init__(self) -> None:
        self.steps: set[tuple[CodeType, int, int]] = set()

    def is_new(self, data: bytes) -> bool:
        """Does this reply take a step that none before it did?"""
        known = len(self.steps)
        before = sys.gettrace()
        sys.settrace(self._enter)
        try:
            from_body(data)
        finally:
            sys.settrace(before)
        return len(self.steps) > known

    def _enter(self, frame: FrameType, _event: str, _arg: Any) -> Callable[..., Any] | None:
        if not frame.f_code.co_filename.startswith(_WATCHED):
            return None
        code, steps, at = frame.f_code, self.steps, 0

        def line(frame: FrameType, event: str, _arg: Any) -> Callable[..., Any]:
            nonlocal at
            if event == "line":
                steps.add((code, at, frame.f_lineno))
                at = frame.f_lineno
            return line

        return line


def changed(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """The reply with a few things changed in its bytes, its events, or the JSON in them."""
    for _ in range(chance.choice((1, 1, 2, 3, 5))):
        data = chance.choice((_bytes, _events, _json, _json, _json))(chance, data, others)
    return data


def _bytes(chance: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    at = chance.randrange(len(data) + 1)
    end = min(len(data), at + chance.choice((0, 0, 1, 4, 40)))
    put = chance.choice((b"", chance.choice(_BYTES), chance.choice(_BYTES), data[at:end] * 2))
    return data[:at] + put + data[end:] if chance.random() < 0.9 else data[:at]


def _events(chance: random.Random, data: bytes, others: list[bytes]) -> bytes:
    events = data.split(_EVENT)
    at, other = chance.randrange(len(events)), chance.randrange(len(events))
    match chance.randrange(6):
        case 0:
            del events[at]
        case 1:
            events.insert(at, events[other])
        case 2:
            events[at], events[other] = events[other], events[at]
        case 3:
            events.insert(at, chance.choice(chance.choice(others).split(_EVENT)))
        case 4:
            end = chance.choice((b"\n", b"\r", b"\r\n", b"\r\n\r\n"))
            events = [each.replace(b"\n\n", end) for each in events]
        case _:
            events[at:at] = [events[other]] * chance.choice((2, 12))
    return _EVENT.join(events)


def _json(chance: random.Random, data: bytes, _others: list[bytes]) -> bytes:
    events = data.split(_EVENT)
    at = chance.randrange(len(events))
    body, end = events[at].rstrip(), events[at][len(events[at].rstrip()) :]
    try:
        value = json.loads(body)
    except ValueError:
        return data
    places = list(_places(value))
    if not places:
        return data
    where, key = chance.choice(places)
    match chance.randrange(5):
        case 0:
            where[key] = deepcopy(chance.choice(_VALUES))
        case 1:
            other, name = chance.choice(places)
            where[key] = deepcopy(other[name])
        case 2 if isinstance(where, dict):
            where[chance.choice(_KEYS)] = where.pop(key)
        case 3 if isinstance(where, dict):
            where[chance.choice(_KEYS)] = deepcopy(chance.choice(_VALUES))
        case 3:
            where.append(deepcopy(where[key]))
        case _:
            del where[key]
    events[at] = json.dumps(value, ensure_ascii=chance.random() < 0.5).encode("utf-8", "replace") + end
    return _EVENT.join(events)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every member and element of a value, at any depth, as (what it is in, under which key)."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for key in keys:
        yield value, key
        yield from _places(value[key])
