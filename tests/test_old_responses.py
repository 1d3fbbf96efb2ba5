"""What is kept of responses that were made in the background is deleted a while after their end."""

from __future__ import annotations

import pytest

from sidecar.background import old_responses
from sidecar.background.old_responses import OldResponses
from sidecar.background.tasks import BackgroundTasks
from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.errors import StoreUnavailable
from sidecar.store import MemoryStore
from tests.proxy.client import eventually

WHERE = Reference("conv_1", b"0123456789")


class Held(MemoryStore):
    """Counts how often it is asked, and fails as often as it is told to."""

    asked = failing = 0

    async def forget_responses(self, after: float) -> bool:
        self.asked += 1
        if self.failing:
            self.failing -= 1
            raise StoreUnavailable("full")
        return await super().forget_responses(after)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(old_responses, "_EVERY", 0.01)
    return monkeypatch


async def test_they_are_looked_for_as_long_as_there_are_any(quick):
    store, tasks = Held(), BackgroundTasks()
    await store.begin_response(RunningResponse(WHERE, b"ada", "me", b"{}", 1), KeptEvents(0, 1, b""))
    failures = []
    store.failing = 1
    job = OldResponses(store, tasks.spawn, lambda *failed: failures.append(failed))
    job.start()
    await eventually(lambda: store.asked > 3)
    assert [step for step, _error in failures] == ["response"]
    assert await store.running_response(b"ada", WHERE) is not None

    quick.setattr(old_responses, "KEPT", -1.0)
    await eventually(lambda: not store._responses)
    await tasks.finish(1.0)
    assert job._later is None
    job.expect()
    job.expect()
    job.stop()
    job.stop()
    assert job._later is None


async def test_where_there_are_none_nobody_looks_again():
    store, tasks = Held(), BackgroundTasks()
    job = OldResponses(store, tasks.spawn, lambda *failed: None)
    job.start()
    await tasks.finish(1.0)
    assert (store.asked, job._later) == (1, None)
