"""What cannot be translated is refused, never left out in silence."""

from __future__ import annotations

from typing import Any

from sidecar.errors import BadRequest

__all__ = [
    "InBackground",
    "UnknownCall",
    "list_in",
    "list_of_objects",
    "object_in",
    "refused",
    "shown",
    "text_in",
]

_MAX_SHOWN = 100  # characters of what a client sent that an error repeats


class UnknownCall(BadRequest):
    """A result that a request begins with: its call is not in it, and may be stored."""


class InBackground(BadRequest):
    """A request that is to be answered in the background, asked where nothing is. `asked`: its body."""

    def __init__(self, body: bytes) -> None:
        super().__init__(
            "`background`: only what is asked for by a POST over HTTP is made in the background",
            code="unsupported_value",
            param="background",
        )
        self.asked = body


def refused(message: str, param: str, code: str = "unsupported_value") -> BadRequest:
    """An error about a part of the request."""
    return BadRequest(message, code=code, param=param)


def text_in(fields: dict[str, Any], name: str, where: str) -> str:
    """A text that has to be there. Raises `BadRequest`."""
    value = fields.get(name)
    if not isinstance(value, str):
        raise refused(f"`{where}.{name}` has to be a string", f"{where}.{name}", "invalid_type")
    return value


def object_in(fields: dict[str, Any], name: str) -> dict[str, Any]:
    """An object that may be missing. Raises `BadRequest`."""
    value = fields.get(name)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise refused(f"`{name}` has to be an object", name, "invalid_type")
    return value


def list_in(fields: dict[str, Any], name: str) -> list[Any]:
    """A list that may be missing. Raises `BadRequest`."""
    value = fields.get(name)
    if value is None:
        return []
    if not isinstance(value, list):
        raise refused(f"`{name}` has to be a list", name, "invalid_type")
    return value


def shown(value: Any) -> str:
    """What a client sent, as an error repeats it."""
    told = f"'{value}'" if isinstance(value, str) else type(value).__name__
    return told if len(told) <= _MAX_SHOWN else told[:_MAX_SHOWN] + "…"


def list_of_objects(value: Any, where: str) -> list[dict[str, Any]]:
    """A list that may be missing. Raises `BadRequest`."""
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise refused(f"`{where}` has to be a list of objects", where, "invalid_type")
    return value
