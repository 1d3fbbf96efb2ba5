"""Does the upstream serve Responses by itself? With `responses.upstream = auto` it is asked.

Rules:

- It is asked by a request for a response that says nothing at all. Whoever serves the path refuses that for
  its form, and has begun nothing; whoever does not answers that there is no such path: 404, 405 or 501. So no
  request of a client's is ever sent twice.
- A 404 that speaks of a model is the answer of one who looked for it. What says neither (it wants a key, it
  is busy, it failed, it is away) decides nothing: what was known counts, and else requests are translated,
  which works with both; it is asked again soon. What is known is doubted after an hour.
- It goes with the credential of the request that made us ask, and with nothing else of it: not to its path
  either, for what one client finds at a path of its own says nothing of what the others find.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web
from multidict import CIMultiDict

from sidecar.dialects.responses import PATH
from sidecar.dialects.responses.dialect import Responses
from sidecar.errors import SidecarError
from sidecar.upstream.target import Fetched, Target

__all__ = ["OwnResponses", "verdict"]

log = logging.getLogger("sidecar.proxy")

_KNOWN_FOR = 3600.0  # seconds
_ASKED_AGAIN_AFTER = 10.0  # seconds, where the answer decided nothing
_TIMEOUT = 5.0  # seconds for it
_MAX_ANSWER = 16 << 10  # bytes
_PLACE = "/v1" + PATH  # at the upstream's base
_NO_PATH = frozenset((404, 405, 501))
_BAD_FORM = frozenset((400, 409, 413, 415, 422))


def verdict(answer: Fetched) -> bool | None:
    """What an answer to a request without any member says; None if nothing."""
    if answer.status in _NO_PATH:
        return answer.status == 404 and b"model" in answer.body.lower()
    if answer.status < 300:  # also whoever answers everything with a page
        return answer.body.lstrip()[:1] == b"{"
    return True if answer.status in _BAD_FORM else None


class OwnResponses:
    """`ours`: what is done where it does not; what is done where it does, nobody has to say."""

    def __init__(self, target: Target, ours: Responses) -> None:
        self._target, self._ours = target, ours
        self._is_theirs = False
        self._asking = asyncio.Lock()
        #: Is it known, until it is doubted?
        self.is_known = False

    async def dialect(self, request: web.BaseRequest, doubted: Callable[[], None]) -> Responses | None:
        """Ours, if it is to be used, by what is known or is found out now. `doubted` is called once that is
        no longer sure."""
        async with self._asking:
            if not self.is_known:
                told = await self._asked(request)
                if told is not None:
                    self._is_theirs = told
                    log.info("whether the upstream serves Responses", extra={"it_does": told})
                self.is_known = True
                patience = _ASKED_AGAIN_AFTER if told is None else _KNOWN_FOR
                asyncio.get_running_loop().call_later(patience, self._doubt, doubted)
        return None if self._is_theirs else self._ours

    def _doubt(self, doubted: Callable[[], None]) -> None:
        self.is_known = False
        doubted()

    async def _asked(self, request: web.BaseRequest) -> bool | None:
        headers = CIMultiDict({"Content-Type": "application/json", "Accept-Encoding": "identity"})
        headers.extend(
            (name, value) for name, value in request.headers.items() if name.lower() in self._target.takes
        )
        try:
            answer = await self._target.fetch(
                "POST", _PLACE, headers, b"{}", timeout=_TIMEOUT, limit=_MAX_ANSWER, attempts=1
            )
        except SidecarError:  # it says more where the request itself comes to nothing
            return None
        return verdict(answer)
