"""What is known of each model's window, and who told.

Rules: a table in the settings is believed before anything else. What a refusal taught counts where it is
less than what the upstream's list says, and lapses after a day, for engines are started anew with more, and
an error may have lied. The list is asked for in the background, with the credential of the request that made
us ask, and never for the demo; no request waits for it, and its failure is no more than not knowing. What
list or refusal told one credential counts for that alone (`known_windows`).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any, Protocol

from multidict import CIMultiDict

from sidecar.background.known_windows import KnownWindows
from sidecar.background.tasks import Spawn
from sidecar.conversation.message import encode
from sidecar.errors import SidecarError
from sidecar.prompt.model_lists import ANY, Window, names, shown, windows
from sidecar.settings import Settings
from sidecar.upstream.pool import Pool
from sidecar.upstream.target import Fetched

__all__ = ["ModelWindows", "WindowsThere"]

log = logging.getLogger("sidecar.proxy")

_LEARNED_TTL = 24 * 3600.0  # seconds until what a refusal taught is doubted
_TIMEOUT = 5.0  # seconds for one answer
_RETRY_AFTER = 60.0  # seconds before a model that no list held, or a list that failed, is asked for again
_MAX_LOGGED_NAME = 256  # characters of a model's name in the log
_MAX_LIST_SIZE = 8 << 20  # bytes of a list
# Beside `/v1/models`: LM Studio's, Ollama's and LiteLLM's own lists.
_RUNNING = "/api/ps"
_OTHER_LISTS = ("/api/v0/models", _RUNNING, "/model/info")
_SHOW = "/api/show"


class Asked(Protocol):
    """Who is asked: a target, or a pool of them."""

    @property
    def takes(self) -> frozenset[str]:
        """The credential headers of clients that go there."""
        ...

    async def fetch(
        self,
        method: str,
        path: str,
        headers: CIMultiDict[str],
        body: bytes | None = None,
        *,
        timeout: float,
        limit: int,
        attempts: int | None = None,
    ) -> Fetched:
        """As `Target.fetch`."""
        ...

    def learn(self, models: Fetched) -> None:
        """As `Target.learn`."""
        ...


class ModelWindows:
    """The windows of an upstream's models."""

    def __init__(self, settings: Settings, target: Asked, spawn: Spawn) -> None:
        self._trim = settings.trim
        self._refresh = settings.trim.window_refresh
        self._target = target
        self._spawn = spawn
        self._known = KnownWindows()
        self._names: frozenset[str] = frozenset()
        self._asking: asyncio.Task[None] | None = None
        #: The list that the log tells of.
        self._logged: dict[str, Window] = {}

    def of(self, model: str | None, credential: bytes) -> int | None:
        """The model's window in tokens, as far as this credential (a hash) was told; None if it was not."""
        shown = self.shown(model, credential)
        if shown is not None:
            return shown
        listed = self._listed(model, credential)
        return listed.tokens if listed is not None else None

    def shown(self, model: str | None, credential: bytes) -> int | None:
        """The window that the settings name, or a refusal has shown."""
        rule = self._trim.rule(model)
        if rule is not None and rule.window is not None:
            return rule.window
        learned, at = self._known.learned(credential, model or "") or (None, 0.0)
        if learned is None or time.time() - at > _LEARNED_TTL:
            return None
        listed = self._listed(model, credential)
        return min(learned, listed.tokens) if listed is not None else learned

    def of_engine(self, model: str | None, credential: bytes) -> int | None:
        """The window that the engine itself tells of the model that it runs; a catalogue is no engine."""
        listed = self._listed(model, credential)
        return listed.tokens if listed is not None and listed.by_engine else None

    def _listed(self, model: str | None, credential: bytes) -> Window | None:
        told = self._known.listed(credential)
        return told.get(model or "") or told.get(ANY)

    def learn(self, model: str | None, credential: bytes, window: int) -> None:
        """A refusal has told this credential the window."""
        name = model or ""
        if self.of(name, credential) != window:
            log.info(
                "a model's window was learned", extra={"model": name[:_MAX_LOGGED_NAME], "window": window}
            )
        self._known.learn(credential, name, window, time.time())

    def cut_silently(self, model: str | None, credential: bytes, counted: int | None) -> None:
        """The upstream seems to have cut a prompt of this credential to so many tokens; None: no more."""
        self._known.cut_silently(credential, model or "", counted, time.time())

    def silent_cut(self, model: str | None, credential: bytes) -> int | None:
        """The tokens to which the upstream has lately seemed to cut; None if it has not."""
        counted, at = self._known.cut(credential, model or "") or (None, 0.0)
        return counted if time.time() - at <= _LEARNED_TTL else None

    def look(self, model: str | None, credential: bytes, headers: Mapping[str, str]) -> None:
        """A request for this model was taken: ask for its window if that is due, and return at once.

        Not before it was taken, lest keys that somebody makes up are asked with, again and again.
        """
        if not self._refresh or (self._asking is not None and not self._asking.done()):
            return
        told, asked_at = self._known.listed(credential), self._known.asked_at(credential)
        known = (model or "") in told or ANY in told
        wait = self._refresh if known else min(self._refresh, _RETRY_AFTER)
        now = time.monotonic()
        if asked_at is not None and now - asked_at < wait:
            return
        self._known.asking(credential, now)
        sent = CIMultiDict(
            (name, value) for name, value in headers.items() if name.lower() in self._target.takes
        )
        self._asking = self._spawn(self._ask(model or "", credential, sent))

    def lists(self, model: str) -> bool:
        """Has the upstream named this model itself, in the newest of its lists?"""
        return model in self._names

    def stop(self) -> None:
        """The process ends: nobody needs the answer any more."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self, model: str, credential: bytes, headers: CIMultiDict[str]) -> None:
        found = await self.asked(model, headers)
        if found and found != self._logged:  # each credential asks, and most are told the same
            log.info("the upstream lists context windows", extra={"models": len(found)})
            self._logged = found
        self._known.hold(credential, found)

    async def asked(self, model: str, headers: CIMultiDict[str]) -> dict[str, Window]:
        """The windows of the upstream's models by name, asked for with these headers."""
        listed = await self._get("/v1/models", headers)
        found, self._names = windows(listed), names(listed) or self._names
        for path in _OTHER_LISTS:
            if found:
                break
            found = windows(await self._get(path, headers), running=path == _RUNNING)
            if path == _RUNNING and not found:
                body = await self._get(_SHOW, headers, {"model": model})
                found = {model: Window(window, by_engine=True)} if (window := shown(body)) else {}
        return found

    async def _get(self, path: str, headers: CIMultiDict[str], question: Any = None) -> bytes:
        """The body of an answer; nothing if there is none that could be read."""
        sent = CIMultiDict({**headers, "Accept": "application/json", "Accept-Encoding": "identity"})
        method, body = "GET", None
        if question is not None:
            sent["Content-Type"] = "application/json"
            method, body = "POST", encode(question)
        try:
            answer = await self._target.fetch(
                method, path, sent, body, timeout=_TIMEOUT, limit=_MAX_LIST_SIZE, attempts=1
            )
        except SidecarError as error:
            log.debug("no list of models", extra={"path": path, "error": error.message, **error.logged})
            return b""
        if path == "/v1/models":
            self._target.learn(answer)
        return answer.body if answer.status == 200 and not answer.is_cut else b""


class WindowsThere(ModelWindows):
    """Those of a target of `targets`, where models may have other names than clients use."""

    def __init__(self, settings: Settings, pool: Pool, spawn: Spawn) -> None:
        super().__init__(settings, pool, spawn)
        self._named = pool.named

    def look(self, model: str | None, credential: bytes, headers: Mapping[str, str]) -> None:
        super().look(self._named(model), credential, headers)

    def _listed(self, model: str | None, credential: bytes) -> Window | None:
        return super()._listed(self._named(model), credential)
