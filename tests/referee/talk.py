"""Messages of a talk with tools, to be refused or not."""

from __future__ import annotations

import json
from typing import Any

from tests.referee.demands import SIGNED

Fields = dict[str, Any]
TOOLS = [
    {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": {}}}}
    for name in ("look", "count")
]
SYSTEM = {"role": "system", "content": "Be brief."}


def user(text: Any = "hi", **more: Any) -> Fields:
    return {"role": "user", "content": text, **more}


def says(text: Any = "hello", **more: Any) -> Fields:
    return {"role": "assistant", "content": text, **more}


def call(id: str = "callabc01", arguments: Any = "{}", name: Any = "look", **more: Any) -> Fields:
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}, **more}


def signed(*of: Fields) -> list[Fields]:
    """The first of these calls as Gemini makes it."""
    first, *others = of
    signature = {"google": {"thought_signature": f"{SIGNED}{first['id']}"}}
    return [{**first, "extra_content": signature}, *others]


def calls(*made: Fields, text: Any = "let me see", **more: Any) -> Fields:
    return {"role": "assistant", "content": text, "tool_calls": list(made or (call(),)), **more}


def result(id: str = "callabc01", text: Any = "42", **more: Any) -> Fields:
    return {"role": "tool", "tool_call_id": id, "content": text, **more}


def body(*messages: Any, tools: Any = TOOLS, **more: Any) -> bytes:
    given = {"model": "m", "messages": list(messages), **({"tools": tools} if tools else {}), **more}
    return json.dumps(given).encode()
