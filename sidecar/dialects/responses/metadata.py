"""What a client attaches to a response for itself: each event that tells the response tells it, so it is held
to the bounds that OpenAI has for it."""

from __future__ import annotations

from typing import Any

from sidecar.dialects.responses.refusal import object_in, refused, shown

__all__ = ["metadata_in"]

_MOST = 16  # pairs
_LONGEST_NAME, _LONGEST_VALUE = 64, 512  # characters
_TOO_LONG = "string_above_max_length"


def metadata_in(fields: dict[str, Any]) -> dict[str, str]:
    """The `metadata` of a request, which may be missing. Raises `BadRequest`."""
    metadata = object_in(fields, "metadata")
    if len(metadata) > _MOST:
        raise refused(
            f"`metadata` has at most {_MOST} pairs, and here are {len(metadata)}",
            "metadata",
            "object_above_max_properties",
        )
    for name, value in metadata.items():
        if len(name) > _LONGEST_NAME:
            told = f"a name in `metadata` has at most {_LONGEST_NAME} characters: {shown(name)}"
            raise refused(told, "metadata", _TOO_LONG)
        where = f"metadata.{name}"
        if not isinstance(value, str):
            raise refused(f"`{where}` has to be a string", where, "invalid_type")
        if len(value) > _LONGEST_VALUE:
            told = f"`{where}` has at most {_LONGEST_VALUE} characters, and here are {len(value)}"
            raise refused(told, where, _TOO_LONG)
    return metadata
