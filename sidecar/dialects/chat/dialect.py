"""Chat Completions as the path of a request uses it: each question goes to the room that knows the answer."""

from __future__ import annotations

from collections.abc import Callable, Generator

from sidecar.conversation.tree import Chain, Message
from sidecar.dialects.base import Assembled, End, FormRefusal, Overflow, Request
from sidecar.dialects.chat import PATH
from sidecar.dialects.chat.assembly import from_body
from sidecar.dialects.chat.compact import compacted
from sidecar.dialects.chat.content_refusal import is_refused
from sidecar.dialects.chat.done_marker import Ending, UnnamedEnding
from sidecar.dialects.chat.first_event import Opening
from sidecar.dialects.chat.form_refusal import form_refusal
from sidecar.dialects.chat.overflow import recognised
from sidecar.dialects.chat.prefill import extended
from sidecar.dialects.chat.request import ChatRequest, parse_in_steps
from sidecar.dialects.chat.tasks import is_task, shorter_task

__all__ = ["CHAT"]


class _Chat:
    """See `base.Dialect`."""

    path = PATH

    def parse(
        self, body: bytes, chain: Chain, before: Request | None, most: int
    ) -> Generator[None, None, ChatRequest]:
        return parse_in_steps(body, chain, before if isinstance(before, ChatRequest) else None, most)

    def is_task(self, mark: str | None, request: Request, openings: tuple[str, ...]) -> bool:
        return is_task(mark, request, openings)

    def shorter_task(self, request: Request, most: int, size: Callable[[bytes], int]) -> list[bytes] | None:
        return shorter_task(request, most, size)

    def opening(self) -> Opening:
        return Opening()

    def end(self, *, streamed: bool) -> End:
        return Ending() if streamed else UnnamedEnding()

    def compacted(self, data: bytes) -> bytes:
        return compacted(data)

    def assembled(self, data: bytes, choices: int) -> Assembled:
        return from_body(data, choices)

    def extended(self, prefill: Message, reply: bytes) -> bytes:
        return extended(prefill, reply)

    def overflow(self, status: int, error: bytes, request: bytes) -> Overflow | None:
        return recognised(status, error, request)

    def form_refusal(self, status: int, error: bytes) -> FormRefusal | None:
        return form_refusal(status, error)

    def is_refused(self, said: Assembled, request: bytes) -> bool:
        return is_refused(said, request)


#: OpenAI's Chat Completions.
CHAT = _Chat()
