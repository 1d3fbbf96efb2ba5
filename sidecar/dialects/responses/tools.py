"""Tools of all kinds as functions, which are all that Chat Completions has; and what a function stands for.

Rules: the name of a function is made of nothing but the tool's own name and that of its namespace, so that a
call in the history is named as it was, whatever the tools of today are. A tool that the provider runs by
itself (web search and the like) cannot be had: it is left out, and that is said; only one that insists on it
is refused.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Literal, NamedTuple

from sidecar.dialects.responses.refusal import list_of_objects, refused, text_in

__all__ = ["TOOL_SEARCH", "Kind", "Tool", "Tools", "flat_name"]

Kind = Literal["function", "custom", "tool_search"]

#: Under which name a client that looks for tools by itself is asked to.
TOOL_SEARCH = "tool_search"
_LONGEST = 64  # characters of a function's name
_MARK = 8  # characters of the hash that stands for the rest of a longer one
_NO_PARAMETERS: dict[str, Any] = {"type": "object", "properties": {}}


class Tool(NamedTuple):
    """What a function stands for."""

    kind: Kind
    name: str
    namespace: str | None = None


class Tools:
    """The tools of one request. `functions`: for the upstream."""

    def __init__(self) -> None:
        self.functions: list[dict[str, Any]] = []
        self._left_out: dict[str, None] = {}  # in their order
        self._known: dict[str, Tool] = {}

    @property
    def left_out(self) -> list[str]:
        """The types of all others, and what else is named as missing."""
        return list(self._left_out)

    @property
    def others(self) -> dict[str, Tool]:
        """Those that are not simply functions of their names, by the names of the functions."""
        return {name: tool for name, tool in self._known.items() if tool != Tool("function", name)}

    def of(self, function: str) -> Tool:
        """What a function stands for; one that nobody offered for itself."""
        return self._known.get(function) or Tool("function", function)

    def add(self, tools: Any, where: str, namespace: str | None = None) -> None:
        """Take a list of tools. Raises `BadRequest`."""
        for at, tool in enumerate(list_of_objects(tools, where)):
            here = f"{where}[{at}]"
            kind = text_in(tool, "type", here)
            if kind == "namespace" and namespace is None:
                self.add(tool.get("tools"), f"{here}.tools", text_in(tool, "name", here))
            elif kind == "function":
                name = text_in(tool, "name", here)
                self._offer(Tool("function", name, namespace), _function(tool))
            elif kind == "custom":
                name = text_in(tool, "name", here)
                self._offer(Tool("custom", name, namespace), _custom(tool))
            elif kind == TOOL_SEARCH and tool.get("execution") == "client":
                self._offer(Tool("tool_search", TOOL_SEARCH), _function(tool))
            else:
                self.leave_out(kind)

    def leave_out(self, kind: str) -> None:
        """What is of this kind has no form there, and does no harm by missing."""
        self._left_out[kind] = None

    def chosen(self, choice: Any) -> tuple[Any, list[dict[str, Any]]]:
        """`tool_choice` as an upstream takes it, and the functions that it may call. Raises `BadRequest`."""
        functions = self.functions
        if isinstance(choice, dict) and choice.get("type") == "allowed_tools":
            allowed = {
                self._named(each, "tool_choice.tools")
                for each in list_of_objects(choice.get("tools"), "tool_choice.tools")
                if not self._is_left_out(each.get("type"))
            }
            functions = [each for each in functions if each["function"]["name"] in allowed]
            choice = choice.get("mode", "auto")
        if isinstance(choice, dict):
            return {"type": "function", "function": {"name": self._named(choice, "tool_choice")}}, functions
        if choice == "required" and not functions:
            raise refused("no tool of this request can be called, and one has to be", "tool_choice")
        return (choice if functions else None), functions

    def _is_left_out(self, kind: Any) -> bool:
        return isinstance(kind, str) and kind in self._left_out

    def _named(self, choice: dict[str, Any], where: str) -> str:
        """The name of the function that a choice means."""
        if choice.get("type") == TOOL_SEARCH and TOOL_SEARCH in self._known:
            return TOOL_SEARCH
        if choice.get("type") not in ("function", "custom"):
            raise refused(f"a tool of the type `{choice.get('type')}` cannot be called", where)
        return flat_name(text_in(choice, "name", where), choice.get("namespace"))

    def _offer(self, tool: Tool, about: dict[str, Any]) -> None:
        name = flat_name(tool.name, tool.namespace)
        if self._known.get(name, tool) != tool:
            raise refused(f"two tools would be the one function `{name}`", "tools")
        if name not in self._known:
            self.functions.append({"type": "function", "function": {"name": name, **about}})
        self._known[name] = tool


def flat_name(name: str, namespace: Any = None) -> str:
    """The name of the function that stands for a tool: no longer than upstreams take it."""
    whole = f"{namespace}__{name}" if isinstance(namespace, str) and namespace else name
    if len(whole) <= _LONGEST:
        return whole
    mark = blake2b(whole.encode("utf-8", "replace"), digest_size=_MARK // 2).hexdigest()
    return f"{whole[: _LONGEST - _MARK - 1]}_{mark}"


def _function(tool: dict[str, Any]) -> dict[str, Any]:
    about = {name: tool[name] for name in ("description", "strict") if tool.get(name) is not None}
    return {**about, "parameters": tool.get("parameters") or _NO_PARAMETERS}


def _custom(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool that takes free text, as a function of one string."""
    told = tool.get("description")
    about = [told] if isinstance(told, str) and told else []
    form = tool.get("format")
    if isinstance(form, dict) and isinstance(form.get("definition"), str):
        about.append(f"`input` has to follow this grammar ({form.get('syntax')}):\n{form['definition']}")
    parameters = {
        "type": "object",
        "properties": {"input": {"type": "string"}},
        "required": ["input"],
        "additionalProperties": False,
    }
    return {**({"description": "\n\n".join(about)} if about else {}), "parameters": parameters}
