"""Which models a request asks for, where its key may not ask for all of them.

Rules: such a request says it where the sidecar can read it, and in one way: in a JSON body, in the path,
or, for a WebSocket, in the parameter `model`. What does not say it is refused, and so is what another
reader could understand otherwise: a member in other letters; one that comes twice is sent on once. A model
that the key may not use is a 404, as one that is not there is at OpenAI; the list, too, has none but those
that it may.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any
from urllib.parse import unquote

import msgspec

from sidecar.dialects.chat.body import object_of
from sidecar.errors import BadRequest, NotFound

__all__ = ["allowed_list", "check_models", "in_address", "is_limited", "is_list", "plain_body"]

# What stands before a model in the paths of Azure and of OpenAI's first API; of lists, and of Google's.
_ONE_BEHIND, _REST_BEHIND = ("deployments", "engines"), ("models", "tunedModels")
# Members of a body that name others to ask instead (OpenRouter, LiteLLM).
_INSTEAD = ("models", "fallbacks", "context_window_fallbacks", "content_policy_fallbacks")
_LISTS = ("data", "models")
_VERB = re.compile(r"[a-z]+[A-Z][A-Za-z]*|predict")  # `generateContent`; names of models have none such
_NAMES = ("id", "name", "model")


def is_limited(patterns: Sequence[str]) -> bool:
    """Do these patterns leave out any model?"""
    return bool(patterns) and "*" not in patterns


def check_models(patterns: Sequence[str], models: Iterable[str]) -> None:
    """Raises `NotFound` for one that fits none of the patterns, `BadRequest` where there is none."""
    asked = list(models)
    if not asked:
        raise _untold()
    for each in asked:
        if not _fits(patterns, each):
            raise NotFound(
                f"The model `{each[:200]}` does not exist, or this API key may not use it.",
                code="model_not_found",
                param="model",
            )


def _fits(patterns: Sequence[str], model: str) -> bool:
    return any(fnmatchcase(model, pattern) for pattern in patterns)


def in_address(path: str) -> list[str]:
    """The models that a path (as it came) names. Behind the last colon Google has what is to be done."""
    parts = [unquote(each) for each in path.partition("?")[0].split("/")]
    found: list[str] = []
    for at, part in enumerate(parts[:-1]):
        if part in _ONE_BEHIND:
            found.append(parts[at + 1])
        elif part in _REST_BEHIND:
            rest = "/".join(parts[at + 1 :])
            name, _, verb = rest.rpartition(":")
            found.append(name if name and _VERB.fullmatch(verb) else rest)
    return [each for each in found if each]


def plain_body(body: bytes) -> tuple[bytes, list[str]]:
    """The body of a request as everybody reads it, each member once, and the models that it names.

    Raises `BadRequest` if it is no JSON object, or says `model` in other letters or in no text.
    """
    try:
        members = object_of(body)
        named = [*_strings(_value(members, "model"))]
        instead = [each for name in _INSTEAD for each in _strings(_value(members, name))]
        plain = msgspec.json.encode(members)
    except (ValueError, RecursionError) as error:
        raise _untold() from error
    for name in members:
        if name != (lowered := name.lower()) and lowered in ("model", *_INSTEAD):
            raise BadRequest(f"`{lowered}` has to be written so", code="invalid_value", param=lowered)
    if "model" in members and len(named) != 1:
        raise _untold()
    return plain, [*named, *instead]


def _value(members: dict[str, Any], name: str) -> Any:
    return msgspec.json.decode(members[name]) if name in members else None


def _strings(value: Any) -> Iterator[str]:
    """All texts in it, names of members too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _strings(each)
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _strings(each) if name in _NAMES else _lists_in(each)


def _lists_in(value: Any) -> Iterator[str]:
    """What stands for a model in a table: of its members those that are lists of models."""
    if isinstance(value, list | dict):
        yield from _strings(value)


def is_list(path: str) -> bool:
    """Is this the path of a list of models?"""
    return path.rstrip("/").endswith(("/models", "/api/tags"))


def allowed_list(patterns: Sequence[str], listed: bytes) -> bytes:
    """A list of models with those alone that fit the patterns. Raises `ValueError` for what is none."""
    told = msgspec.json.decode(listed)
    if not isinstance(told, dict) or not any(isinstance(told.get(name), list) for name in _LISTS):
        raise ValueError("no list of models")
    for name in _LISTS:
        if isinstance(told.get(name), list):
            told[name] = [each for each in told[name] if _fits(patterns, _name(each))]
    return msgspec.json.encode(told)


def _name(entry: Any) -> str:
    told = [entry.get(name) for name in _NAMES] if isinstance(entry, dict) else [entry]
    return next((each for each in told if isinstance(each, str)), "")


def _untold() -> BadRequest:
    return BadRequest(
        "this API key is limited to some models, so a request has to say in JSON which one it asks for",
        code="missing_required_parameter",
        param="model",
    )
