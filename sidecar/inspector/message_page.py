"""One message, whole: a long one in parts, one part on a page."""

from __future__ import annotations

import msgspec

from sidecar.conversation.overview import Stem
from sidecar.conversation.tree import Node
from sidecar.inspector.message_view import Budget, MessageView, view_of
from sidecar.inspector.shown import size
from sidecar.printable import printable

__all__ = ["PART", "MessagePage", "message_page_of"]

#: Characters of one part.
PART = 100_000


class MessagePage(msgspec.Struct, frozen=True):
    """`source`: part number `part` (from 1) of `parts` of what is stored, as JSON."""

    conversation: str
    message: MessageView
    source: str
    length: str
    part: int
    parts: int


def message_page_of(conversation: str, stem: Stem, number: int, node: Node, part: int) -> MessagePage:
    """The page of this part, or of the nearest that there is."""
    text = node.body.decode("utf-8", "replace")
    parts = max(1, -(-len(text) // PART))
    part = max(1, min(part, parts))
    return MessagePage(
        conversation=conversation,
        message=view_of(stem, number, node, Budget(200_000, 8 << 20)),
        source=printable(text[(part - 1) * PART : part * PART], lines=True),
        length=size(len(node.body)),
        part=part,
        parts=parts,
    )
