"""What a backend is, by what it says of itself, and what it is known to demand.

Rule: only what the backend says, or its address, counts; what is not known is not guessed.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, NamedTuple

import msgspec
from yarl import URL

from sidecar.settings.session_profiles import PROFILES, by_answer, by_url, owners

__all__ = ["PROBES", "Backend", "Demand", "demands", "known_backend", "known_by_probe"]

# What engines call themselves in `owned_by`, and in `Server`.
_ENGINES = {
    "vllm": "vLLM",
    "sglang": "SGLang",
    "llamacpp": "llama.cpp",
    "library": "Ollama",
    "organization_owner": "LM Studio",
}
_SERVERS = {"llama.cpp": "llama.cpp"}


class Backend(NamedTuple):
    """`title` for people, empty if it is not known; `profile` the name of its session profile, or empty."""

    title: str
    profile: str
    known_by: str


class _Workers(msgspec.Struct):
    urls: list[str]


class _Deployment(msgspec.Struct):
    model_name: str
    litellm_params: dict[str, Any]


class _Deployments(msgspec.Struct):
    data: Annotated[list[_Deployment], msgspec.Meta(min_length=1)]


#: What hands on the lists of others is known by an answer of its own alone: which profile by the path, and
#: how that answer looks.
PROBES: Mapping[str, tuple[str, type[msgspec.Struct]]] = {
    "/list_workers": ("vllm-router", _Workers),
    "/model/info": ("litellm", _Deployments),
}


def known_backend(url: URL, headers: Mapping[str, str], models: bytes) -> Backend:
    """What stands at this base URL, whose list of models came with these headers."""
    if name := by_url(url):
        return Backend(PROFILES[name].title, name, "its address")
    if name := by_answer(headers, models):
        return Backend(PROFILES[name].title, name, "its answer")
    if title := _SERVERS.get(headers.get("Server", "").lower()):
        return Backend(title, "", "its answer")
    found = owners(models)
    title = next((title for owner, title in _ENGINES.items() if found == {owner}), "")
    return Backend(title, "", "its list of models")


def known_by_probe(path: str, body: bytes) -> Backend | None:
    """What answers so at this path of `PROBES`."""
    profile, form = PROBES[path]
    try:
        msgspec.json.decode(body, type=form)
    except (msgspec.DecodeError, ValueError, RecursionError):  # anything else that is found at that path
        return None
    return Backend(PROFILES[profile].title, profile, f"its answer to {path}")


class Demand(NamedTuple):
    """A field that an upstream demands back with its answers."""

    field: str
    models: tuple[str, ...]
    """Patterns of their names, in lower case, with or without an owner before a slash."""
    source: str


_DEMANDS = (
    Demand("reasoning_content", ("deepseek-v4*",), "https://api-docs.deepseek.com/guides/thinking_mode"),
    Demand("reasoning_content", ("kimi-k2*",), "https://github.com/continuedev/continue/issues/11600"),
    Demand(
        "extra_content (a thought signature)",
        ("gemini-3*",),
        "https://ai.google.dev/gemini-api/docs/thought-signatures",
    ),
)


def demands(models: Collection[str]) -> dict[str, list[str]]:
    """Which fields are demanded back, each with the models of this list that do."""
    found: dict[str, list[str]] = {}
    for name in sorted(models):
        short = name.rpartition("/")[2].lower()
        for each in _DEMANDS:
            if any(fnmatchcase(short, pattern) for pattern in each.models):
                found.setdefault(each.field, []).append(name)
    return found
