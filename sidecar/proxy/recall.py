"""What the cut dropped comes back where it is asked for: `prompt/recall.py`, with an index that is kept.

Rules: the words of a line that is cut are looked at once, in steps between which others are served. The index
only saves that: it is gone with the process, and made again from the line itself. What comes back is from the
line of this very request, which holds nothing of another branch or conversation.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from sidecar.exchange.call import ChatCall
from sidecar.exchange.plan import Plan
from sidecar.prompt.fit import Fitted, Full
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.recall import MOST_ROOM, Recalled, asked_for, newest_question, recalled, told
from sidecar.prompt.recall_index import RecallIndex
from sidecar.prompt.summary import Front, HasRole, latest_fronts
from sidecar.prompt.trim import Budget
from sidecar.proxy.services import Services
from sidecar.proxy.summary import hashed_path

__all__ = ["recall", "room_for_recall"]

_AT_ONCE = 0.002  # seconds of reading, between two looks at what else there is to do


def room_for_recall(services: Services, budget: Budget) -> int:
    """The tokens to keep free for what comes back; 0 where nothing is to, or there is no budget in tokens."""
    share = services.settings.trim.recall
    if budget.max_input_tokens is None or not share:
        return 0
    return min(int(budget.max_input_tokens * share), MOST_ROOM)


async def recall(
    services: Services, call: ChatCall, plan: Plan, full: Full, budget: Budget, fitted: Fitted
) -> Recalled | None:
    """What stands again of the turns that were dropped; None if there is nothing, or no room."""
    trimmed, most = fitted.trimmed, budget.max_input_tokens
    if not trimmed.recall or not trimmed.turns or most is None:
        return None
    if budget.max_messages is not None and len(full.system) + len(trimmed.kept) + 2 > budget.max_messages:
        return None
    roles, hash_of = hashed_path(call, plan)
    fronts = latest_fronts(full.line, roles, hash_of)
    asked = next(fronts, None)
    question = newest_question(full.line)
    if asked is None or asked.end != question:
        return None
    cache, key = services.requests.recall, hash_of(_first_front(roles, asked) - 1)
    line = cache.take(key, asked, fronts)
    await _extend(line.index, full.line, question)
    cache.put(key, asked, line)
    return recalled(full, fitted, most, line.index, asked_for(full.line))


def _first_front(roles: Sequence[HasRole], front: Front) -> int:
    """How many messages the shortest front has, which all branches behind the first answer share."""
    return next(at for at in range(1, front.messages + 1) if roles[at].role == "user")


async def _extend(index: RecallIndex, line: Sequence[Outgoing], question: int) -> None:
    """Read on up to the question. Nobody else has this index meanwhile."""
    last = time.monotonic()
    for each in line[index.messages : question]:
        index.add(told(each))
        if time.monotonic() - last > _AT_ONCE:
            await asyncio.sleep(0)
            last = time.monotonic()
