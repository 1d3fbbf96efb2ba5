"""What the guides show of programs, settings and data: it runs, is taken, and is so."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from sidecar import cli
from sidecar.server.serve import running
from sidecar.settings import Settings, load
from tests import docs
from tests.guides import SIDECAR, blocks, curls, run_curl, text_of
from tests.proxy.client import Sidecar
from tests.proxy.conftest import sidecar as sidecar
from tests.proxy.conftest import start as start
from tests.proxy.conftest import upstream as upstream
from tests.proxy.mock_upstream import Upstream, says
from tests.proxy.process import clean_environment

_CALL = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "temperature", "arguments": '{"city": "Rome"}'},
}


async def agent(folder: Path, url: str, *arguments: str) -> list[str]:
    """What the program of the guide prints."""
    (program,) = (each for each in blocks("clients", "python") if "def send" in each)
    (folder / "agent.py").write_text(program.replace(SIDECAR, url))
    done = await asyncio.to_thread(
        subprocess.run,
        (sys.executable, "agent.py", *arguments),
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


async def test_the_thin_agent_gets_its_history(sidecar: Sidecar, upstream: Upstream, tmp_path: Path):
    upstream.will(
        says(None, finish="tool_calls", tool_calls=[_CALL]), says("It is warm."), says("About Rome.")
    )
    assert await agent(tmp_path, sidecar.url, "ada", "sk-ada", "run-1") == ["It is warm.", "About Rome."]
    system, *history = upstream.last.json["messages"]
    assert system["role"] == "system"
    assert [each.get("content") for each in history] == [
        *("What is the temperature in Rome?", None, "21 degrees in Rome", "It is warm.", "What did I ask?")
    ]
    assert history[1]["tool_calls"] == [_CALL]


async def test_in_front_of_the_demo_it_prints_what_the_guide_says_for_each_user(tmp_path: Path):
    (shown,) = re.findall(r"<!-- agent: .*-->\n```\n(.*?)```", text_of("clients"), re.DOTALL)
    settings = Settings(listen="127.0.0.1:0", store=f"sqlite:///{tmp_path}/sidecar.db")
    async with running(settings) as address:
        for user in ("ada", "grace"):
            assert await agent(tmp_path, address, user, f"sk-{user}", "run-1") == shown.splitlines()


@pytest.mark.usefixtures("undisturbed")
async def test_the_tree_of_the_worked_example_is_what_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    store = f"sqlite:///{tmp_path}/sidecar.db"
    commands = [*curls(docs.README.read_text("utf-8")), *curls(text_of("data"))]
    async with running(Settings(listen="127.0.0.1:0", store=store)) as address:
        *_, said = [await run_curl(arguments, address) for arguments in commands]
    assert said["headers"]["X-Sidecar-Outcome"] == "branch"
    await asyncio.to_thread(cli.main, ["export", "--store", store])
    messages = json.loads(capsys.readouterr().out)["messages"]
    shown = re.findall(r"^([ │├└─]*)(\S.*?)(?:…)? {2,}(user|assistant)", text_of("data"), re.MULTILINE)
    assert len(shown) == len(messages) == 6
    depths = {None: -1}
    for message in messages:
        depths[message["id"]] = depths[message["parent"]] + 1
    kept = [(depths[each["id"]], each["message"]["content"], each["role"]) for each in messages]
    for lead, text, role in shown:
        assert any(
            (depth, by) == (len(lead) // 4, role) and content.startswith(text) for depth, content, by in kept
        ), text


@pytest.mark.usefixtures("undisturbed")
@pytest.mark.parametrize("guide", ["settings", "backends"])
def test_settings_that_a_guide_shows_are_taken(guide: str, tmp_path: Path):
    shown = blocks(guide, "toml")
    assert shown
    for text in shown:
        file = tmp_path / "sidecar.toml"
        file.write_text(text)
        assert load({"config": str(file)}) != Settings()
