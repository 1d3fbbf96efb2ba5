"""A request that was read as one of Chat Completions."""

from __future__ import annotations

from collections.abc import Generator

from sidecar.conversation.pieces import LARGE, most_pieces
from sidecar.conversation.tree import Chain
from sidecar.dialects.base import Request
from sidecar.dialects.chat.body import refuse_excess
from sidecar.dialects.chat.request import ChatRequest, parse_in_steps
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.body import translated
from sidecar.errors import BadRequest

__all__ = ["ResponsesRequest", "parse_in_steps_translated"]


class ResponsesRequest(ChatRequest, frozen=True, kw_only=True):
    """`body` is the translation, as all else; `asked` what is left to know of what was received."""

    asked: Asked

    @property
    def is_private(self) -> bool:
        """Does it say `store: false`?"""
        return self.asked.is_private


def parse_in_steps_translated(
    data: bytes,
    chain: Chain,
    before: Request | None,
    most: int,
    escapes: int,
    max_tokens: str,
    held: str | None = None,
    *,
    goes_on: bool = False,
    apart: bool = False,
) -> Generator[None, None, ResponsesRequest]:
    """See `base.Dialect.parse`, `body.translated`. Raises `BadRequest`, about the members that were sent."""
    if len(data) > LARGE:
        yield
    known = before if isinstance(before, ChatRequest) else None
    try:
        refuse_excess(data, most, escapes, most_pieces(data, 0, len(data)))
        body, asked = translated(data, max_tokens, held, goes_on=goes_on, apart=apart)
        read = yield from parse_in_steps(body, chain, known, most, escapes)
    except BadRequest as error:
        if error.param == "messages":
            error.param = "input"
        raise
    fields = {name: getattr(read, name) for name in read.__struct_fields__}
    fields |= {"behind": asked.behind, "conversation": asked.conversation, "phases": asked.phases}
    return ResponsesRequest(**fields, asked=asked)
