"""What the upstream's reports teach: of each model, how its tokens are to be estimated.

Rules: no reply waits for it, for what was reported is read a moment after the reply has ended; of a model
that is known well one report a second is enough, for reading one means to look through the whole prompt. What
is known is kept in the store, at most every half minute and at the end; a failure of the store is counted and
said, and the process goes on with what it knows. What a prompt that was cut silently counts is said, and not
learned, as long as it can have been cut.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from sidecar.background.tasks import Spawn
from sidecar.conversation.measure import Measure, Measured, measure_of_tools, total
from sidecar.conversation.pieces import LARGE, MANY
from sidecar.dialects.base import Request
from sidecar.errors import StoreUnavailable
from sidecar.exchange.prompt import Prompt
from sidecar.metrics import Metrics
from sidecar.prompt.calibration import START, Learning, learned
from sidecar.prompt.silent_truncation import (
    NO_CEILING,
    NO_SHARE,
    SilentCeiling,
    SteadyShare,
    is_far_too_small,
)
from sidecar.prompt.weights import Weights
from sidecar.store import Store

__all__ = ["CalibrationThere", "TokenCalibration"]

log = logging.getLogger("sidecar.proxy")

_NAME = "tokens:"
_READ_DELAY = 0.05  # seconds until a report is read
_EVERY = 30.0  # seconds between two writes
_WELL_KNOWN_AFTER = 50  # reports after which a model is known well
_READ_INTERVAL = 1.0  # seconds from then on between two that are read
_LOG_INTERVAL = 3600.0  # seconds until the same is said again of a model
_MAX_MODELS = 500  # models
_MAX_PENDING = 1000  # reports
_MAX_PENDING_BYTES = 32 << 20  # of the prompts that they hold; the newest report may have more
_MAX_NAME_LENGTH = 256
# A prompt of more bytes for each token that was counted is looked at: it may have been cut.
_FEW = 5

_StoreFailed = Callable[[str, Exception], None]


@dataclass(slots=True)
class _Model:
    state: Learning = START
    ceiling: SilentCeiling = NO_CEILING
    share: SteadyShare = NO_SHARE
    said_at: float | None = None
    heard_at: float | None = None
    is_saved: bool = True


_UNKNOWN = _Model()


class TokenCalibration:
    """The weights of each model."""

    def __init__(self, store: Store, metrics: Metrics, spawn: Spawn, store_failed: _StoreFailed) -> None:
        self._store = store
        self._metrics = metrics
        self._spawn = spawn
        self._store_failed = store_failed
        self._models: dict[str, _Model] = {}
        self._reports: deque[tuple[str, tuple[Measured, ...], bytes, int, int]] = deque()
        self._waiting = 0  # bytes
        self._reading: asyncio.Task[None] | None = None
        self._saving: asyncio.Task[None] | None = None
        self._saved_at = -_EVERY
        self._ending = asyncio.Event()

    async def load(self) -> None:
        """Read what was kept. Raises `StoreUnavailable`."""
        for name, value in (await self._store.load_learned()).items():
            if name.startswith(_NAME):
                state = Learning.decoded(value)
                if state is None:
                    log.warning("the token calibration of a model cannot be read", extra={"learned": name})
                elif len(self._models) < _MAX_MODELS:
                    self._models[name.removeprefix(_NAME)] = _Model(state)

    def weights(self, model: str | None) -> Weights:
        """The weights to estimate this model's tokens with."""
        known = self._models.get(model or "")
        return known.state.weights if known else START.weights

    def error(self, model: str | None, prompt: Measure) -> float:
        """By which share the estimate of a prompt like this may be off."""
        known = self._models.get(model or "", _UNKNOWN)
        return known.state.error(prompt)

    def look(
        self, chat: Request, prompt: Prompt, tokens: int | None, name: str | None = None
    ) -> tuple[int | None, bool]:
        """The tokens of a prompt by the estimate, and whether the upstream seems to have cut it silently.

        None where that would cost more than it tells: the upstream has counted, and as many as usual.
        """
        is_odd = not tokens or tokens * _FEW < len(chat.body)
        if not prompt.sent or not (is_odd or prompt.is_measured):
            return None, False
        known, measure = self._model_of(name or chat.model), _measure(chat, prompt)
        estimate = known.state.weights.tokens(measure)
        return estimate, bool(tokens and is_odd) and _is_cut(known, measure, tokens or 0)

    def estimate(self, chat: Request, prompt: Prompt, name: str | None = None) -> tuple[int, int]:
        """The tokens of a prompt, and those that it has at least, however far off the estimate may be; 0 for
        one that nobody has to know."""
        if not prompt.sent:
            return 0, 0
        state, measure = self._model_of(name or chat.model).state, _measure(chat, prompt)
        tokens = state.weights.tokens(measure)
        return tokens, int(tokens * max(0.0, 1 - state.error(measure)))

    def _model_of(self, model: str | None) -> _Model:
        model = model if len(model or "") <= _MAX_NAME_LENGTH else None
        return self._models.get(model or "", _UNKNOWN)

    def report(
        self, model: str | None, sent: Sequence[Measured], tools: bytes, tokens: int, size: int
    ) -> None:
        """A complete reply to these messages came, and they took so many tokens; returns at once.

        `size` is what the messages and tools take, in bytes. Where too much waits, the oldest is not read.
        """
        if len(model or "") > _MAX_NAME_LENGTH or not self._is_wanted(model or ""):
            return
        self._reports.append((model or "", tuple(sent), tools, tokens, size))
        self._waiting += size
        while len(self._reports) > 1 and (
            self._waiting > _MAX_PENDING_BYTES or len(self._reports) > _MAX_PENDING
        ):
            self._waiting -= self._reports.popleft()[-1]
        if self._reading is None or self._reading.done():
            self._reading = self._spawn(self._read())

    def _is_wanted(self, name: str) -> bool:
        known = self._models.get(name)
        if known is None or known.state.reports < _WELL_KNOWN_AFTER:
            return True
        now = time.monotonic()
        if known.heard_at is not None and now - known.heard_at < _READ_INTERVAL:
            return False
        known.heard_at = now
        return True

    def observe(self, model: str | None, prompt: Measure, tokens: int) -> None:
        """A prompt of this measure was answered, and counted."""
        name = model or ""
        known = self._known(name)
        is_cut = _is_cut(known, prompt, tokens)
        hits = known.ceiling.hits
        known.ceiling = known.ceiling.after(prompt, tokens)
        known.share = known.share.after(prompt, tokens) if is_cut else NO_SHARE
        if known.share.is_certain:
            known.share = NO_SHARE
            log.info("a model counts otherwise than before, and is learned anew", extra={"model": name})
            self._learn(known, prompt, tokens, certain=True)
        elif is_cut:
            self._cut_silently(name, known, known.state.weights.tokens(prompt), tokens)
        elif known.ceiling.hits <= hits:
            self._learn(known, prompt, tokens)

    def refused(self, model: str | None, prompt: Measure, tokens: int) -> None:
        """A prompt of this measure was refused, and has `tokens` or more.

        Some engines stop counting where the window ends, so a count below the estimate teaches nothing.
        """
        if len(model or "") > _MAX_NAME_LENGTH:
            return
        known = self._known(model or "")
        if tokens > known.state.weights.tokens(prompt):
            self._learn(known, prompt, tokens, certain=True)

    def _known(self, name: str) -> _Model:
        known = self._models.pop(name, None) or _Model()
        self._models[name] = known  # the newest stand last
        while len(self._models) > _MAX_MODELS:
            del self._models[next(iter(self._models))]
        return known

    def _learn(self, known: _Model, prompt: Measure, tokens: int, *, certain: bool = False) -> None:
        state = learned(known.state, prompt, tokens, certain=certain)
        known.is_saved = known.is_saved and state.reports == known.state.reports
        known.state = state
        if not known.is_saved:
            self._save_later()

    def stop(self) -> None:
        """The process ends: nothing waits any longer."""
        self._ending.set()

    async def _read(self) -> None:
        await self._pause(_READ_DELAY)
        while self._reports:
            model, sent, tools, tokens, size = self._reports.popleft()
            self._waiting -= size
            is_long = size > LARGE or len(sent) > MANY
            measure = await asyncio.to_thread(_all, sent, tools) if is_long else _all(sent, tools)
            self.observe(model, measure, tokens)
            await asyncio.sleep(0)  # a long prompt takes a while to measure

    def _cut_silently(self, name: str, known: _Model, estimate: int, tokens: int) -> None:
        self._metrics.silently_cut.inc()  # the log names the model; clients make names up
        now = time.monotonic()
        if known.said_at is not None and now - known.said_at < _LOG_INTERVAL:
            return
        known.said_at = now
        log.warning(
            "the upstream seems to cut prompts silently: give it a longer context (Ollama: `num_ctx` of the "
            "model, or OLLAMA_CONTEXT_LENGTH), or set `trim.on_silent_cut` to `trim`, or "
            "`trim.max_input_tokens` to what it holds",
            extra={"model": name, "estimated": estimate, "counted": tokens},
        )

    def _save_later(self) -> None:
        if self._saving is None or self._saving.done():
            self._saving = self._spawn(self._save())

    async def _save(self) -> None:
        await self._pause(self._saved_at + _EVERY - time.monotonic())
        self._saved_at = time.monotonic()
        changed = {name: known for name, known in self._models.items() if not known.is_saved}
        for name, known in changed.items():
            known.is_saved = True
            try:
                await self._store.save_learned(_NAME + name, known.state.encoded())
            except StoreUnavailable as error:
                known.is_saved = False
                self._store_failed("write", error)
                return

    async def _pause(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(max(0.0, seconds)):
                await self._ending.wait()


class CalibrationThere:
    """What is known of the models of one target of `targets`: each is another model than one of its name
    elsewhere. `maker` gives the name under which it is known."""

    def __init__(self, all_models: TokenCalibration, maker: Callable[[str | None], str | None]) -> None:
        self._all = all_models
        self._maker = maker

    def weights(self, model: str | None) -> Weights:
        """As `TokenCalibration.weights`; the same of the other methods."""
        return self._all.weights(self._maker(model))

    def error(self, model: str | None, prompt: Measure) -> float:
        return self._all.error(self._maker(model), prompt)

    def look(self, chat: Request, prompt: Prompt, tokens: int | None) -> tuple[int | None, bool]:
        return self._all.look(chat, prompt, tokens, self._maker(chat.model))

    def estimate(self, chat: Request, prompt: Prompt) -> tuple[int, int]:
        return self._all.estimate(chat, prompt, self._maker(chat.model))

    def report(
        self, model: str | None, sent: Sequence[Measured], tools: bytes, tokens: int, size: int
    ) -> None:
        self._all.report(self._maker(model), sent, tools, tokens, size)

    def refused(self, model: str | None, prompt: Measure, tokens: int) -> None:
        self._all.refused(self._maker(model), prompt, tokens)


def _all(sent: Sequence[Measured], tools: bytes) -> Measure:
    return total([*(each.measure for each in sent), measure_of_tools(tools)])


def _measure(chat: Request, prompt: Prompt) -> Measure:
    """What went upstream."""
    is_own = prompt.form is not None and prompt.form.rule == "client" and not prompt.dropped
    said = chat.measure if is_own else total([each.measure for each in prompt.sent])
    return total([said, measure_of_tools(chat.tools)]) if chat.tools else said


def _is_cut(known: _Model, prompt: Measure, tokens: int) -> bool:
    """Does a prompt of this measure, counted so, show that the upstream cuts silently?"""
    after = known.ceiling.after(prompt, tokens)
    has_hit = after.hits > known.ceiling.hits and after.is_certain
    return has_hit or is_far_too_small(known.state, prompt, tokens)
