"""Sidecars on one PostgreSQL, started as people start them."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from aiohttp import ClientSession

from tests.proxy.client import CHAT, named
from tests.proxy.mock_upstream import Upstream
from tests.proxy.process import serving


async def command(*arguments: str, folder: Path) -> tuple[int | None, str, str]:
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=folder,
    )
    out, err = await asyncio.wait_for(running.communicate(), 60)
    return running.returncode, out.decode(), err.decode()


@pytest.fixture
async def replicas(postgres_url: str, upstream: Upstream, tmp_path: Path):
    """The addresses of two."""
    flags = ("--upstream", upstream.url, "--store", postgres_url)
    async with AsyncExitStack() as stack:
        both = [stack.enter_async_context(serving(*flags, folder=tmp_path)) for _ in range(2)]
        yield [each.url for each in await asyncio.gather(*both)]


async def ask(url: str, *messages: dict[str, str], id: str = "a") -> str | None:
    """The outcome, from the response's headers."""
    body = {"model": "m", "messages": list(messages)}
    async with ClientSession() as http, http.post(url + CHAT, json=body, headers=named(id)) as response:
        said = await response.text()  # only what a client has seen finish is in the store
        assert response.status == 200, said
        return response.headers["X-Sidecar-Outcome"]


def user(text: str) -> dict[str, str]:
    return {"role": "user", "content": text}


async def test_a_chat_goes_on_at_whichever_replica_it_comes_to(
    replicas: list[str], upstream: Upstream, postgres_url: str, tmp_path: Path
):
    one, two = replicas
    assert await ask(one, user("1")) == "start"
    assert await ask(two, user("2")) == "append"
    assert upstream.last.said == ["1", "ok", "2"]
    assert await ask(
        one, *upstream.last.json["messages"], {"role": "assistant", "content": "ok"}, user("3")
    ) == ("continue")
    assert await ask(two, user("1"), id="b") == "start"

    code, out, _ = await command("export", "--store", postgres_url, folder=tmp_path)

    told = [json.loads(line) for line in out.splitlines()]
    texts = [[each["message"]["content"] for each in line["messages"]] for line in told if "messages" in line]
    assert (code, texts) == (0, [["1", "ok", "2", "ok", "3", "ok"], ["1", "ok"]])


async def test_an_append_waits_for_the_one_before_it_at_another_replica(
    replicas: list[str], upstream: Upstream
):
    await ask(replicas[0], user("1"))
    await ask(replicas[1], user("2"))
    await asyncio.gather(*(ask(replicas[number % 2], user(f"more {number}")) for number in range(6)))

    said = upstream.last.said
    assert len(said) == 2 * 7 + 1
    assert said[1::2] == ["ok"] * 7


async def test_a_store_that_cannot_be_opened_is_one_line_without_the_password(tmp_path: Path):
    store = f"postgresql://me:hunter2@/x?host={tmp_path}&start_wait=0"

    code, out, err = await command("serve", "--listen", "127.0.0.1:0", "--store", store, folder=tmp_path)

    assert (code, out) == (1, "")
    assert "sidecar: cannot open the store postgresql://me@/x: " in err
    assert "hunter2" not in err
    assert "Traceback" not in err


async def test_who_waits_for_the_database_can_be_told_to_stop(tmp_path: Path):
    store = f"postgresql://me:hunter2@/x?host={tmp_path}&start_wait=600"
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "serve", "--listen", "127.0.0.1:0", "--store", store),
        stderr=asyncio.subprocess.PIPE,
        env={"PYTHONPATH": str(Path(__file__).parents[3])},
        cwd=tmp_path,
    )
    assert running.stderr is not None
    said = (await asyncio.wait_for(running.stderr.readline(), 20)).decode()
    running.send_signal(signal.SIGTERM)
    rest = (await asyncio.wait_for(running.stderr.read(), 20)).decode()

    assert "waiting for the store" in said
    assert "postgresql://me@/x" in said
    assert (await running.wait(), rest) == (0, "sidecar: stopped before it served\n")
