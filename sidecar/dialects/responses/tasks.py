"""Is this request a background task of the client? Codex says so of one that has its history summed up."""

from __future__ import annotations

from sidecar.dialects.base import Request
from sidecar.dialects.chat.tasks import is_task as is_task_of_chat
from sidecar.dialects.responses.request import ResponsesRequest

__all__ = ["is_task"]


def is_task(mark: str | None, request: Request, openings: tuple[str, ...]) -> bool:
    """See `base.Dialect.is_task`."""
    if mark is None and isinstance(request, ResponsesRequest) and request.asked.is_compaction:
        return True
    return is_task_of_chat(mark, request, openings)
