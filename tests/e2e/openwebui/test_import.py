"""A chat that began before there was a sidecar: imported, it goes on as if it had always been there."""

from __future__ import annotations

import asyncio
import re
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.e2e.openwebui.conftest import House
from tests.e2e.openwebui.server import KEY
from tests.e2e.stored import exported, tree

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def imported(house: House) -> str:
    """Import all chats into the running sidecar's store; what the command said of it."""
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "import", "openwebui", str(house.open_webui.folder / "webui.db")),
        *("--store", f"sqlite:///{house.store}", "--credential", KEY),
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
    )
    _, err = await running.communicate()
    assert running.returncode == 0, err.decode()
    return err.decode()


async def outcomes(house: House) -> dict[str, float]:
    """How many requests there were of each outcome."""
    async with (
        aiohttp.ClientSession() as http,
        http.get(house.sidecar.url.replace("ready", "metrics")) as response,
    ):
        found = re.findall(r'^sidecar_requests_total\{outcome="(\w+)"\} (\S+)', await response.text(), re.M)
    return {name: float(count) for name, count in found}


async def test_a_chat_from_before_the_sidecar_is_continued(house: House):
    async with house.connected_to(f"http://127.0.0.1:{house.model.port}/v1"):
        chat = await house.chat()
        await chat.send("First? [tools]")
        await chat.send("Second?")
        await chat.regenerate()
    assert chat.id not in {each["conversation"]["key"] for each in await house.kept()}
    shown = await chat.shown()

    await imported(house)
    assert "new: 0 conversations, 0 messages" in await imported(house)

    before = await outcomes(house)
    await chat.open(chat.id)
    await chat.send("Third?")
    await chat.regenerate()
    after = await outcomes(house)
    changed = {
        name: after[name] - before.get(name, 0) for name in after if after[name] != before.get(name, 0)
    }
    assert {name: changed.get(name) for name in ("continue", "retry", "branch", "start", "unanchored")} == {
        "continue": 1,
        "retry": 1,
        "branch": None,
        "start": None,
        "unanchored": None,
    }
    (kept,) = [each for each in await exported(house.store) if each["conversation"]["key"] == chat.id]
    first, *answer, second, left, right = tree(kept)
    assert (first, second, left) == ("First? [tools]", "Second?", ["Answer 4 by model-a."])
    assert right[:2] == ["Answer 5 by model-a.", "Third?"]
    assert [each[0] for each in right[2:]] == ["Answer 6 by model-a.", "Answer 7 by model-a."]
    assert len(answer) == 6, "three replies and three results of tools"
    assert shown[0] == "First? [tools]"
    assert "new: 0 conversations, 0 messages" in await imported(house)
