"""The requests that are being answered now: how far each has come, and what it waits for.

Rule: it is found out when somebody asks, from what a request notes of itself in any case. Of tasks, temporary
chats and what is kept nowhere it is told that they are there, and never which chat it is.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

import msgspec

from sidecar.exchange.call import ChatCall, TaskCall
from sidecar.exchange.outcome import Progress
from sidecar.inspector.shown import told

__all__ = ["MOST", "LivePage", "OpenRequest", "Told", "live_page_of", "told_of"]

#: Requests that are told: of one worker, and on a page.
MOST = 200


class OpenRequest(msgspec.Struct, frozen=True):
    """One request. `when` in Unix seconds, the other times in milliseconds from its arrival; `bytes`: of its
    answer, that have come. `conversation`: empty where none is kept, or none is known yet."""

    conversation: str
    name: str
    is_new: bool
    outcome: str
    model: str
    target: str
    when: float
    age_ms: int
    head_ms: int | None
    first_ms: int | None
    bytes: int
    waits_for: str
    worker: int


class Told(msgspec.Struct, frozen=True):
    """What one worker has to tell: how many are open, and the oldest of them."""

    total: int = 0
    requests: tuple[OpenRequest, ...] = ()


class LivePage(msgspec.Struct, frozen=True):
    """All workers together; `silent`: how many of `workers` did not answer."""

    total: int
    workers: int
    silent: int
    requests: tuple[OpenRequest, ...]


def told_of(under_way: Iterable[Progress], now: float | None = None) -> Told:
    """What this process is answering; `now`: by the clock of `Progress`."""
    now = time.monotonic() if now is None else now
    open_now = sorted(under_way, key=lambda each: each.arrived)
    return Told(len(open_now), tuple(_request(each, now) for each in open_now[:MOST]))


def live_page_of(told: Iterable[Told | None]) -> LivePage:
    """One page of what all workers tell; None stands for one that did not answer."""
    answers = list(told)
    given = [each for each in answers if each is not None]
    requests = sorted((one for each in given for one in each.requests), key=lambda one: one.when)
    total = sum(each.total for each in given)
    return LivePage(total, len(answers), len(answers) - len(given), tuple(requests[:MOST]))


def _request(progress: Progress, now: float) -> OpenRequest:
    call, plan, began = progress.call, progress.plan, progress.arrived
    conversation, name, outcome = "", "", plan.outcome.value if plan is not None else ""
    if isinstance(call, ChatCall) and not call.is_temporary:
        held = plan.conversation if plan is not None else None
        conversation = held.id if held is not None else ""
        name = call.identity.key or conversation
    elif call is not None:
        outcome = "task" if isinstance(call, TaskCall) else "kept nowhere"
    return OpenRequest(
        conversation=conversation,
        name=told(name, 80),
        is_new=outcome == "start",
        outcome=outcome,
        model=told(call.chat.model, 80) if call is not None else "",
        target=told(progress.target),
        when=progress.when / 1000,
        age_ms=_since(began, now),
        head_ms=_since(began, progress.head) if progress.head else None,
        first_ms=_since(began, progress.first) if progress.first else None,
        bytes=progress.answer.received if progress.answer is not None else 0,
        waits_for=_waits_for(progress),
        worker=os.getpid(),
    )


def _waits_for(progress: Progress) -> str:
    if progress.call is None:
        return "the rest of its body" if not progress.received else "being read"
    if progress.is_in_line:
        return "the answer before it"
    if progress.plan is None:
        return "the store"
    if not progress.sent:
        return "being put together"
    if progress.answer is None:
        return "the upstream's answer"
    if progress.answer.is_over:
        return "the store, to keep it" if progress.is_recorded else "its client"
    return "more of the answer" if progress.first else "the first piece"


def _since(began: float, now: float) -> int:
    return max(0, int((now - began) * 1000))
