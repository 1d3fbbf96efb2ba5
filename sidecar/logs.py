"""Log lines on standard error: text for people, JSON for machines.

Rule: whatever the format, one event is one line (in text a traceback follows, indented), `extra` fields
stand beside the message, and nothing that looks like a credential gets out.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, TextIO

from sidecar.printable import printable

__all__ = ["EXCHANGES", "configure", "say_seldom"]

#: The logger that has a line of each exchange, of the level "info"; see `configure`.
EXCHANGES = "sidecar.exchange"

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_HIDDEN_FIELDS = re.compile(r"authorization|api.?key|secret|password|cookie|token$", re.IGNORECASE)
_MAX_FIELD_LENGTH = 500  # characters of one field
# The last is the token in the address of the inspector.
_CREDENTIAL = re.compile(
    r"\b(Bearer\s+(?=[\w.~+/=-]{8})|sk-(?=[\w.~+/=-]{8})|inspect(?:/|%2f)*(?=[\w-]{43}(?![\w-])))[\w.~+/=-]+",
    re.IGNORECASE,
)
# Some clients put their key there, under names and in spellings without end; the rest of it is no loss.
_QUERY = re.compile(r"\?[^\s?\"'<>=]{0,100}=[^\s\"'<>]*")
_PLAIN = re.compile(r"[^\s\"'=\\]+")


def configure(level: str, format: str, *, requests: bool = False) -> None:
    """Say events of at least `level` (debug, info, warning, error) in `format` (text, json).

    `level` is for the tree `sidecar.*`; libraries are heard from "warning" on. `requests`: the lines of
    exchanges, whatever the level; else they belong to "debug". The last call counts.
    """
    root = logging.getLogger()
    for former in [each for each in root.handlers if isinstance(each, _Handler)]:
        root.removeHandler(former)
    handler = _Handler(sys.stderr)
    handler.setFormatter(_Line(_json if format == "json" else _text))
    root.addHandler(handler)
    logging.getLogger("sidecar").setLevel(level.upper())
    is_told = requests or level == "debug"
    logging.getLogger(EXCHANGES).setLevel(logging.INFO if is_told else logging.WARNING)


def say_seldom(name: str, every: float) -> None:
    """Of what the logger `name` has to say, say one event in so many seconds, and how many there were beside
    it: for a library that tells each try of something that fails for hours."""
    logger = logging.getLogger(name)
    for former in [each for each in logger.filters if isinstance(each, _Seldom)]:
        logger.removeFilter(former)
    logger.addFilter(_Seldom(every))


class _Seldom(logging.Filter):
    def __init__(self, every: float) -> None:
        super().__init__()
        self._every, self._next, self._left_out = every, 0.0, 0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            self._left_out += 1
            return False
        if self._left_out:
            vars(record)["left_out"] = self._left_out
        self._next, self._left_out = now + self._every, 0
        return True


class _Handler(logging.StreamHandler[TextIO]):
    """Ours, so that a second `configure` knows what to take away."""


class _Line(logging.Formatter):
    """What both formats share: the traceback."""

    def __init__(self, line: Callable[[logging.LogRecord, str], str]) -> None:
        super().__init__()
        self._line = line

    def format(self, record: logging.LogRecord) -> str:
        trace = self.formatException(record.exc_info) if record.exc_info else ""
        return self._line(record, _safe(trace))


def _safe(text: str) -> str:
    """The same without what looks like a credential. To be used before the text is quoted: what is taken out
    of a line may hold the end of a quotation."""
    return _QUERY.sub("?(hidden)", _CREDENTIAL.sub(r"\1(hidden)", text))


def _text(record: logging.LogRecord, trace: str) -> str:
    """`2026-01-31T12:00:00.000+00:00 info sidecar.store: opened path=sidecar.db`"""
    words = [
        _time(record),
        record.levelname.lower(),
        f"{record.name}:",
        printable(_safe(record.getMessage())),
        *(f"{name}={_shown(value)}" for name, value in _fields(record).items()),
    ]
    return "\n    ".join([" ".join(words), *trace.splitlines()])


def _json(record: logging.LogRecord, trace: str) -> str:
    """One object: time, level, logger, message, the extra fields, exception where there is one."""
    event: dict[str, Any] = {
        "time": _time(record),
        "level": record.levelname.lower(),
        "logger": record.name,
        "message": _safe(record.getMessage()),
    }
    if trace:
        event["exception"] = trace
    for name, value in _fields(record).items():
        event.setdefault(name, value)
    return json.dumps(event)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    return {
        name: "(hidden)" if _HIDDEN_FIELDS.search(name) else _clean(value)
        for name, value in vars(record).items()
        if name not in _STANDARD
    }


def _time(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")


def _clean(value: Any) -> Any:
    """The value, and what it holds, as text where JSON has nothing for it."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    if isinstance(value, dict):
        return {_clean(name): _clean(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_clean(each) for each in value]
    return _safe(_short(str(value)))


def _short(text: str) -> str:
    """A long text, which only a client or an upstream can have written, by its beginning."""
    if len(text) <= _MAX_FIELD_LENGTH:
        return text
    return f"{text[:_MAX_FIELD_LENGTH]}… ({len(text)} characters)"


def _shown(value: Any) -> str:
    text = str(value)
    return printable(text if _PLAIN.fullmatch(text) else json.dumps(text, ensure_ascii=False))
