"""A reply that goes on from an assistant message at the end of the request, as one message."""

from __future__ import annotations

from sidecar.conversation.message import read, text_of
from sidecar.conversation.tree import Message
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.parts import content

__all__ = ["extended"]

_OF_A_PREFILL = frozenset(("prefix", "partial"))  # flags of the request, and nothing of the answer


def extended(prefill: Message, raw: bytes) -> bytes:
    """The reply joined to the assistant message that it goes on from.

    Some upstreams begin it with that message (Mistral, vLLM with `echo`): it is then whole as it is.
    Raises `ValueError` for a reply that is nested too deep.
    """
    reply, before = read(raw), read(prefill.raw)
    joined = {name: value for name, value in before.items() if name not in _OF_A_PREFILL} | reply
    if not reply.get("content"):
        joined["content"] = before.get("content")
    elif not _begins_with(text_of(reply), text_of(before)):
        joined["content"] = content(before.get("content"), reply["content"])
    return encode(joined)


def _begins_with(text: str, prefill: str) -> bool:
    return bool(prefill.strip()) and text.lstrip().startswith(prefill.strip())
