"""Conversations by way of a library: read from standard input, what its user got on standard output.

In, a list of: `{"base_url", "model", "headers" (of the client), "call_headers" (of every call), "thin",
"steps": [{"say", "stream", "tool", "stop"}]}`. A thin client sends only what is new. Out, a list for each of
them, with for each step: `{"text", "called"}`, or `{"error": {"status", "message"}}`.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

#: LiteLLM refuses to start with one that is easy to guess.
KEY = "sk-7b1f0e93c5d24a86b0e7d1a4c9f23568"
MODEL = "m"
#: What the tool answers, whatever it is asked.
RESULT = "5 degrees"
TOOL = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "The weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@dataclass
class Got:
    """`message` is the answer as the library wants it back; `calls` are (id, arguments)."""

    message: Any
    text: str
    calls: list[tuple[str, Any]] = field(default_factory=list)


class Failed(Exception):
    """What the library raised, told alike for all."""

    def __init__(self, status: int | None, message: str) -> None:
        super().__init__(message)
        self.status = status


class Library(Protocol):
    def user(self, text: str) -> Any: ...

    def result(self, call: str, text: str) -> Any: ...

    def ask(self, messages: list[Any], step: dict[str, Any]) -> Got: ...


def main(make: Callable[[dict[str, Any]], Library]) -> None:
    print(json.dumps([_conversation(make(asked), asked) for asked in json.load(sys.stdin)]))


def _conversation(library: Library, asked: dict[str, Any]) -> list[dict[str, Any]]:
    history: list[Any] = []
    results = []
    for step in asked["steps"]:
        try:
            results.append(_turn(library, history, step, asked["thin"]))
        except Failed as failed:
            results.append({"error": {"status": failed.status, "message": str(failed)}})
        if step["stop"]:
            time.sleep(0.5)  # nobody types faster
    return results


def _turn(library: Library, history: list[Any], step: dict[str, Any], thin: bool) -> dict[str, Any]:
    new, called = [library.user(step["say"])], []
    while True:
        got = library.ask(new if thin else [*history, *new], step)
        history += [*new, got.message]
        called += [arguments for _, arguments in got.calls]
        if not got.calls:
            return {"text": got.text, "called": called}
        new = [library.result(id, RESULT) for id, _ in got.calls]
