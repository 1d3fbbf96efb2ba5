"""How many requests of a key are under way, and how many began in a minute, among all workers."""

from __future__ import annotations

import os
import signal
import sys
from itertools import pairwise
from subprocess import PIPE, Popen

import pytest

from sidecar.access import slots as module
from sidecar.access.slots import Slots
from sidecar.errors import TooManyRequests

OTHER_WORKER = """
import asyncio, sys
from sidecar.access.slots import Slots
slots = Slots(sys.argv[1])
taken = [asyncio.run(slots.take("abc", 4, None)) for _ in range(3)]
print(taken, flush=True)
sys.stdin.read()
"""


@pytest.fixture(params=["alone", "several"])
def slots(request, tmp_path) -> Slots:
    return Slots(None if request.param == "alone" else str(tmp_path))


async def refused(slots: Slots, id: str, parallel: int | None, rpm: int | None = None) -> TooManyRequests:
    with pytest.raises(TooManyRequests) as caught:
        await slots.take(id, parallel, rpm)
    assert (caught.value.status, caught.value.code, caught.value.type) == (
        429,
        "rate_limit_exceeded",
        "requests",
    )
    return caught.value


async def test_no_more_are_taken_than_there_are_and_what_is_given_back_can_be_taken(slots: Slots):
    taken = [await slots.take("abc", 3, None) for _ in range(3)]
    assert sorted(each for each in taken if each is not None) == [0, 1, 2]
    error = await refused(slots, "abc", 3)
    assert error.retry_after == 1
    assert error.headers["x-ratelimit-limit-requests"] == "3"
    assert await slots.take("def", 1, None) == 0, "each key has its own"

    slots.give_back("abc", 1)
    assert await slots.take("abc", 3, None) == 1
    await refused(slots, "abc", 3)


async def test_what_is_refused_for_too_many_at_once_is_none_of_those_that_began_in_the_minute(slots: Slots):
    slot = await slots.take("abc", 1, 2)
    for _ in range(5):
        await refused(slots, "abc", 1, 2)
    slots.give_back("abc", slot)
    slots.give_back("abc", await slots.take("abc", 1, 2))
    assert (await refused(slots, "abc", 1, 2)).retry_after > 1, "these two were all"


async def test_without_a_limit_nothing_is_counted(slots: Slots):
    for _ in range(10):
        assert await slots.take("abc", None, None) is None
    slots.give_back("abc", None)


async def test_in_no_minute_do_more_begin_than_may(slots: Slots, monkeypatch: pytest.MonkeyPatch):
    now = 1000.0
    monkeypatch.setattr(module, "monotonic", lambda: now)
    began: list[float] = []
    told: list[tuple[int | None, int]] = []
    for step in range(400):
        now = 1000.0 + step
        try:
            await slots.take("abc", None, 5)
        except TooManyRequests as error:
            told.append((error.retry_after, round(began[-5] + 60 - now)))
        else:
            began.append(now)
    assert len(began) == 35
    assert all(later - earlier >= 60 for earlier, later in pairwise(began[::5]))
    assert all(said == right for said, right in told)


async def test_who_is_refused_for_the_minute_holds_no_slot(slots: Slots):
    slot = await slots.take("abc", 1, 1)
    slots.give_back("abc", slot)
    await refused(slots, "abc", 1, 1)
    assert await slots.take("abc", 1, None) == 0


async def test_the_share_of_a_worker_that_is_killed_comes_back_at_once(tmp_path):
    slots = Slots(str(tmp_path))
    with Popen([sys.executable, "-c", OTHER_WORKER, str(tmp_path)], stdin=PIPE, stdout=PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"[0, 1, 2]\n"
        assert await slots.take("abc", 4, None) == 3
        await refused(slots, "abc", 4)
        os.kill(other.pid, signal.SIGKILL)
        other.wait()
    assert {await slots.take("abc", 4, None) for _ in range(3)} == {0, 1, 2}
    await refused(slots, "abc", 4)


async def test_workers_count_a_minute_together(tmp_path):
    one, other = Slots(str(tmp_path)), Slots(str(tmp_path))
    for each in (one, other, one):
        await each.take("abc", None, 3)
    for each in (one, other):
        await refused(each, "abc", None, 3)


async def test_where_they_cannot_be_counted_nobody_is_let_in(tmp_path, monkeypatch: pytest.MonkeyPatch):
    slots = Slots(str(tmp_path))
    monkeypatch.setattr(module, "_PATIENCE", 0.01)
    monkeypatch.setattr(slots, "_lock", lambda _place: False)
    assert "cannot be counted" in (await refused(slots, "abc", None, 3)).message
