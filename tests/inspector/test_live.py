"""What is being answered now: told while it lasts, by all workers, and at no cost while nobody looks."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from pathlib import Path

import pytest
from aiohttp import ClientSession, TCPConnector

from sidecar.admin.other_workers import ask, telling
from sidecar.exchange.outcome import Progress
from sidecar.inspector.live import MOST, LivePage, OpenRequest, Told, live_page_of, told_of
from tests.inspector.conftest import Visitor
from tests.proxy.client import CHAT, chat, named
from tests.proxy.mock_upstream import Upstream, event, says, streams, waits
from tests.proxy.process import serving

HALF = event({"role": "assistant", "content": "half an"})
REST = event({"content": " answer"}, finish="stop")


async def until(visitor: Visitor, waits_for: str):
    """The one open request, once it waits for this."""
    async with asyncio.timeout(10):
        while True:
            value = await visitor.value("live")
            if [each["waits_for"] for each in value["requests"]] == [waits_for]:
                return value["requests"][0]
            await asyncio.sleep(0.01)


async def test_nothing_is_being_answered(visitor: Visitor):
    assert await visitor.value("live") == {"total": 0, "workers": 1, "silent": 0, "requests": []}
    page = await visitor.get("live")
    assert "Nothing is being answered now" in page.text
    assert "http-equiv" not in page.text
    again = await visitor.get("live?every=10")
    assert '<noscript><meta http-equiv="refresh" content="10"></noscript>' in again.text


async def test_an_open_stream_is_told_with_what_it_waits_for(visitor: Visitor, upstream: Upstream):
    begin, end = asyncio.Event(), asyncio.Event()
    upstream.will(says("hello"), waits(begin, streams(HALF, end, REST)))
    await visitor.sidecar.ask("hi", id="a")
    asking = asyncio.ensure_future(
        visitor.sidecar.ask("hi", "hello", "and?", id="a", stream=True, model="qwen")
    )
    told = await until(visitor, "the upstream's answer")
    assert (told["name"], told["outcome"], told["model"], told["bytes"]) == ("a", "continue", "qwen", 0)
    assert (told["head_ms"], told["first_ms"], told["worker"]) == (None, None, os.getpid())

    begin.set()
    told = await until(visitor, "more of the answer")
    assert told["bytes"] == len(HALF)
    assert 0 <= told["head_ms"] <= told["first_ms"] <= told["age_ms"]
    page = await visitor.get("live")
    assert f'href="c/{told["conversation"]}/">a</a>' in page.text
    assert (await visitor.get(f"c/{told['conversation']}/")).status == 200

    end.set()
    await asking
    assert (await visitor.value("live"))["total"] == 0


async def test_one_that_stands_in_line_says_so(visitor: Visitor, upstream: Upstream):
    end = asyncio.Event()
    upstream.will(says("hello"), streams(HALF, end, REST), says("done"))
    await visitor.sidecar.ask("hi", id="a")
    append = {"X-Sidecar-History": "append"}
    asking = [asyncio.ensure_future(visitor.sidecar.ask("one", stream=True, headers=append, id="a"))]
    await until(visitor, "more of the answer")
    asking.append(asyncio.ensure_future(visitor.sidecar.ask("two", headers=append, id="a")))
    async with asyncio.timeout(10):
        told: list[str] = []
        while told != ["more of the answer", "the answer before it"]:
            told = [each["waits_for"] for each in (await visitor.value("live"))["requests"]]
            await asyncio.sleep(0.01)
    end.set()
    await asyncio.gather(*asking)


@pytest.mark.parametrize(
    ("headers", "outcome"),
    [
        (named("local:1"), "kept nowhere"),
        ({**named("a"), "X-Task": "title_generation"}, "task"),
        ({**named("a"), "X-Sidecar-History": "off"}, "kept nowhere"),
    ],
)
async def test_of_what_is_kept_nowhere_no_name_is_told(visitor, upstream: Upstream, headers, outcome):
    gate = asyncio.Event()
    upstream.will(waits(gate, says("hello")))
    asking = asyncio.ensure_future(visitor.sidecar.ask("hi", headers=headers))
    told = await until(visitor, "the upstream's answer")
    assert (told["conversation"], told["name"], told["outcome"]) == ("", "", outcome)
    gate.set()
    await asking


def test_a_body_that_has_yet_to_come_is_told():
    progress = Progress(5000, 1.0, b"abcd")
    told = told_of([progress], now=3.5)
    (request,) = told.requests
    assert (request.waits_for, request.age_ms, request.when) == ("the rest of its body", 2500, 5.0)
    progress.received = 2.0
    assert told_of([progress]).requests[0].waits_for == "being read"


def test_of_too_many_the_oldest_are_told_and_how_many_there_are():
    under_way = [Progress(at, float(at), b"abcd") for at in range(MOST + 5, 0, -1)]
    told = told_of(under_way, now=1000.0)
    assert (told.total, len(told.requests), told.requests[0].when) == (MOST + 5, MOST, 0.001)
    page = live_page_of([told, told, None])
    assert (page.total, page.workers, page.silent, len(page.requests)) == (2 * MOST + 10, 3, 1, MOST)


def listening(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    made.listen()
    return made


async def test_workers_tell_each_other(tmp_path: Path, monkeypatch):
    monkeypatch.setattr("sidecar.admin.other_workers._PATIENCE", 0.2)
    request = OpenRequest("conv_1", "ä", False, "continue", "m", "default", 1.0, 2, 3, None, 4, "-", 5)
    told = Told(1, (request,))
    with listening(tmp_path / "silent"):
        async with telling(listening(tmp_path / "one"), {"live": lambda: told}):
            paths = [str(tmp_path / name) for name in ("one", "silent", "gone")]
            assert await ask(paths, "live", Told) == [told, None, None]
            assert await ask(paths[:1], "nothing", Told) == [None]
    assert live_page_of([told]) == LivePage(1, 1, 0, (request,))


async def test_whichever_worker_is_asked_tells_of_all(upstream: Upstream, tmp_path: Path):
    end = asyncio.Event()
    upstream.otherwise = streams(HALF, end, REST)
    flags = ("--workers", "2", "--upstream", upstream.url)
    environment = {"SIDECAR_ADMIN__LISTEN": "127.0.0.1:0"}
    async with (
        serving(*flags, folder=tmp_path, **environment) as process,
        ClientSession(connector=TCPConnector(force_close=True)) as http,
    ):
        assert process.running.stdout is not None
        line = (await process.running.stdout.readline()).decode()
        root = line.split()[-1]

        async def one(number: int) -> None:
            body = {"model": "m", "stream": True, "messages": chat("hi")}
            async with http.post(process.url + CHAT, json=body, headers=named(f"c{number}")) as response:
                await response.read()

        asking = [asyncio.ensure_future(one(number)) for number in range(8)]
        async with asyncio.timeout(60):
            workers = set[int]()
            while len(workers) < 2:
                async with http.get(f"{root}live?format=json") as response:
                    value = await response.json()
                workers = {each["worker"] for each in value["requests"] if each["bytes"]}
                await asyncio.sleep(0.05)
        assert (value["total"], value["workers"], value["silent"]) == (8, 2, 0)
        async with http.get(f"{root}doctor?format=json") as response:
            report = await response.json()
        assert (report["requests"]["chats"], report["tenant"]["tenants"]) == (8, 1)
        assert (report["workers"], report["silent"]) == (2, 0)

        silent = workers.pop()
        os.kill(silent, signal.SIGSTOP)
        try:
            async with asyncio.timeout(60):
                while True:  # the one that is stopped may be asked as well
                    try:
                        async with asyncio.timeout(4), http.get(f"{root}live?format=json") as response:
                            value = await response.json()
                            break
                    except TimeoutError:
                        continue
            assert value["silent"] == 1
        finally:
            os.kill(silent, signal.SIGCONT)
        end.set()
        await asyncio.gather(*asking)


async def test_workers_that_have_nowhere_to_tell_are_said_to_be_silent(visit):
    visitor: Visitor = await visit(workers=3)
    assert await visitor.value("live") == {"total": 0, "workers": 3, "silent": 2, "requests": []}
    assert "2 of them did not answer" in (await visitor.get("live")).text
    assert "2 of them did not answer" in (await visitor.get("doctor")).text


async def test_the_list_is_told_anew_only_once_something_has_changed(visitor: Visitor, upstream: Upstream):
    await visitor.sidecar.ask("hi", id="a")
    first = await visitor.get()
    tag = first.headers["ETag"]
    same = await visitor.get(**{"If-None-Match": tag})
    assert (same.status, same.text, same.headers["Cache-Control"]) == (304, "", "no-store")
    await visitor.sidecar.ask("hi", id="b")
    other = await visitor.get(**{"If-None-Match": tag})
    assert other.status == 200
    assert other.headers["ETag"] != tag
    assert other.text.count("data-row=") == 2
    older = await visitor.get("?before=1~x", **{"If-None-Match": tag})
    assert (older.status, older.headers.get("ETag")) == (200, None)
