"""The programs of the guides, as they stand there, with the libraries that they are about."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.neighbours.libraries import Front, Libraries, agents
from tests.e2e.program import plain_environment
from tests.e2e.stored import tree
from tests.guides import only
from tests.proxy.mock_upstream import Upstream, says

ASKED = ("How warm is it in Rome?", "What did I ask?")
ANSWERS = ("It is warm.", "How warm it is.")
KEPT = [ASKED[0], " (calls call_1)", "result of call_1", ANSWERS[0], ASKED[1], ANSWERS[1]]


@pytest.fixture
def script(upstream: Upstream) -> None:
    upstream.only_chats = True
    function = {"name": "temperature", "arguments": json.dumps({"city": "Rome"})}
    call = {"index": 0, "id": "call_1", "type": "function", "function": function}
    upstream.will(says(None, tool_calls=[call], finish="tool_calls"), *map(says, ANSWERS))


def said(upstream: Upstream) -> list[Any]:
    """The contents of the last request, without the system message."""
    messages = upstream.last.json["messages"]
    return [each["content"] or None for each in messages if each["role"] != "system"]


async def run(*command: str, folder: Path) -> list[str]:
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        cwd=folder,
        env=plain_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@pytest.mark.usefixtures("script")
async def test_that_of_the_agents_sdk_does_what_it_says(front: Front, upstream: Upstream, tmp_path: Path):
    address = front.base_url.removesuffix("/v1")
    (tmp_path / "guide.py").write_text(only("agents-sdk", "python", address))
    told = await run(str(agents() / "python"), "guide.py", folder=tmp_path)
    kinds = ["message", "function_call", "function_call_output", *["message"] * 3]
    assert told == [*ANSWERS, str(kinds)]
    assert said(upstream) == [ASKED[0], None, "21 degrees in Rome", ANSWERS[0], ASKED[1]]
    assert tree(await front.only()) == KEPT


@pytest.mark.usefixtures("script")
async def test_that_of_the_ai_sdk_does_what_it_says(
    front: Front,
    upstream: Upstream,
    libraries: Libraries,
):
    address = front.base_url.removesuffix("/v1")
    home = libraries.beside_packages()
    (home / "guide.mjs").write_text(only("ai-sdk", "js", address))
    assert await run("node", "guide.mjs", folder=home) == [*ANSWERS]
    assert said(upstream) == [ASKED[0], None, "21 degrees in Rome", ANSWERS[0], ASKED[1]]
    assert tree(await front.only()) == KEPT
