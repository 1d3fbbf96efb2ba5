"""Making a summary, in the background, once for every step of the cut.

Rules: what is asked goes to the configured model as a question of the sidecar's own, without any id, so that
no agent takes it for a turn and no second sidecar for a chat. The client's credential goes with it only to
the upstream to which it went anyway. Whatever goes wrong is counted and said, without what was in it.
"""

from __future__ import annotations

import logging
import time

from aiohttp import web
from multidict import CIMultiDict

from sidecar import __version__
from sidecar.conversation.message import read, visible_text
from sidecar.conversation.overflow import recognised
from sidecar.conversation.records import Summary
from sidecar.conversation.summary import clipped, measure
from sidecar.conversation.transcript import pieces, question
from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.proxy.context import Context
from sidecar.proxy.summary import Missing
from sidecar.streaming.assembly import Assembled, from_body
from sidecar.upstream.headers import HISTORY
from sidecar.upstream.target import Target

__all__ = ["summarise_later"]

log = logging.getLogger("sidecar.proxy")

_PATIENCE = 300.0  # seconds for one answer
_LARGEST = 1 << 20  # bytes of one
_PIECES = 8  # in one job; what is left waits for the next request
_MOST_ROOM = 16_000  # tokens of one question
_AROUND = 64  # what chat templates and our own words around a question take


class _Unusable(SidecarError):
    """An answer from which no summary can be taken."""


def summarise_later(
    context: Context, missing: Missing | None, request: web.BaseRequest, credential: bytes
) -> None:
    """Have what is missing summed up in the background, if anything is."""
    if missing is None or context.store_health.is_failing:
        return
    target = context.targets.summary
    path, headers = target.chat_path(request.raw_path), _headers(request, target)
    room = _room(context, credential)
    context.summaries.begin(missing.conversation, lambda: _summarise(context, missing, path, headers, room))


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


async def _summarise(
    context: Context, missing: Missing, path: str, headers: CIMultiDict[str], room: int
) -> None:
    rules = context.settings.summary
    before = missing.known.text if missing.known else ""
    fronts = [each for each in missing.fronts if each.end > missing.told]
    try:
        for piece in pieces(missing.line, missing.told, fronts, room)[:_PIECES]:
            body = question(rules.prompt, rules.model, before, piece.text, rules.max_tokens)
            answer = await _answer(context, path, headers, body)
            before = clipped(answer, rules.max_tokens)
            summary = Summary(piece.front.hash, before, rules.model, time.time())
            await context.store.summarise(missing.conversation, summary)
            context.metrics.summaries.labels("made").inc()
    except StoreUnavailable as error:
        context.store_health.report("summary", error)
    except SidecarError as error:
        log.warning("a summary could not be made", extra={"error": error.message, **error.logged})
    else:
        context.summaries.ended(missing.conversation, well=True)
        return
    context.metrics.summaries.labels("failed").inc()
    context.summaries.ended(missing.conversation, well=False)


def _room(context: Context, credential: bytes) -> int:
    """How many tokens of turns one question may hold."""
    rules = context.settings.summary
    window = None if context.settings.summary_base else context.windows.of(rules.model, credential)
    if window is None:
        return context.summaries.room
    # Beside them stand the prompt, the summary so far and the answer.
    left = window - measure(rules.prompt) - 2 * rules.max_tokens - _AROUND
    return min(_MOST_ROOM, max(left, window // 4))


async def _answer(context: Context, path: str, headers: CIMultiDict[str], body: bytes) -> str:
    answer = await context.targets.summary.fetch(
        "POST", path, headers, body, timeout=_PATIENCE, limit=_LARGEST
    )
    if answer.status != 200:
        if recognised(answer.status, answer.body):
            context.summaries.too_long()
        raise _Unusable(f"the model that sums up answered with status {answer.status}")
    text = _text(from_body(answer.body))
    if not text:
        raise _Unusable("the model that sums up answered without a text")
    return text


def _text(answer: Assembled) -> str:
    if answer.error is not None or not answer.replies:
        return ""
    try:
        return visible_text(read(answer.replies[0].message))
    except ValueError:  # a number beyond all range, nesting without end
        return ""
