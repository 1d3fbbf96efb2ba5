"""Is this request a background task of the front end (title, tags, follow-ups …)?

Tasks share the chat's id, and the title comes before the first turn, so a task that is taken for a
turn spoils the history. Where the front end marks them (`X-Task`), the mark decides, and an empty
mark says "a real turn". Without the header only the shape is left: at most one system message, one
user message, no tools, and the opening words of a known prompt. `### Task:` alone proves nothing,
for retrieval turns open with it as well.
"""

from __future__ import annotations

from sidecar.conversation.message import text_of
from sidecar.conversation.request import ChatRequest

__all__ = ["is_task"]


def is_task(mark: str | None, request: ChatRequest, openings: tuple[str, ...]) -> bool:
    """`mark` is the value of the task header, None where the request has no such header."""
    if mark is not None:
        return bool(mark)
    if request.tools or request.prefill or len(request.path) != 1 or len(request.system) > 1:
        return False
    asked = request.path.messages[0]
    if asked.role != "user":
        return False
    texts = [text_of(each.fields).lstrip() for each in (*request.system, asked)]
    return any(text.startswith(openings) for text in texts)
