"""What `sidecar export` tells of a store, drawn so that a test can write down what it expects."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["Branch", "exported", "tree"]

#: A path: texts from the top to the bottom. Where it forks, one list for each branch comes last.
Branch = list[Any]

_LONG = 60


async def exported(store: Path | str) -> list[dict[str, Any]]:
    """Every conversation in this SQLite file, or at this URL, as one line of the export each."""
    url = store if isinstance(store, str) else f"sqlite:///{store}"
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "export", "--store", url),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[2],
    )
    out, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    lines = [json.loads(line) for line in out.splitlines()]
    return [line for line in lines if "conversation" in line]  # else it is an exchange's


def tree(conversation: dict[str, Any]) -> Branch:
    """`["question", "answer", ["again"], ["and differently"]]`: one path, that forks after the answer."""
    return _below(conversation["messages"], None)


def _below(messages: Iterable[dict[str, Any]], parent: str | None) -> Branch:
    messages = list(messages)
    branches = [[_told(each), *_below(messages, each["id"])] for each in messages if each["parent"] == parent]
    return branches[0] if len(branches) == 1 else branches


def _told(entry: dict[str, Any]) -> str:
    message = entry["message"]
    content = message.get("content") or ""
    if isinstance(content, list):
        content = " ".join(part.get("text", f"[{part['type']}]") for part in content)
    if message["role"] == "tool":
        content = f"result of {message['tool_call_id']}"
    marks = [f"calls {each['id']}" for each in message.get("tool_calls") or ()]
    marks += ["reasoning"] if message.get("reasoning_content") else []
    marks += [entry["state"]] if entry["state"] != "complete" else []
    marks += ["edited"] if message["role"] == "assistant" and entry["source"] == "client" else []
    short = content if len(content) <= _LONG else f"{content[: _LONG // 3]}…"
    return " ".join([short.strip(), *(f"({mark})" for mark in marks)])
