"""Chat Completions as the path of a request uses it: each question goes to the room that knows the answer."""

from __future__ import annotations

from collections.abc import Callable, Generator

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.tree import Chain
from sidecar.dialects.base import End, Request, Translation, Truncation
from sidecar.dialects.chat import PATH
from sidecar.dialects.chat.assembly import from_body
from sidecar.dialects.chat.compact import compacted
from sidecar.dialects.chat.content_refusal import is_refused
from sidecar.dialects.chat.done_marker import Ending, UnnamedEnding
from sidecar.dialects.chat.first_event import Opening
from sidecar.dialects.chat.form_refusal import form_refusal
from sidecar.dialects.chat.overflow import recognised
from sidecar.dialects.chat.prefill import extended
from sidecar.dialects.chat.request import MAX_ESCAPES, ChatRequest, parse_in_steps
from sidecar.dialects.chat.tasks import is_task, shorter_task

__all__ = ["CHAT", "Chat"]


class Chat:
    """See `base.Dialect`."""

    name = "chat"
    path = PATH
    agent_headers: tuple[str, ...] = ()
    is_translated = False
    is_task = staticmethod(is_task)
    shorter_task = staticmethod(shorter_task)
    opening = Opening
    compacted = staticmethod(compacted)
    assembled = staticmethod(from_body)
    extended = staticmethod(extended)
    overflow = staticmethod(recognised)
    form_refusal = staticmethod(form_refusal)
    is_refused = staticmethod(is_refused)

    def parse(
        self, body: bytes, chain: Chain, before: Request | None, most: int, escapes: int = MAX_ESCAPES
    ) -> Generator[None, None, ChatRequest]:
        known = before if isinstance(before, ChatRequest) else None
        return parse_in_steps(body, chain, known, most, escapes)

    def upstream_path(self, path: str) -> str:
        return path

    def truncation(self, request: Request) -> Truncation | None:
        return None

    def translation(
        self, request: Request, exchange: Reference, created: int, clock: Callable[[], float]
    ) -> Translation | None:
        return None

    def end(self, *, streamed: bool) -> End:
        return Ending() if streamed else UnnamedEnding()


#: OpenAI's Chat Completions.
CHAT = Chat()
