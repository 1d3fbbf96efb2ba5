"""A reader of replies that is slow and plain: the rules one by one, with no regard to what they cost.

It says what a reader with common sense makes of a reply to a request for one choice.
"""

from __future__ import annotations

import json
import re
from typing import Any

from tests.fuzz.plain_message import clean, joined

__all__ = ["events", "read"]

NO_REASON = ("", "null", "none", "undefined")
FAILED = {"error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled"}


def events(stream: bytes) -> list[bytes]:
    """The payload of each event."""
    found: list[bytes] = []
    event = _Event()
    for line in [*re.split(rb"\r\n|\n|\r", stream.removeprefix(b"\xef\xbb\xbf")), b""]:
        if line.startswith(b"data:") or line == b"data":
            value = line[5:].removeprefix(b" ")
            if event.bare or event.ends_before(value):
                found += event.end(goes_on=True)
            event.data.append(value)
        elif line == b"":
            found += event.end()
        elif line.startswith(b"event:"):
            event.named_behind = len(event.data) > 0
            event.name = line[6:].strip()
        elif line.startswith(b"error:"):
            found += [*event.end(), _error(line[6:])]
        elif not line.startswith((b":", b"id:", b"retry:")):
            found += event.take_bare(line)
    return found


class _Event:
    """The event whose lines are being read."""

    def __init__(self) -> None:
        self.data: list[bytes] = []
        self.bare: list[bytes] = []
        self.name = b""
        self.named_behind = False  # its data, so that the name is the next one's if there is one

    def ends_before(self, value: bytes) -> bool:
        return value.startswith((b"{", b"[DONE]")) and bool(self.data) and self.data[-1].endswith(b"}")

    def take_bare(self, line: bytes) -> list[bytes]:
        if not self.bare and line.startswith(b"{") and line.rstrip().endswith(b"}"):
            return [*self.end(), line]
        if not self.bare and not line.startswith((b"{", b"[")):
            return []
        ended = [] if self.bare else self.end()
        self.bare.append(line)
        return ended

    def end(self, *, goes_on: bool = False) -> list[bytes]:
        lines, name = self.data or self.bare, self.name
        if not lines:
            return []
        self.name = b""
        if goes_on and self.named_behind:
            self.name, name = name, b""
        self.data, self.bare, self.named_behind = [], [], False
        event = b"\n".join(lines)
        return [_error(event) if name == b"error" else event]


def _error(told: bytes) -> bytes:
    told = told.strip()
    if not told.startswith(b"{"):
        told = json.dumps(told.decode("utf-8", "replace")).encode()
    return told if b'"error"' in told else b'{"error":' + told + b"}"


def read(stream: bytes) -> dict[str, Any]:
    """The reply, if there is one, as (message, finish reason, settled, failed); done; failed."""
    said = _Said()
    done = False
    for payload in events(stream):
        try:
            value = json.loads(payload.decode("utf-8-sig", "replace"), parse_constant=lambda _: None)
        except ValueError:
            done = done or payload.startswith(b"[DONE]")
            continue
        values = value if isinstance(value, list) else [value]
        if all(isinstance(each, dict) for each in values):
            for chunk in values:
                choices = chunk.get("choices")
                for choice in choices if isinstance(choices, list) else [choices]:
                    if isinstance(choice, dict):
                        said.take(choice)
                said.error = said.error or _tells_error(chunk)
    return {"done": done, "failed": said.error, "replies": [said.reply()] if said.begun else []}


class _Said:
    """What the choices said so far."""

    def __init__(self) -> None:
        self.deltas: list[dict[str, Any]] = []
        self.wholes: dict[int, dict[str, Any]] = {}
        self.begun = self.early = self.failed = self.error = False
        self.reason: str | None = None

    def take(self, choice: dict[str, Any]) -> None:
        delta, whole, index = choice.get("delta"), choice.get("message"), choice.get("index")
        index = _place(index)
        error = choice.get("error")
        if isinstance(delta, dict):
            self.begun = True
            delta = dict(delta)
            if delta.pop("error", None):
                self.error = self.failed = True
            says = any(delta[key] for key in delta if key != "role")
            self.early = self.early or (self.reason is not None and says)
            self.deltas.append(delta)
        if isinstance(whole, dict):
            self.begun = True
            again = not isinstance(delta, dict) and index in self.wholes
            self.early = self.early or (self.reason is not None and again)
            self.wholes[index] = whole
        reason = choice.get("finish_reason")
        if self.begun and isinstance(reason, str) and reason.lower() not in NO_REASON:
            self.reason = reason
        if error:
            self.error, self.failed = True, self.failed or self.begun

    def reply(self) -> tuple[dict[str, Any], str | None, bool, bool]:
        told = any(
            value is not None or key == "content" for delta in self.deltas for key, value in delta.items()
        )
        if told or not self.wholes:
            message = joined(self.deltas, finished=self.reason is not None)
        elif len(self.wholes) == 1 and not _has_odd_calls(next(iter(self.wholes.values()))):
            message = {**next(iter(self.wholes.values())), "role": "assistant"}
        else:
            message = joined([self.wholes[index] for index in sorted(self.wholes)], finished=True)
        settled = self.reason is not None and not self.early
        failed = self.failed or self.reason in FAILED
        reason = None if self.reason is None else self.reason.encode("utf-8", "replace").decode()
        return clean(message), reason, settled, failed


def _place(index: Any) -> int:
    """Where a whole message stands among the parts of a reply."""
    if type(index) is str and index.isdecimal() and len(index) < 8:
        index = int(index)
    if type(index) is float and index.is_integer():
        index = int(index)
    return index if type(index) is int and 0 <= index < 128 else 0


def _tells_error(chunk: dict[str, Any]) -> bool:
    if chunk.get("error"):
        return True
    if chunk.get("choices"):
        return False
    base = chunk.get("base_resp")
    if isinstance(base, dict) and not _is_fine(base.get("status_code")):
        return True
    if chunk.get("usage"):
        return False
    if chunk.get("object") == "error" or chunk.get("type") == "error" or chunk.get("success") is False:
        return True
    if chunk.get("status") in ("error", "failed", "failure") or isinstance(chunk.get("message"), str):
        return True
    if isinstance(chunk.get("msg"), str) and not _is_fine(chunk.get("code")):
        return True
    names = ("detail", "errors", "fault", "error_msg", "error_message", "errorMessage", "Error")
    return any(chunk.get(name) for name in names)


def _is_fine(code: Any) -> bool:
    return code in (None, "", 0, 200, "0", "200", "success", "ok", "OK")


def _has_odd_calls(message: dict[str, Any]) -> bool:
    calls = message.get("tool_calls")
    if not calls:
        return False
    return not isinstance(calls, list) or not all(map(_is_sendable, calls))


def _is_sendable(call: Any) -> bool:
    if not isinstance(call, dict) or "index" in call or not isinstance(call.get("id", ""), str):
        return False
    function = call.get("function")
    if call.get("type") != "function":
        return bool(call.get("type"))
    return (
        isinstance(function, dict)
        and isinstance(function.get("arguments"), str)
        and function["arguments"] != ""
    )
