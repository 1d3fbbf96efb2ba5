"""A request body, read once for all rules."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

Fields = dict[str, Any]


@dataclass(frozen=True)
class Request:
    """The fields of a body. What is no list of objects is left to the rule that refuses it."""

    fields: Fields

    @cached_property
    def messages(self) -> list[Fields]:
        found = self.fields.get("messages")
        return [each for each in found if isinstance(each, dict)] if isinstance(found, list) else []

    @property
    def roles(self) -> list[Any]:
        return [each.get("role") for each in self.messages]

    @property
    def has_tools(self) -> bool:
        return bool(self.fields.get("tools") or self.fields.get("functions"))

    @property
    def thinks(self) -> bool:
        """Is thinking on? It is unless it is switched off, with the models that demand something back."""
        switch = self.fields.get("thinking")
        return not (isinstance(switch, dict) and switch.get("type") == "disabled")

    def of(self, *roles: str) -> Iterator[tuple[int, Fields]]:
        """The messages of these roles, with their places."""
        return ((at, each) for at, each in enumerate(self.messages) if each.get("role") in roles)

    @property
    def calls(self) -> Iterator[tuple[int, Fields]]:
        """All calls, each with the place of its message."""
        for at, each in self.of("assistant"):
            for call in calls_of(each):
                yield at, call


Rule = Callable[[Request], str | None]


def read(body: bytes) -> Request | None:
    """The request; None if it is none."""
    try:
        fields = json.loads(body)
    except ValueError:
        return None
    return Request(fields) if isinstance(fields, dict) else None


def calls_of(message: Fields) -> list[Fields]:
    made = message.get("tool_calls")
    return [call for call in made if isinstance(call, dict)] if isinstance(made, list) else []


def function_of(call: Fields) -> Fields:
    function = call.get("function")
    return function if isinstance(function, dict) else {}


def results_behind(messages: list[Fields], at: int) -> list[Fields]:
    """The results that follow a message directly."""
    found = []
    for each in messages[at + 1 :]:
        if each.get("role") != "tool":
            break
        found.append(each)
    return found
