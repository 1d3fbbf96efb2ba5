"""Where the time before a request went upstream is kept: the line, the store, and room at a target."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar.proxy.append_lock import AppendLocks
from sidecar.store import SQLiteStore
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Upstream, event, says, streams
from tests.proxy.path.test_exchange import rows
from tests.proxy.several import target

APPEND = {"X-Sidecar-History": "append"}
_LONG = 0.3  # seconds


def times(row: dict[str, Any]) -> dict[str, int]:
    """What of it was long, in hundreds of milliseconds."""
    names = ("waited_ms", "reading_ms", "no_room_ms")
    return {name: row[name] // 100 for name in names if row[name] >= 1000 * _LONG}


async def test_a_slow_store_is_told_as_that(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    upstream.otherwise = says("ok")
    sidecar = await start()
    await sidecar.ask("hi", id="a", headers=APPEND)
    find = SQLiteStore.find

    async def slow(*given: Any) -> Any:
        await asyncio.sleep(_LONG)
        return await find(*given)

    monkeypatch.setattr(SQLiteStore, "find", slow)
    assert (await sidecar.ask("and?", id="a", headers=APPEND)).outcome == "append"
    _, row = await rows(sidecar, 2)
    assert list(times(row)) == ["reading_ms"]
    assert row["received_ms"] + row["reading_ms"] <= row["sent_ms"] + 1


async def test_who_stands_in_line_has_waited_and_the_store_was_not_slow(start: Start, upstream: Upstream):
    goes_on = asyncio.Event()
    upstream.will(streams(event({"content": "one"}), goes_on, event({}, finish="stop"), DONE))
    sidecar = await start()
    first = asyncio.create_task(sidecar.ask("1", id="a", stream=True, headers=APPEND))
    while not upstream.requests:
        await asyncio.sleep(0.005)
    second = asyncio.create_task(sidecar.ask("2", id="a", headers=APPEND))
    await asyncio.sleep(2 * _LONG)
    goes_on.set()
    await asyncio.gather(first, second)
    told = [times(each) for each in await rows(sidecar, 2)]
    assert sorted(map(list, told)) == [[], ["waited_ms"]]


async def test_who_waits_for_room_at_a_target_has_that_told(start: Start, upstream: Upstream):
    goes_on = asyncio.Event()
    upstream.will(streams(event({"content": "one"}), goes_on, event({}, finish="stop"), DONE))
    sidecar = await start(targets=[target("pool", upstream, parallel=1)], retries={"wait_for_room": 30})
    first = asyncio.create_task(sidecar.ask("1", id="a", stream=True))
    while not upstream.requests:
        await asyncio.sleep(0.005)
    second = asyncio.create_task(sidecar.ask("2", id="b"))
    await asyncio.sleep(2 * _LONG)
    goes_on.set()
    await asyncio.gather(first, second)
    told = [times(each) for each in await rows(sidecar, 2)]
    assert sorted(map(list, told)) == [[], ["no_room_ms"]]


@pytest.mark.parametrize("was_held", [True, False])
async def test_a_lock_that_takes_long_was_waited_for_only_where_another_process_held_it(was_held: bool):
    class Store:
        @asynccontextmanager
        async def cross_process_lock(self, _name: str, _wait: float):
            await asyncio.sleep(_LONG)
            yield was_held

    locks = AppendLocks(30, Store())  # type: ignore[arg-type] # as much of a store as they use
    async with locks.hold("a") as waited:
        assert (waited >= _LONG * 0.9) is was_held
