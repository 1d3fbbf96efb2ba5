"""What was learned of forms reaches the store, whatever happens while it is on its way there."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from sidecar.background import shared_forms
from sidecar.background.learned_forms import LearnedForms, Place
from sidecar.background.shared_forms import SharedForms
from sidecar.background.tasks import BackgroundTasks
from sidecar.errors import StoreUnavailable
from sidecar.prompt.form import Form
from sidecar.store.memory import MemoryStore
from tests.proxy.client import eventually

FORM = Form(without=frozenset({"reasoning"}))


class Slow(MemoryStore):
    """A store whose writes wait for a gate, and fail as often as is wanted."""

    def __init__(self) -> None:
        super().__init__()
        self.gate = asyncio.Event()
        self.begun = 0
        self.failures = 0

    async def save_learned(self, name: str, value: bytes) -> None:
        self.begun += 1
        await self.gate.wait()
        if self.failures:
            self.failures -= 1
            raise StoreUnavailable("the disk is full")
        await super().save_learned(name, value)


class Shared:
    """The forms of one process on a store."""

    def __init__(self, store: Slow) -> None:
        self.store = store
        self.forms = LearnedForms()
        self.failed: list[str] = []
        tasks = BackgroundTasks()
        self.shared = SharedForms(
            store, self.forms, tasks.spawn, lambda what, _error: self.failed.append(what)
        )

    def learn(self, conversation: str) -> None:
        self.forms.learn(Place(b"t", conversation, "m", "default"), FORM)
        self.shared.changed()

    async def kept(self) -> bytes | None:
        return (await self.store.load_learned()).get("forms")

    async def is_kept(self) -> None:
        """Wait until the store has all that is known."""
        async with asyncio.timeout(5):
            while await self.kept() != self.forms.dump():
                await asyncio.sleep(0.005)


@pytest.fixture
async def shared(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Shared]:
    monkeypatch.setattr(shared_forms, "_EVERY", 0.05)
    monkeypatch.setattr(shared_forms, "_WRITE_DELAY", 0.001)
    made = Shared(Slow())
    yield made
    made.shared.stop()


async def test_what_is_learned_while_the_last_is_being_saved_is_saved_as_well(shared: Shared):
    shared.learn("a")
    await eventually(lambda: shared.store.begun == 1)
    shared.learn("b")
    shared.store.gate.set()
    await shared.is_kept()
    assert shared.store.begun == 2


async def test_what_could_not_be_saved_is_saved_in_the_next_round(shared: Shared):
    await shared.shared.start()
    shared.store.failures = 1
    shared.store.gate.set()
    shared.learn("a")
    await shared.is_kept()
    assert shared.failed == ["write"]


async def test_what_is_saved_is_not_saved_again(shared: Shared):
    await shared.shared.start()
    shared.store.gate.set()
    shared.learn("a")
    await shared.is_kept()
    await asyncio.sleep(0.2)
    assert shared.store.begun == 1
