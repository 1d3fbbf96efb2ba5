"""The tables `[[targets]]`, and what is tried again: here or elsewhere."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr

from sidecar.settings.section import Section
from sidecar.settings.target import CaFile, File, Headers, Proxy
from sidecar.settings.values import Count, Key, Limit, OtherUpstream, Pattern, PositiveInt, Seconds

__all__ = ["Retries", "RoutedTarget"]

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")
# Where other settings lead.
_TAKEN = frozenset({"default", "tasks", "summary"})


def _name(text: str) -> str:
    if not _NAME.fullmatch(text):
        raise ValueError(
            f"{text!r} is not the name of a target; give up to 32 of a to z, 0 to 9, - and _, such as"
            ' "local" or "gpu-1"'
        )
    if text in _TAKEN:
        raise ValueError(f"{text!r} is the name of what other settings lead to; choose another")
    return text


def _list(value: Any) -> Any:
    """One URL is a list of one."""
    return (value,) if isinstance(value, str) else value


def _urls(urls: tuple[str, ...]) -> tuple[str, ...]:
    if not urls or not all(urls):
        raise ValueError('is empty; give a URL such as "http://127.0.0.1:8081/v1", or a list of them')
    if len(set(urls)) < len(urls):
        raise ValueError("names one URL twice; take one of the two out")
    return urls


def _some(patterns: tuple[str, ...]) -> tuple[str, ...]:
    if not patterns:
        raise ValueError('is empty; name the models that it serves, such as ["qwen*"], or ["*"] for all')
    return patterns


def _names(value: Any) -> Any:
    if not isinstance(value, Mapping) or not all(isinstance(each, str) for each in value.values()):
        raise ValueError('is not a table of names; write {"name for clients" = "its name there"}')
    return value


class RoutedTarget(Section):
    """One more backend, for the models that fit `models` or that `rename` names."""

    name: Annotated[str, AfterValidator(_name)]
    url: Annotated[tuple[OtherUpstream, ...], BeforeValidator(_list), AfterValidator(_urls)]
    resolve: bool = False
    models: Annotated[tuple[Pattern, ...], BeforeValidator(_list), AfterValidator(_some)]
    priority: Count = 0
    parallel: Limit = None
    rename: Annotated[dict[Pattern, Pattern], BeforeValidator(_names)] = Field({})
    api_key: Key = SecretStr("")
    forward_credential: bool = False
    agent: bool = False
    headers: Headers = Field({})
    proxy: Proxy = SecretStr("")
    ca_file: CaFile = ""
    client_cert: File = ""
    client_key: File = ""

    @property
    def shown(self) -> str:
        """What it is, without what is secret: its name, and how many URLs it has."""
        if self.resolve:
            return f"{self.name} (the addresses of one name)"
        return f"{self.name} ({len(self.url)} URL{'s' if len(self.url) > 1 else ''})"

    def serves(self, model: str) -> bool:
        """Is it for this model, by the name that clients use?"""
        return model in self.rename or any(fnmatchcase(model, each) for each in self.models)


class Retries(Section):
    """Retries of connections that failed; never of a request that an upstream may have begun to work on."""

    attempts: PositiveInt = Field(3, description="Total attempts, including the first.")
    backoff: Seconds = Field(
        0.2, description="Pause before the second attempt, in seconds; it doubles with every attempt."
    )
    gateway_errors: bool = Field(
        False,
        description="With `targets`: also after 502 and 504 try the next target. Only where no engine behind"
        " such a gateway can have begun its work.",
    )
    wait_for_room: Seconds = Field(
        2.0,
        description="With `targets`: how long a request waits for room if every target for its model has as"
        " many requests as `parallel` allows, in seconds; then it gets 429.",
    )
