"""A store that is slow: who talks is slowed down with it, nothing grows without a limit, nothing is lost."""

from __future__ import annotations

import asyncio
import time

import pytest

from sidecar.proxy import record
from sidecar.store import SQLiteStore
from tests.proxy.client import Reply, Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream
from tests.proxy.store_lock import writing

WAITING = 'sidecar_store_waiting{work="write"}'
OPEN_WEBUI = {"X-OpenWebUI-Chat-Id": "whole"}


async def waiting(sidecar: Sidecar, number: int) -> None:
    """Until so many turns wait to be written."""
    end = time.monotonic() + 10
    while (found := await sidecar.metric(WAITING)) != number:
        assert time.monotonic() < end, found
        await asyncio.sleep(0.02)


def asking(sidecar: Sidecar, number: int, *, stream: bool = False) -> asyncio.Task[Reply]:
    return asyncio.ensure_future(sidecar.ask(f"question {number}", id=f"chat-{number}", stream=stream))


@pytest.mark.parametrize("stream", [False, True])
async def test_replies_end_when_they_are_stored_and_those_that_wait_are_counted(
    sidecar: Sidecar, stream: bool
):
    with writing(sidecar):
        tasks = [asking(sidecar, number, stream=stream) for number in range(20)]
        await waiting(sidecar, 20)
        assert not any(task.done() for task in tasks)
    replies = await asyncio.gather(*tasks)
    assert {reply.status for reply in replies} == {200}
    assert await sidecar.metric(WAITING) == 0
    assert sorted(each.texts[0] for each in await sidecar.stored()) == sorted(
        f"question {number}" for number in range(20)
    )


async def test_a_start_leaves_nothing_to_be_written(sidecar: Sidecar):
    """Whoever writes meanwhile would hold up the first turns."""
    with writing(sidecar):
        await asyncio.sleep(0.1)
        assert await sidecar.metric(WAITING) == 0


async def test_ends_that_go_before_the_commit_wait_for_it_once_too_many_turns_are_unwritten(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(record, "_MAX_PENDING_WRITES", 5)
    sidecar = await start(history={"commit": "after_end"})
    with writing(sidecar):
        for number in range(5):
            assert (await asyncio.wait_for(asking(sidecar, number), 10)).status == 200
        await waiting(sidecar, 5)
        late = asking(sidecar, 5)
        await waiting(sidecar, 6)
        assert not late.done()
    assert (await late).status == 200
    await waiting(sidecar, 0)
    assert len(await sidecar.stored()) == 6


async def test_a_whole_history_waits_for_its_commit_no_longer_than_the_limit(start: Start):
    sidecar = await start(timeouts={"store": 0.3, "shutdown": 0.2})
    with writing(sidecar):
        began = time.monotonic()
        reply = await sidecar.ask("hi", headers=OPEN_WEBUI, stream=True)
        assert (reply.status, reply.body.endswith(b"data: [DONE]\n\n")) == (200, True)
        assert 0.3 <= time.monotonic() - began < 5
        assert await sidecar.metric("sidecar_store_failures_total") == 1
    await waiting(sidecar, 0)
    assert (await sidecar.only()).branches == [["hi", "ok"]]


async def test_who_relies_on_the_store_is_told_after_the_limit(start: Start, upstream: Upstream):
    sidecar = await start(timeouts={"store": 0.3, "shutdown": 0.2})
    with writing(sidecar):
        assert_error(await sidecar.ask("hi", id="thin"), 503, "store_unavailable")
        refused = await sidecar.ask("and?", id="thin")
        assert_error(refused, 503, "store_unavailable")
    assert len(upstream.requests) == 1


async def test_a_store_that_does_not_answer_at_all_holds_up_nobody_for_long(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    sidecar = await start(timeouts={"store": 1.5, "shutdown": 0.2})
    assert (await sidecar.ask("hi", id="thin")).status == 200

    async def find(*_: object) -> None:
        await asyncio.sleep(30)

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "find", find)
        reply = await asyncio.wait_for(sidecar.ask("hi", "ok", "and?", headers=OPEN_WEBUI), 10)
        assert (reply.status, reply.headers["X-Sidecar-Degraded"]) == (200, "store")
        refused = await asyncio.wait_for(sidecar.ask("and?", id="thin"), 10)
        said = assert_error(refused, 503, "store_unavailable")
        assert said["message"] == "the store did not answer within `timeouts.store` = 1.5 s"
    assert (await sidecar.ask("and?", id="thin")).status == 200
    assert upstream.last.said == ["hi", "ok", "and?"]
