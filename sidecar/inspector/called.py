"""Which tools were called in these messages, by name.

Rule: the tools that a request has are kept as a hash alone; what was called of them stands in the chat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from sidecar.conversation.exchange_record import tools_of
from sidecar.conversation.tree import Node

__all__ = ["called_in"]

_MOST = 5


def called_in(nodes: Iterable[Node]) -> tuple[str, ...]:
    """The names, in order, each once; of many the first."""
    return tools_of(dict.fromkeys(name for node in nodes for name in _names(node)))[:_MOST]


def _names(node: Node) -> Iterator[str]:
    try:
        fields = node.fields
    except ValueError:  # it is no message
        return
    calls: Any = fields.get("tool_calls")
    for each in calls if isinstance(calls, list) else [{"function": fields.get("function_call")}]:
        function = each.get("function") if isinstance(each, dict) else None
        name = function.get("name") if isinstance(function, dict) else None
        if isinstance(name, str):
            yield name
