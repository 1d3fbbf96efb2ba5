"""What the guides show of programs, settings and data: it runs, is taken, and is so."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web

from sidecar import cli
from sidecar.server.serve import running
from sidecar.settings import Settings, load
from tests import docs
from tests.guides import SIDECAR, blocks, curls, delete_old_chats, run_curl, text_of
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


@contextlib.asynccontextmanager
async def open_webui(chats: dict[str, dict[str, int]]) -> AsyncIterator[str]:
    """A stand-in for Open WebUI 0.12, which has these chats (when each was changed) of these users: two a
    page, the newest first."""

    async def users(request: web.Request) -> web.Response:
        assert request.headers["Authorization"] == "Bearer sk-admin"
        return web.json_response({"users": [{"id": id, "email": f"{id}@example.com"} for id in chats]})

    async def page(request: web.Request) -> web.Response:
        newest = sorted(chats[request.match_info["user"]].items(), key=lambda each: -each[1])
        first = 2 * (int(request.query["page"]) - 1)
        return web.json_response(
            [{"id": id, "updated_at": changed} for id, changed in newest[first : first + 2]]
        )

    async def delete(request: web.Request) -> web.Response:
        for of_user in chats.values():
            of_user.pop(request.match_info["chat"], None)
        return web.json_response(data=True)

    app = web.Application()
    app.router.add_get("/api/v1/users/all", users)
    app.router.add_get("/api/v1/chats/list/user/{user}", page)
    app.router.add_delete("/api/v1/chats/{chat}", delete)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def test_of_every_user_the_old_chats_of_all_pages_are_deleted_in_open_webui(tmp_path: Path):
    day, now = 86_400, int(time.time())
    chats = {
        "ada": {f"a{days}": now - days * day for days in (1, 29, 31, 40, 50, 60, 70)},
        "bob": {"b1": now},
        "carl": {},
    }
    async with open_webui(chats) as url:
        assert await delete_old_chats(tmp_path, url, "sk-admin", "30") == [
            "ada@example.com: 5 chats deleted",
            "bob@example.com: 0 chats deleted",
            "carl@example.com: 0 chats deleted",
        ]
    assert {user: [*ids] for user, ids in chats.items()} == {"ada": ["a1", "a29"], "bob": ["b1"], "carl": []}
