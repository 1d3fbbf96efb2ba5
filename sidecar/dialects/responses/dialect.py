"""Responses as the path of a request uses it: translated at both ends, a chat in between."""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping

from msgspec.structs import replace

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.tree import Chain
from sidecar.dialects.base import Assembled, Request, Translation, Truncation
from sidecar.dialects.chat import PATH as CHAT_PATH
from sidecar.dialects.chat.assembly import from_body
from sidecar.dialects.chat.dialect import Chat
from sidecar.dialects.chat.request import MAX_ESCAPES
from sidecar.dialects.responses import AGENT_HEADERS, PATH
from sidecar.dialects.responses.body import translated
from sidecar.dialects.responses.call_ids import with_ids_apart
from sidecar.dialects.responses.request import ResponsesRequest, parse_in_steps_translated
from sidecar.dialects.responses.tasks import is_task
from sidecar.dialects.responses.translation import About, Events, Whole
from sidecar.errors import BadRequest

__all__ = ["Responses", "belongs"]

# The answer that says nothing, at no cost.
_NOTHING = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}],"usage":{"prompt_tokens":0}}\n\n'
    b"data: [DONE]\n\n"
)

_BELONGS = re.compile(r"/(?:responses|conversations)(?:/[^/]*)*\Z")


def belongs(path: str) -> bool:
    """Is it a path of this API, whatever is served of it?"""
    return _BELONGS.search(path) is not None


class Responses(Chat):
    """See `base.Dialect`.

    By what a chat is known: by the headers that name one for every API, since people set them on purpose;
    else by Codex' own, the thread before the session, which may have several; else by its content. Not by
    `prompt_cache_key`: that is to be one for all prompts that begin alike, and may stand for an application.
    Codex says the same value in its headers.
    """

    name = "responses"
    path = PATH
    agent_headers = AGENT_HEADERS
    is_translated = True
    is_task = staticmethod(is_task)

    def __init__(
        self, max_tokens: str, max_reply: int, held: str | None = None, *, apart: bool = False
    ) -> None:
        """`max_tokens`: the name under which the upstream takes the length of an answer; `max_reply`: so many
        bytes of one are held. `held`: the id of a response whose items stand in the request already. `apart`:
        requests may be answered in the background."""
        self._max_tokens, self._max_reply, self._held, self._apart = max_tokens, max_reply, held, apart

    def holding(self, id: str) -> Responses:
        """The same for a request that has the items of this response in it."""
        return Responses(self._max_tokens, self._max_reply, id)

    def apart(self) -> Responses:
        """The same for a request that is answered in the background."""
        return Responses(self._max_tokens, self._max_reply, apart=True)

    def prepared(
        self, body: bytes, exchange: bytes, clock: Callable[[], float]
    ) -> tuple[bytes, Mapping[str, str]]:
        """The events of the answer to a request that asks for none, and its headers. Raises `BadRequest`."""
        _, asked = translated(body, self._max_tokens, self._held)
        events = Events(About(asked, Reference("", exchange), int(clock()), clock, self._max_reply))
        return events.feed(_NOTHING) + events.held, events.headers

    def parse(
        self,
        body: bytes,
        chain: Chain,
        before: Request | None,
        most: int,
        escapes: int = MAX_ESCAPES,
        *,
        goes_on: bool = False,
    ) -> Generator[None, None, ResponsesRequest]:
        """`goes_on`: something may be stored before it that holds the calls of the results it begins with."""
        return parse_in_steps_translated(
            body,
            chain,
            before,
            most,
            escapes,
            self._max_tokens,
            self._held,
            goes_on=goes_on,
            apart=self._apart,
        )

    @staticmethod
    def assembled(data: bytes, choices: int = 1) -> Assembled:
        said = from_body(data, choices)
        return replace(said, replies=tuple(map(with_ids_apart, said.replies)))

    def upstream_path(self, path: str) -> str:
        place, found, parameters = path.partition("?")
        return place.removesuffix(PATH) + CHAT_PATH + found + parameters

    def refuse(self, path: str) -> None:
        if belongs(path):
            raise BadRequest(
                f"{path}: Responses and Conversations are served here, but no such call of theirs",
                code="unsupported_endpoint",
            )

    def truncation(self, request: Request) -> Truncation | None:
        assert isinstance(request, ResponsesRequest)
        return request.asked.truncation

    def translation(
        self, request: Request, exchange: Reference, created: int, clock: Callable[[], float]
    ) -> Translation | None:
        assert isinstance(request, ResponsesRequest)
        told = Events if request.asked.streamed else Whole
        return told(About(request.asked, exchange, created, clock, self._max_reply))
