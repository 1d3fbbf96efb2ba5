"""What clients make of tool calls and results that they send back within the text of an answer.

"... Calling tools: [{'id': ...}]"              smolagents, behind what the model said
<details type="tool_calls" ...>...</details>    Open WebUI before 0.7, amid what the model said
"&quot;the result&quot;"                        Open WebUI 0.6, for each such block
"""

from __future__ import annotations

import html
import re
from collections.abc import Iterator

from sidecar.conversation.likeness import folded
from sidecar.conversation.message import encode

__all__ = ["CALLING", "forms_of_result", "parted"]

CALLING = "Calling tools:"
_BLOCK = re.compile(
    r"<details\s++type=\"tool_calls\"[^<>]*+>(?:[^<]++|<(?!/details>))*+</details>", re.IGNORECASE
)


def parted(text: str) -> tuple[str, str]:
    """The text without such blocks, and the blocks."""
    if "<details" not in text:
        return text, ""
    return _BLOCK.sub("", text), "".join(_BLOCK.findall(text))


def forms_of_result(text: str) -> Iterator[str]:
    """How the text of a result may stand within an answer, folded."""
    told = encode(text).decode()
    yield folded(f'"{html.escape(told)}"')
    yield folded(told)
