"""While a large request is worked on, others are served, and it is said what held them up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Generator, Iterator

import pytest

from sidecar.background import loop_witness
from sidecar.background.large_work import LargeWork, are_large
from sidecar.background.loop_witness import LoopWitness
from sidecar.dialects.chat.request import ChatRequest
from sidecar.metrics import Metrics
from sidecar.proxy.receive import read_in_steps
from tests.conversation.build import line, request, says, user


@pytest.fixture
def large() -> Iterator[LargeWork]:
    work = LargeWork()
    yield work
    work.stop()


async def test_the_first_step_of_reading_is_done_at_once_and_the_others_in_a_thread(large: LargeWork):
    where: list[bool] = []

    def steps(number: int) -> Generator[None, None, ChatRequest]:
        for _ in range(number):
            where.append(threading.current_thread() is threading.main_thread())
            yield
        return request(user("hi"))

    assert len((await read_in_steps(large, steps(0))).path) == 1
    assert where == []
    assert len((await read_in_steps(large, steps(3))).path) == 1
    assert where == [True, False, False]


async def test_while_large_work_goes_on_the_loop_runs(large: LargeWork):
    seen = threading.Event()

    async def other() -> None:
        seen.set()

    # It ends only once the loop has done something else meanwhile.
    done, _ = await asyncio.gather(large.do("build", lambda: seen.wait(10)), other())
    assert done


async def test_large_work_is_known_by_its_phase_while_it_goes_on_and_up_to_its_end(large: LargeWork):
    begun = time.monotonic()
    assert large.phase_since(begun) is None
    assert await large.do("decide", lambda: large.phase_since(time.monotonic())) == "decide"
    assert large.phase_since(begun) == "decide"
    assert large.phase_since(time.monotonic()) is None


def counted(metrics: Metrics, holder: str) -> float:
    named = f'sidecar_loop_held_seconds_count{{by="{holder}"}} '
    rows = metrics.text().decode().splitlines()
    return next(float(row.removeprefix(named)) for row in rows if row.startswith(named))


async def test_how_long_the_loop_was_held_is_counted_by_what_was_done_meanwhile(large: LargeWork):
    metrics, end = Metrics(), threading.Event()
    witness = LoopWitness(metrics, large)
    witness.start()
    hold = 3 * loop_witness.INTERVAL
    time.sleep(hold)
    await asyncio.sleep(hold)
    assert (counted(metrics, "other") >= 1, counted(metrics, "record")) == (True, 0)
    recording = asyncio.create_task(large.do("record", lambda: end.wait(10)))
    await asyncio.sleep(hold)
    time.sleep(hold)
    await asyncio.sleep(hold)
    end.set()
    assert await recording
    witness.stop()
    assert counted(metrics, "record") >= 1


def test_messages_are_large_by_their_bytes_or_by_their_number():
    few, long, many = (
        line(*said) for said in ([user("a")], [user("a" * (1 << 20))], [user("a"), says("b")] * 1001)
    )
    assert [are_large(each) for each in (few, long, many)] == [False, True, True]
