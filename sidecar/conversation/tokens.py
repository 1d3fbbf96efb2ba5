"""How many tokens is this, about? An estimate without a tokenizer.

Latin text has about four characters to a token, while scripts that take three bytes a character have
about one character to a token; what UTF-8 needs beyond one byte a character tells the two apart. An
image costs the same whatever its size, so its bytes do not count. The estimate leans to the high side.
"""

from __future__ import annotations

import re

__all__ = ["PER_IMAGE", "PER_MESSAGE", "estimate"]

#: What the chat template puts around a message.
PER_MESSAGE = 4
#: A high-detail image of usual size costs 765 tokens by OpenAI's published tiles.
PER_IMAGE = 800

_DATA_URL = re.compile(rb'"data:image\\?/[^"]*"')


def estimate(raw: bytes) -> int:
    """Tokens of one message (or of any other JSON, such as the list of tools), at least 1."""
    images = 0
    if b'"data:image' in raw:
        raw, images = _DATA_URL.subn(b'""', raw)
    characters = len(raw.decode("utf-8", "replace"))
    beyond = len(raw) - characters
    return PER_MESSAGE + images * PER_IMAGE + characters // 4 + beyond * 2 // 5
