"""How long a prompt may be: what the upstreams' lists of models say of each model's window.

Rule: what is loaded now counts before what the model could do, and of two that both hold the smaller one. A
number that is no window (a switch, text, less than any chat needs) is none. What an engine tells of the
model that it runs is what that holds; what a catalogue tells is what it could hold somewhere.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

__all__ = ["ANY", "SMALLEST_WINDOW", "Window", "names", "shown", "windows"]

#: Tokens. No model that chats has a smaller window.
SMALLEST_WINDOW = 256
#: Stands for every name: llama.cpp serves its one model under whatever name it is asked for.
ANY = "*"

_MAX_WINDOW = 1 << 31
_MAX_MODELS = 20_000
_MAX_NAME_LENGTH = 256
# Loaded by LM Studio; vLLM and SGLang; Ollama, OpenRouter, Together, Moonshot; Groq; Mistral and LM Studio;
# Anthropic and LiteLLM.
_FIELDS = (
    "loaded_context_length",
    "max_model_len",
    "context_length",
    "context_window",
    "max_context_length",
    "max_input_tokens",
)
_OF_ENGINES = _FIELDS[:2]
_NUM_CTX = re.compile(r"^num_ctx\s+(\d{1,9})\s*$", re.MULTILINE)


class Window(NamedTuple):
    """A window in tokens. `by_engine`: told by the engine that runs the model, and no catalogue's."""

    tokens: int
    by_engine: bool


def windows(body: bytes, *, running: bool = False) -> dict[str, Window]:
    """The window of each model in a list of models; without those of which nothing is said.

    `running`: it is a list of what an engine runs.

    Reads `/v1/models` of vLLM, SGLang, llama.cpp, OpenRouter, Groq, Mistral and others, LM Studio's
    `/api/v0/models`, Ollama's `/api/ps` and LiteLLM's `/model/info`.
    """
    data = _object(body)
    found: dict[str, Window] = {}
    for key in ("data", "models"):
        entries = data.get(key)
        if not isinstance(entries, list):
            continue
        for entry in entries[:_MAX_MODELS]:
            window = _of(entry) if isinstance(entry, dict) else None
            if window is not None:
                window = window._replace(by_engine=window.by_engine or running)
                for name in _names(entry):  # several deployments may go by one name
                    found[name] = min(window, found.get(name, window))
        if len(entries) == 1 and isinstance(entries[0], dict) and (only := _loaded(entries[0])):
            found[ANY] = Window(only, by_engine=True)
    return found


def names(body: bytes) -> frozenset[str]:
    """The names in a list of models, whatever else is said of them."""
    data = _object(body)
    lists = [entries for key in ("data", "models") if isinstance(entries := data.get(key), list)]
    told = [entry for entries in lists for entry in entries[:_MAX_MODELS] if isinstance(entry, dict)]
    return frozenset(name for entry in told for name in _names(entry))


def shown(body: bytes) -> int | None:
    """What Ollama's `/api/show` sets for a model, loaded or not; None if it leaves that to the server.

    What it tells of the model itself is what that was trained with, and seldom what it is given.
    """
    parameters = _object(body).get("parameters")
    found = _NUM_CTX.search(parameters) if isinstance(parameters, str) else None
    return _window(int(found[1])) if found else None


def _object(body: bytes) -> dict[str, Any]:
    try:
        data = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return data if isinstance(data, dict) else {}


def _names(entry: dict[str, Any]) -> Iterator[str]:
    for key in ("id", "model_name", "name", "model"):
        name = entry.get(key)
        if isinstance(name, str) and 0 < len(name) <= _MAX_NAME_LENGTH:
            yield name
            yield name.removesuffix(":latest")


def _of(entry: dict[str, Any]) -> Window | None:
    loaded = _loaded(entry) or _first(entry, _OF_ENGINES)
    if loaded is not None:
        return Window(loaded, by_engine=True)
    told = _first(entry)
    provider, info, meta = (_inner(entry, key) for key in ("top_provider", "model_info", "meta"))
    every = [told, _first(provider), _first(info), _window(meta.get("n_ctx_train"))]
    least = min((each for each in every if each is not None), default=None)
    return None if least is None else Window(least, by_engine=False)


def _loaded(entry: dict[str, Any]) -> int | None:
    """llama.cpp's, which tells the model's own length beside it."""
    return _window(_inner(entry, "meta").get("n_ctx"))


def _inner(entry: dict[str, Any], key: str) -> dict[str, Any]:
    inner = entry.get(key)
    return inner if isinstance(inner, dict) else {}


def _first(entry: dict[str, Any], names: tuple[str, ...] = _FIELDS) -> int | None:
    return next((window for name in names if (window := _window(entry.get(name))) is not None), None)


def _window(value: Any) -> int | None:
    return value if isinstance(value, int) and SMALLEST_WINDOW <= value < _MAX_WINDOW else None
