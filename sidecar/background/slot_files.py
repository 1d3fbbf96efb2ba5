"""Chats that survive their engine: llama.cpp's slots, saved to its files and brought back.

Rules: a slot is saved in the background, once its chat is silent or another takes its slot, and only where
it holds what that chat's reply has left there, as the engine itself tells; at most a tenth of an engine's
time goes into that. It is brought back before a turn whose chat is not in its slot any more. Whatever goes
wrong, the turn goes on without it, after `_PATIENCE` at the latest. Which file holds what is in the store,
for all processes that share it (`upstream/slot_ring.py`); a file that was written over meanwhile is found
out, and what was read from it is thrown away. What a deleted chat left behind is written over.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from functools import partial
from typing import Any

from sidecar.background.slot_engine import (
    DOES_NOT_COUNT,
    DOES_NOT_SAVE,
    HAS_NO_USE,
    Answered,
    KnownEngine,
    Occupant,
    WaitingSave,
    holds,
)
from sidecar.background.slot_table import SlotTable
from sidecar.background.tasks import Spawn
from sidecar.errors import StoreUnavailable
from sidecar.metrics import Metrics
from sidecar.store import Store
from sidecar.upstream.slot_api import Refused, Slot
from sidecar.upstream.slot_ring import (
    Place,
    Ring,
    claimed,
    freed,
    half_written,
    held,
    holder,
    is_due,
    is_of_no_use,
    settled,
    to_wipe,
)
from sidecar.upstream.target import Target

__all__ = ["Answered", "SlotFiles"]

log = logging.getLogger("sidecar.proxy")

_QUIET = 2.0  # seconds of silence until a chat is saved
_SHARE = 10  # of an engine's time one part goes into saving
_NEWS = 1.0  # seconds between two looks for what other processes have saved
_ROUND = 10.0  # seconds between two looks for what is to be written over
# Seconds that a turn waits: for an answer about slots, for another chat's save, and for all of it.
_LOOK, _FLUSH, _PATIENCE = 1.0, 2.0, 10.0
_SAVE = 60.0  # seconds for one save, which no turn waits for
_OFF = 3600.0  # seconds until an engine that does not do it is asked again
_USELESS = 2  # so many prompts in succession were computed anew though they had been read from a file


class SlotFiles:
    """The engines that chats go to, and what is saved of them. `start` it, `stop` it."""

    def __init__(
        self,
        size: int,
        targets: Iterable[Target],
        store: Store,
        metrics: Metrics,
        spawn: Spawn,
        stopping: asyncio.Event,
        store_failed: Callable[[str, Exception], None],
    ) -> None:
        """`stopping`: set when nobody waits any more for what was begun."""
        self._size, self._stopping = size, stopping
        self._table = SlotTable(store)
        self._spawn, self._store_failed = spawn, store_failed
        self._counted = metrics.of_slot_files()
        self._known: dict[str, KnownEngine] = {}
        for target in targets:
            self._of(target)
        self._is_ending = False
        self._rounds: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Know what is saved, and look for what is to be written over. Raises `StoreUnavailable`."""
        for where, known in self._known.items():
            known.ring = await self._table.read(where)
        self._rounds = self._spawn(self._run())

    def stop(self) -> None:
        """The process ends: what waits is saved at once."""
        self._is_ending = True
        if self._rounds is not None:
            self._rounds.cancel()
        for known in self._known.values():
            for each in known.waiting.values():
                each.now.set()

    @property
    def of_no_use(self) -> list[tuple[str, str]]:
        """What is wrong with engines that are left alone, and what to do about it."""
        now = time.monotonic()
        return [known.why for known in self._known.values() if now < known.off_until]

    async def before(
        self, target: Target, slot: int, session: str | None, headers: Mapping[str, str]
    ) -> None:
        """A turn is about to take this slot: save who is there, and bring this chat back, if need be.

        `session`: None for one that is never saved. Raises nothing.
        """
        known = self._of(target)
        if known is None or time.monotonic() < known.off_until:
            return
        known.headers = headers
        before, known.begun[slot] = known.begun.get(slot), session or ""
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._make_way(known, slot, session)
                if session is not None:
                    await self._bring_back(known, slot, session, before)
        except TimeoutError:
            known.occupants.pop(slot, None)
            log.info("a turn went on without its saved slot, which took too long", extra=_about(known, slot))
        except StoreUnavailable as error:
            self._store_failed("read", error)

    def answered(self, target: Target, answer: Answered, headers: Mapping[str, str]) -> None:
        """A reply has ended, and is stored: have its slot saved if that pays. Returns at once."""
        known = self._of(target)
        if known is None or time.monotonic() < known.off_until:
            return
        known.headers = headers
        self._judge(known, answer)
        if (earlier := known.waiting.get(answer.slot)) is not None:
            earlier.is_off = True
            earlier.now.set()
        known.waiting[answer.slot] = waiting = WaitingSave(answer.session)
        waiting.task = self._spawn(self._unless_stopping(self._after(known, answer, waiting)))

    def _of(self, target: Target) -> KnownEngine | None:
        """None for one of several that have a name together: who is who changes there."""
        if not target.where:
            return None
        if target.where not in self._known:
            self._known[target.where] = KnownEngine(target)
        return self._known[target.where]

    async def _make_way(self, known: KnownEngine, slot: int, session: str | None) -> None:
        waiting = known.waiting.get(slot)
        if waiting is None or waiting.task is None:
            return
        if waiting.session == session:
            waiting.is_off = True  # it goes on: its next reply says more
        waiting.now.set()
        await asyncio.wait((waiting.task,), timeout=_FLUSH)

    async def _bring_back(self, known: KnownEngine, slot: int, session: str, before: str | None) -> None:
        known.restored.pop(slot, None)
        if holder(known.ring, session) is None and not await self._is_news(known, slot, session):
            return
        here = await self._look(known, slot)
        if here is None or (here.is_busy and before == session):
            return
        seen = known.occupants.get(slot)
        if seen is not None and seen == (session, here.task, here.tokens):
            return
        known.occupants.pop(slot, None)
        where = known.target.where
        known.ring = ring = await self._table.read(where)
        at = holder(ring, session)
        if at is None:
            return
        place = ring[at]
        if (here.task, here.tokens) == (place.task, place.tokens):
            return  # another process has it there
        if await known.engine.model(_LOOK) != place.model:
            log.info("a saved slot is of another model", extra=_about(known, slot))
            return
        began = time.monotonic()
        count = await known.engine.restore(slot, self._table.file(where, at), _PATIENCE)
        known.ring = now = await self._table.read(where)
        if count != place.tokens or now[at : at + 1] != (place,):
            self._counted("failed").inc()
            log.warning("a saved slot could not be brought back", extra=_about(known, slot))
            if isinstance(count, int):  # it may be another chat's
                await known.engine.erase(slot, _LOOK)
            return
        self._counted("restored").inc()
        known.restored[slot] = place.tokens
        took = int((time.monotonic() - began) * 1000)
        log.info(
            "a chat's slot was brought back",
            extra={**_about(known, slot), "tokens": place.tokens, "took_ms": took},
        )

    async def _is_news(self, known: KnownEngine, slot: int, session: str) -> bool:
        """Has another process saved this chat a moment ago? Asked once in a while, for strangers alone."""
        seen, now = known.occupants.get(slot), time.monotonic()
        if (seen is not None and seen.session == session) or now - known.read_at < _NEWS:
            return False
        known.read_at = now
        known.ring = await self._table.read(known.target.where)
        return holder(known.ring, session) is not None

    def _judge(self, known: KnownEngine, answer: Answered) -> None:
        """Did the engine have any use of what was brought back?"""
        restored = known.restored.pop(answer.slot, None)
        if restored is None:
            return
        if not is_of_no_use(restored, answer.cached):
            known.useless = 0
            return
        if not answer.has_grown:
            return
        known.useless += 1
        if known.useless == _USELESS:
            known.useless = 0
            self._turn_off(known, *HAS_NO_USE)

    async def _unless_stopping(self, work: Coroutine[Any, Any, None]) -> None:
        doing, stopping = asyncio.ensure_future(work), asyncio.ensure_future(self._stopping.wait())
        await asyncio.wait((doing, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not doing.done():
            doing.cancel()
            await asyncio.wait((doing,))
            return
        doing.result()

    async def _after(self, known: KnownEngine, answer: Answered, waiting: WaitingSave) -> None:
        slot = answer.slot
        try:
            told = await known.engine.look(_LOOK)
            here = told.get(slot) if isinstance(told, dict) else None
            if isinstance(told, Refused):
                self._turn_off(known, *DOES_NOT_SAVE)
            elif here is not None and here.task is not None and here.tokens is None:
                self._turn_off(known, *DOES_NOT_COUNT)
            if here is None or not holds(here, answer.tokens):
                known.occupants.pop(slot, None)
                return
            known.occupants[slot] = seen = Occupant(answer.session, here.task, here.tokens)
            at = holder(known.ring, answer.session)
            if not is_due(here.tokens or 0, known.ring[at].tokens if at is not None else 0):
                return
            if await self._waited(known, waiting):
                await self._save(known, answer, seen)
        except StoreUnavailable as error:
            self._store_failed("write", error)
        except TimeoutError:
            log.debug("another process is at the table of slot files", extra=_about(known, slot))
        finally:
            if known.waiting.get(slot) is waiting:
                del known.waiting[slot]

    async def _waited(self, known: KnownEngine, waiting: WaitingSave) -> bool:
        """Wait for silence; is it to be saved then?"""
        left = max(_QUIET, known.rests_until - time.monotonic())
        try:
            async with asyncio.timeout(left):
                await waiting.now.wait()
        except TimeoutError:
            pass
        has_rested = time.monotonic() >= known.rests_until
        return not waiting.is_off and (has_rested or self._is_ending)

    async def _save(self, known: KnownEngine, answer: Answered, seen: Occupant) -> None:
        async with known.saving:  # one at a time
            await self._save_now(known, answer, seen)

    async def _save_now(self, known: KnownEngine, answer: Answered, seen: Occupant) -> None:
        slot, where = answer.slot, known.target.where
        model = await known.engine.model(_LOOK)
        here = await self._look(known, slot)
        if model is None or here is None or here.is_busy or (here.task, here.tokens) != seen[1:]:
            return
        claim = partial(
            claimed,
            size=self._size,
            session=answer.session,
            conversation=answer.conversation,
            now=time.time(),
        )
        writing = await self._changed(known, claim)
        if writing is None:
            return
        place, at = writing
        began = time.monotonic()
        count = await known.engine.save(slot, self._table.file(where, at), _SAVE)
        took = time.monotonic() - began
        known.rests_until = time.monotonic() + took * (_SHARE - 1)
        if isinstance(count, Refused):
            self._turn_off(known, *DOES_NOT_SAVE)
            return
        if count is None or count != seen.tokens:
            self._counted("failed").inc()
            log.warning("a slot could not be saved", extra=_about(known, slot))
            if count is not None:  # it was at work again; what is there now is written over
                await self._settle(known, at, place, half_written())
            return
        new = held(place, count, model, -1 if seen.task is None else seen.task, time.time())
        await self._settle(known, at, place, new)
        self._counted("saved").inc()
        log.info(
            "a chat's slot was saved",
            extra={**_about(known, slot), "tokens": count, "took_ms": int(took * 1000)},
        )

    async def _changed(
        self, known: KnownEngine, to: Callable[[Ring], tuple[Ring, int] | None]
    ) -> tuple[Place, int] | None:
        changed = await self._table.change(known.target.where, to)
        known.ring = await self._table.read(known.target.where)
        return changed

    async def _settle(self, known: KnownEngine, at: int, place: Place, new: Place) -> None:
        def to(ring: Ring) -> tuple[Ring, int] | None:
            changed = settled(ring, at, place, new)
            return (changed, at) if changed is not None else None

        await self._changed(known, to)

    async def _look(self, known: KnownEngine, slot: int) -> Slot | None:
        told = await known.engine.look(_LOOK)
        return told.get(slot) if isinstance(told, dict) else None

    def _turn_off(self, known: KnownEngine, why: str, cure: str) -> None:
        known.off_until, known.why = time.monotonic() + _OFF, (why, cure)
        log.warning(why, extra={"upstream": known.target.where, "cure": cure})

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_ROUND)
            for known in self._known.values():
                try:
                    await self._tidy(known)
                except TimeoutError:
                    log.debug("another process is at the table of slot files")
                except StoreUnavailable as error:
                    self._store_failed("read", error)

    async def _tidy(self, known: KnownEngine) -> None:
        """Write over what is to be forgotten."""
        ring = await self._table.read(known.target.where)
        if known.ring and not ring:  # everything was deleted, and this with it
            left = tuple(each if each.state == "free" else half_written() for each in known.ring)
            await self._changed(known, lambda _ring: (left, 0))
        else:
            known.ring = ring
        gone = await self._table.gone(ring)
        while to_wipe(known.ring, self._size, gone, time.time()) is not None:
            slot = await self._expendable(known)
            if slot is None:
                return
            wipe = partial(to_wipe, size=self._size, gone=gone, now=time.time())
            claim = await self._changed(known, wipe)
            if claim is None:
                return
            place, at = claim
            known.occupants.pop(slot, None)
            file = self._table.file(known.target.where, at)
            count = (
                await known.engine.save(slot, file, _SAVE) if await known.engine.erase(slot, _LOOK) else None
            )
            if count == 0:
                self._counted("wiped").inc()
                await self._settle(known, at, place, freed())
            elif isinstance(count, int):  # a turn has taken the slot meanwhile; not now, but soon
                return await self._settle(known, at, place, half_written())
            else:
                return

    async def _expendable(self, known: KnownEngine) -> int | None:
        """An idle slot that may be emptied: one with nothing in it, else the one that loses least."""
        told = await known.engine.look(_LOOK)
        if not isinstance(told, dict):
            return None
        saved = {place.session: place.tokens for place in known.ring if place.state == "held"}

        def loss(slot: int) -> int:
            seen = known.occupants.get(slot)
            has = told[slot].tokens or 0
            return abs(has - saved.get(seen.session, 0)) if seen is not None else has

        idle = [slot for slot, each in told.items() if not each.is_busy]
        return min(idle, key=loss, default=None)


def _about(known: KnownEngine, slot: int) -> dict[str, object]:
    return {"upstream": known.target.where, "slot": slot}
