"""Several processes on one port and one store, as one sidecar to everybody outside."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientError, ClientSession, TCPConnector

from sidecar.doctor import RequestSamples
from sidecar.doctor.report import report
from sidecar.doctor.text import text
from sidecar.settings import Settings, SettingsError, load
from tests.proxy.client import CHAT, Sidecar, chat, named
from tests.proxy.mock_upstream import DONE, Upstream, event, says, streams, waits
from tests.proxy.process import Process, clean_environment, measured, serving

HALF = event({"role": "assistant", "content": "half an"})
REST = event({"content": " answer"}, finish="stop")


@pytest.fixture
async def http():
    # A connection for each request, so that they get to all workers.
    async with ClientSession(connector=TCPConnector(force_close=True)) as session:
        yield session


def several(upstream: Upstream, folder: Path, *, workers: int = 3, start: Any = serving):
    return start("--workers", str(workers), "--upstream", upstream.url, folder=folder)


def workers_of(process: Process) -> set[int]:
    pid = process.running.pid
    return set(map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split()))


async def until_gone(pids: set[int]) -> None:
    async with asyncio.timeout(15):
        while any(Path(f"/proc/{pid}").exists() for pid in pids):
            await asyncio.sleep(0.02)


async def until_others(process: Process, old: set[int]) -> set[int]:
    """Wait until there are as many workers again, some of them new, and all serve."""
    async with asyncio.timeout(15):
        while len(now := workers_of(process)) < len(old) or now == old:
            await asyncio.sleep(0.02)
    return now


async def ask(http: ClientSession, process: Process, text: str, conversation: str) -> str:
    body = {"model": "m", "messages": chat(text)}
    async with http.post(process.url + CHAT, json=body, headers=named(conversation)) as response:
        assert response.status == 200, await response.text()
        answer: str = (await response.json())["choices"][0]["message"]["content"]
        return answer


async def counted(http: ClientSession, process: Process, name: str) -> float:
    async with http.get(f"{process.url}/-/metrics") as response:
        found = re.search(rf"^{re.escape(name)} (\S+)$", await response.text(), re.MULTILINE)
        return float(found[1]) if found else 0.0


async def branches(folder: Path, http: ClientSession) -> list[list[str]]:
    settings = Settings.model_validate({"store": f"sqlite:///{folder}/sidecar.db"})
    return (await Sidecar("", settings, http).only()).branches


async def test_all_workers_are_in_the_sums_of_times_and_tokens_within_seconds(
    upstream: Upstream, http, tmp_path: Path
):
    name = "gen_ai_client_operation_duration_seconds_count"
    labels = 'gen_ai_operation_name="chat",gen_ai_provider_name="openai",gen_ai_request_model="_OTHER"'
    async with several(upstream, tmp_path) as process:
        for at in range(12):
            await ask(http, process, "hi", f"chat {at}")
        async with asyncio.timeout(10):
            while await counted(http, process, f'{name}{{error_type="",{labels}}}') < 12:
                await asyncio.sleep(0.1)
        assert await counted(http, process, f'{name}{{error_type="",{labels}}}') == 12
        assert await counted(http, process, 'sidecar_request_duration_seconds_count{stream="no"}') == 12
        for pid in workers_of(process):  # what an ended one has counted stays, to the last
            await ask(http, process, "and?", "chat 0")
            os.kill(pid, signal.SIGTERM)
            await until_gone({pid})  # a connection that comes to it meanwhile may be closed unanswered
        async with asyncio.timeout(20):
            while await still(http, process, name, labels) < 15:
                await asyncio.sleep(0.1)


async def still(http: ClientSession, process: Process, name: str, labels: str) -> float:
    try:
        return await counted(http, process, f'{name}{{error_type="",{labels}}}')
    except ClientError:  # none serves just now
        return 0.0


async def test_ready_is_said_once_and_by_then_all_serve(upstream: Upstream, http, tmp_path: Path):
    async with several(upstream, tmp_path, start=measured) as process:
        assert len(workers_of(process)) == 3
        for _ in range(20):
            async with http.get(f"{process.url}/-/live") as response:
                assert response.status == 200
        process.running.terminate()
        said, complained = await process.running.communicate()
        # Behind the line that was read already, by whoever waited for it.
        assert said.decode() == f"ask it whether all is well: sidecar doctor --url {process.url}\n"
        assert complained == b"sidecar: stopping\n"
        assert process.running.returncode == 0


async def test_appends_to_one_conversation_follow_each_other_whichever_worker_has_them(
    upstream: Upstream, http, tmp_path: Path
):
    async with several(upstream, tmp_path) as process:
        texts = [f"question {number}" for number in range(12)]
        for text in texts[:2]:
            await ask(http, process, text, "a")
        await asyncio.gather(*(ask(http, process, text, "a") for text in texts[2:]))
        assert [len(each.json["messages"]) for each in upstream.requests] == [2 * n + 1 for n in range(12)]
        (path,) = await branches(tmp_path, http)
        assert sorted(path[::2]) == sorted(texts)


async def test_an_append_that_would_wait_too_long_for_another_worker_is_told(
    upstream: Upstream, http, tmp_path: Path
):
    gate = asyncio.Event()
    upstream.otherwise = waits(gate, says())
    environment = {"SIDECAR_HISTORY__APPEND_WAIT": "0.3", "SIDECAR_HISTORY__MODE": "append"}
    flags = ("--workers", "3", "--upstream", upstream.url)
    async with serving(*flags, folder=tmp_path, **environment) as process:
        body = {"model": "m", "messages": chat("hi")}

        async def status() -> int:
            async with http.post(process.url + CHAT, json=body, headers=named("a")) as response:
                return response.status

        asked = [asyncio.create_task(status()) for _ in range(8)]
        done = 0
        async with asyncio.timeout(15):
            while done < 7:
                done = sum(task.done() for task in asked)
                await asyncio.sleep(0.02)
        gate.set()
        assert sorted(await asyncio.gather(*asked)) == [200] + 7 * [409]


async def test_a_worker_that_is_killed_is_said_and_started_anew_and_its_counts_stay(
    upstream: Upstream, http, tmp_path: Path
):
    async with several(upstream, tmp_path, workers=2, start=measured) as process:
        for number in range(10):
            await ask(http, process, "hi", f"chat {number}")
        for pid in (old := workers_of(process)):
            os.kill(pid, signal.SIGKILL)
        await until_others(process, old)
        assert await counted(http, process, 'sidecar_replies_total{state="complete"}') == 10
        assert await ask(http, process, "and now?", "chat 3") == "ok"
        assert upstream.last.said == ["hi", "ok", "and now?"]
        process.running.terminate()
        _, complained = await process.running.communicate()
        assert complained.count(b"a worker exited and is restarted") == 2
        assert b'by="signal 9"' in complained


async def test_a_worker_that_has_just_begun_to_count_fails_no_reading_of_the_others(
    upstream: Upstream, http, tmp_path: Path
):
    flags = ("--workers", "2", "--upstream", upstream.url)
    async with serving(*flags, folder=tmp_path, TMPDIR=str(tmp_path)) as process:
        await ask(http, process, "hi", "a")
        (folder,) = tmp_path.glob("sidecar-metrics-*")
        (folder / "counter_999999.db").touch()  # made, and its worker killed before it wrote
        async with http.get(f"{process.url}/-/metrics") as response:
            assert response.status == 200, await response.text()
        assert await counted(http, process, 'sidecar_replies_total{state="complete"}') == 1


async def test_a_connection_that_waits_for_a_killed_worker_is_served_by_the_next(
    upstream: Upstream, http, tmp_path: Path
):
    async with several(upstream, tmp_path, workers=2) as process:
        old = workers_of(process)
        for pid in old:
            os.kill(pid, signal.SIGSTOP)
        asked = [asyncio.create_task(ask(http, process, "hi", f"chat {number}")) for number in range(4)]
        await asyncio.sleep(0.2)
        for pid in old:
            os.kill(pid, signal.SIGKILL)
        assert await asyncio.gather(*asked) == 4 * ["ok"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_all_stop_when_told_and_let_streams_end(
    upstream: Upstream, http, tmp_path: Path, number: signal.Signals
):
    gate = asyncio.Event()
    upstream.otherwise = streams(HALF, gate, REST, DONE)
    body = json.dumps({"model": "m", "messages": chat("hi"), "stream": True}).encode()
    async with several(upstream, tmp_path, start=measured) as process, AsyncExitStack() as stack:
        workers = workers_of(process)
        asked = [http.post(process.url + CHAT, data=body, headers=named(f"chat {n}")) for n in range(6)]
        responses = [await stack.enter_async_context(each) for each in asked]
        for response in responses:
            assert await response.content.readexactly(len(HALF)) == HALF
        process.running.send_signal(number)
        await asyncio.sleep(0.2)
        with pytest.raises(OSError, match="Connect call failed"):
            await http.get(process.url + "/-/live")
        gate.set()
        assert [await response.read() for response in responses] == 6 * [REST + DONE]
        assert await asyncio.wait_for(process.running.wait(), 15) == 0
        await until_gone(workers)


async def test_told_twice_all_end_at_once(upstream: Upstream, http, tmp_path: Path):
    upstream.otherwise = streams(HALF, asyncio.Event())
    body = json.dumps({"model": "m", "messages": chat("hi"), "stream": True}).encode()
    async with several(upstream, tmp_path, start=measured) as process:
        workers = workers_of(process)
        async with http.post(process.url + CHAT, data=body, headers=named("a")) as response:
            assert await response.content.readexactly(len(HALF)) == HALF
            process.running.terminate()
            await asyncio.sleep(0.2)
            process.running.terminate()
            assert await asyncio.wait_for(process.running.wait(), 5) == 128 + signal.SIGTERM
        await until_gone(workers)


async def test_the_doctor_sees_what_all_workers_remember_whichever_is_asked(
    http: ClientSession, upstream: Upstream, tmp_path: Path
):
    """Also without an inspector; of one that does not answer it says so, and holds up nobody."""

    async def examined() -> dict[str, Any]:
        async with asyncio.timeout(30), http.get(f"{process.url}/-/doctor") as response:
            found: dict[str, Any] = await response.json()
            return found

    async with several(upstream, tmp_path, workers=2) as process:
        for number in range(8):
            await ask(http, process, "hi", f"chat {number}")
        for _ in range(4):
            found = await examined()
            assert (found["requests"]["chats"], found["chat_id"]["conversations"]) == (8, 8)
            assert (found["tenant"]["tenants"], found["workers"], found["silent"]) == (1, 2, 0)
        assert "workers      2" in text(found, process.url)

        old = workers_of(process)
        os.kill(min(old), signal.SIGTERM)  # another one takes its place, and its socket
        await until_others(process, old)
        async with asyncio.timeout(15):
            while (await examined())["silent"]:
                await asyncio.sleep(0.05)


def test_workers_that_did_not_answer_are_told_by_the_doctor():
    made = report(Settings(), RequestSamples(Settings()), None, "writable", "reachable")
    told = text(made | {"workers": 3, "silent": 1}, "http://127.0.0.1:8790")
    assert "workers      3; 1 of them did not answer" in told
    assert "workers" not in text(made | {"workers": 1, "silent": 0}, "http://127.0.0.1:8790")


async def test_workers_do_not_outlive_their_parent(upstream: Upstream, tmp_path: Path):
    async with several(upstream, tmp_path) as process:
        workers = workers_of(process)
        process.running.kill()
        await until_gone(workers)


async def complaints(*flags: str) -> tuple[int | None, list[str]]:
    """Exit code and standard error, by lines, of a sidecar that cannot start."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sidecar", "serve", *flags),
        stderr=asyncio.subprocess.PIPE,
        cwd=Path(__file__).parents[3],
        env=clean_environment(),
    )
    _, said = await asyncio.wait_for(process.communicate(), 20)
    return process.returncode, said.decode().splitlines()


async def test_a_port_that_workers_share_is_taken_for_everybody_else(upstream: Upstream, tmp_path: Path):
    async with several(upstream, tmp_path, workers=2) as process:
        address = process.url.removeprefix("http://")
        flags = ("--listen", address, "--store", f"sqlite:///{tmp_path}/other.db")
        reason = f"sidecar: cannot listen on {address}: Address already in use"
        expected = (1, [f"{reason} (set `listen` to another address)"])
        others = (complaints("--workers", workers, *flags) for workers in ("1", "2"))
        assert await asyncio.gather(*others) == [expected, expected]


async def test_a_store_that_cannot_be_opened_is_said_once(tmp_path: Path):
    (tmp_path / "no.db").write_text("this is no database, though it is as long as one could be " * 9)
    flags = ("--workers", "3", "--listen", "127.0.0.1:0", "--store", f"sqlite:///{tmp_path}/no.db")
    code, said = await complaints(*flags)
    assert code == 1
    assert [line[:37] for line in said] == ["sidecar: cannot open the store " + str(tmp_path)[:6]]


def test_memory_is_not_shared():
    with pytest.raises(SettingsError, match="several workers cannot share a store in memory"):
        load({"workers": "2", "store": "memory:"})
