"""How the events of a response that is made in the background are written, also where the store fails."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from sidecar.background.tasks import BackgroundTasks
from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.dialects.responses.in_background import joined_after
from sidecar.errors import StoreUnavailable
from sidecar.proxy import runs
from sidecar.proxy.runs import Run
from sidecar.store import MemoryStore
from tests.dialects.responses import asked
from tests.proxy.client import eventually

WHERE = Reference("conv_1", b"0123456789")


class Failing(MemoryStore):
    """Fails as often as it is told to."""

    failing = 0

    async def add_events(self, where: Reference, events: KeptEvents) -> bool:
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("full")
        return await super().add_events(where, events)


def event(number: int, size: int = 0) -> bytes:
    return b"event: %d\ndata: %b\n\n" % (number, b"x" * size)


class Made:
    """A response that is being made, in a store."""

    def __init__(self, most: int = 1 << 20) -> None:
        self.store, self.tasks, self.failures = Failing(), BackgroundTasks(), list[Any]()
        self.run = Run(self.store, most, lambda *failed: self.failures.append(failed), self.tasks.spawn)

    async def begin(self) -> None:
        await self.store.begin_response(RunningResponse(WHERE, b"ada", "me", b"{}", 1), KeptEvents(0, 1, b""))
        self.run.begin(WHERE, asked(background=True), 100)

    async def kept(self) -> bytes:
        return joined_after(await self.store.response_events(b"ada", WHERE, 1, 99), 1)


@pytest.fixture
async def made(monkeypatch: pytest.MonkeyPatch) -> Made:
    monkeypatch.setattr(runs, "_TOGETHER", 0.01)
    made = Made()
    await made.begin()
    return made


async def test_what_could_not_be_written_is_written_with_what_follows(made: Made):
    made.store.failing = 2
    await made.run.tell(200, event(2))
    await eventually(lambda: not made.store.failing)
    await made.run.tell(200, event(3) + event(4))
    await made.run.write()
    assert await made.kept() == event(2) + event(3) + event(4)
    assert [step for step, _error in made.failures] == ["response", "response"]
    assert (made.run.since(4), made.run.since(3)) == (b"", None)


async def test_where_the_store_fails_for_long_nothing_more_is_held(
    made: Made, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runs, "_MOST_WAITING", 100)
    made.store.failing = 1 << 30
    for number in range(2, 60):
        await made.run.tell(200, event(number, 50))
    assert len(made.run._waiting) < 5
    assert (made.run.last, made.run.kept_end([event(60)])) == (59, None)
    await made.tasks.finish(1.0)


async def test_an_upstream_that_is_quicker_than_the_store_waits_for_it(
    made: Made, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runs, "_MOST_WAITING", 100)
    for number in range(2, 60):
        await made.run.tell(200, event(number, 50))
        assert len(made.run._waiting) < 5
    await made.run.write()
    assert await made.kept() == b"".join(event(number, 50) for number in range(2, 60))


async def test_many_bytes_are_packed_beside_the_loop(made: Made, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(runs, "_LARGE", 10)
    await made.run.tell(200, event(2, 5000))
    await made.run.write()
    assert await made.kept() == event(2, 5000)


async def test_one_that_another_process_has_given_up_ends(made: Made):
    async def make() -> None:
        await asyncio.Event().wait()

    made.run.making = asyncio.ensure_future(make())
    await made.store.end_response(WHERE, b"", 1)
    await made.run.tell(200, event(2))
    await eventually(lambda: made.run.is_stopped)
    assert not made.run.is_cancelled
    await asyncio.wait((made.run.making,))
    assert made.run.making.cancelled()
    made.run.stop(is_cancelled=True)
    assert not made.run.is_cancelled


async def test_of_a_refusal_as_much_is_held_as_an_error_takes(made: Made):
    for _ in range(10):
        await made.run.tell(502, b"x" * 30_000)
    assert (made.run.status, len(made.run.refusal), made.run.last) == (502, 90_000, 1)
