"""Making a summary, in the background, once for every step of the cut.

Rules: what is asked goes to the configured model as a question of the sidecar's own, without any id, so that
no agent takes it for a turn and no second sidecar for a chat. The client's credential goes with it only to
the upstream to which it went anyway. What is no summary is asked for once more, with more room, and then
dropped. Whatever goes wrong is counted and said, without what was in it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable

from aiohttp import web
from multidict import CIMultiDict

from sidecar import __version__
from sidecar.background.summary_jobs import SummaryJobs
from sidecar.background.tasks import Spawn
from sidecar.conversation.message import Fields, read, visible_text
from sidecar.conversation.records import Summary
from sidecar.dialects.base import Assembled
from sidecar.dialects.chat.dialect import CHAT
from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.metrics import Metrics
from sidecar.prompt.summary import Missing, clipped, measure
from sidecar.prompt.summary_question import MORE_ROOM, fault_of, pieces, question
from sidecar.settings.sections import Summary as SummarySettings
from sidecar.store import Store
from sidecar.upstream.headers import HISTORY
from sidecar.upstream.target import Target

__all__ = ["Summarizer"]

log = logging.getLogger("sidecar.proxy")

_TIMEOUT = 300.0  # seconds for one answer
_MAX_ANSWER_SIZE = 1 << 20  # bytes of one
_MAX_PIECES = 8  # in one job; what is left waits for the next request
_MAX_INPUT_BUDGET = 16_000  # tokens of one question
_TEMPLATE_TOKENS = 64  # what chat templates and our own words around a question take


class _Unusable(SidecarError):
    """An answer from which no summary can be taken."""


class Summarizer:
    """Has what was dropped from a chat summed up by the model of `summary.model`."""

    def __init__(
        self,
        rules: SummarySettings,
        target: Target,
        store: Store,
        failed: Callable[[str, StoreUnavailable], None],
        windows: Callable[[str, bytes], int | None],
        metrics: Metrics,
        spawn: Spawn,
    ) -> None:
        """`failed` is told what the store said; `windows` knows a model's window, by the key of who asks."""
        self._rules = rules
        self._target = target
        self._store = store
        self._failed = failed
        self._windows = windows
        self._metrics = metrics
        self._jobs = SummaryJobs(spawn)

    def begin(self, missing: Missing, request: web.BaseRequest, credential: bytes) -> None:
        """Have this summed up in the background, for whoever sent this request."""
        path, headers = self._target.chat_path(request.raw_path), _headers(request, self._target)
        room = self._room(credential)
        self._jobs.begin(missing.conversation, lambda: self._summarise(missing, path, headers, room))

    def stop(self) -> None:
        """The process ends: a later one makes what is not made now."""
        self._jobs.stop()

    async def _summarise(self, missing: Missing, path: str, headers: CIMultiDict[str], room: int) -> None:
        rules = self._rules
        before = missing.known.text if missing.known else ""
        fronts = [each for each in missing.fronts if each.end > missing.told]
        try:
            for piece in pieces(missing.line, missing.told, fronts, room)[:_MAX_PIECES]:
                answer = await self._answer(path, headers, before, piece.text)
                before = clipped(answer, rules.max_tokens)
                summary = Summary(piece.front.hash, before, rules.model, time.time())
                await self._store.add_summary(missing.conversation, summary)
                self._metrics.summaries.labels("made").inc()
        except StoreUnavailable as error:
            self._failed("summary", error)
        except SidecarError as error:
            log.warning("a summary could not be made", extra={"error": error.message, **error.logged})
        else:
            self._jobs.ended(missing.conversation, well=True)
            return
        self._metrics.summaries.labels("failed").inc()
        self._jobs.ended(missing.conversation, well=False)

    def _room(self, credential: bytes) -> int:
        """How many tokens of turns one question may hold."""
        rules = self._rules
        window = self._windows(rules.model, credential)
        if window is None:
            return self._jobs.room
        # Beside them stand the prompt, the summary so far and the answer.
        left = window - measure(rules.prompt) - 2 * rules.max_tokens - _TEMPLATE_TOKENS
        return min(_MAX_INPUT_BUDGET, max(left, window // 4))

    async def _answer(self, path: str, headers: CIMultiDict[str], before: str, text: str) -> str:
        """A summary; asked for once more, with more room, where the first answer is none."""
        rules, fault = self._rules, ""
        for room in (1, MORE_ROOM):
            body = question(rules.prompt, rules.model, before, text, rules.max_tokens, room)
            answer, finish = await self._asked(path, headers, body)
            fault = fault_of(answer, finish, rules.max_tokens)
            if not fault:
                return visible_text(answer)
        raise _Unusable(f"the model that sums up {fault}")

    async def _asked(self, path: str, headers: CIMultiDict[str], body: bytes) -> tuple[Fields, str | None]:
        """The message that it answers with, and why that ended."""
        answer = await self._target.fetch(
            "POST", path, headers, body, timeout=_TIMEOUT, limit=_MAX_ANSWER_SIZE
        )
        if answer.status != 200:
            if CHAT.overflow(answer.status, answer.body, body):
                self._jobs.too_long()
            raise _Unusable(f"the model that sums up answered with status {answer.status}")
        return _message(CHAT.assembled(answer.body, 1))


def _headers(request: web.BaseRequest, target: Target) -> CIMultiDict[str]:
    headers = CIMultiDict(
        {
            "Content-Type": "application/json",
            "Accept": "application/json",
            "Accept-Encoding": "identity",
            "User-Agent": f"conversation-sidecar/{__version__}",
            HISTORY: "off",
        }
    )
    headers.extend((name, value) for name, value in request.headers.items() if name.lower() in target.takes)
    return headers


def _message(answer: Assembled) -> tuple[Fields, str | None]:
    if answer.error is not None or not answer.replies:
        raise _Unusable("the model that sums up answered without a text")
    reply = answer.replies[0]
    try:
        return read(reply.message), reply.finish_reason
    except ValueError:  # a number beyond all range, nesting without end
        raise _Unusable("the model that sums up answered with what cannot be read") from None
