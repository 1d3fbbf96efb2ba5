"""What lists of models say of windows."""

from __future__ import annotations

import json

import pytest

from sidecar.prompt.model_lists import ANY, names, shown, windows

VLLM = {
    "object": "list",
    "data": [
        {"id": "Qwen/Qwen3-32B", "object": "model", "owned_by": "vllm", "root": "x", "max_model_len": 40960}
    ],
}
LLAMA = {
    "models": [{"name": "gemma", "model": "gemma", "capabilities": ["completion"]}],
    "object": "list",
    "data": [
        {
            "id": "gemma",
            "object": "model",
            "owned_by": "llamacpp",
            "meta": {"vocab_type": 1, "n_vocab": 262144, "n_ctx": 2048, "n_ctx_train": 32768, "n_embd": 640},
        }
    ],
}
OPENROUTER = {
    "data": [
        {
            "id": "qwen/qwen3-coder:free",
            "name": "Qwen3 Coder",
            "context_length": 1048576,
            "top_provider": {"context_length": 262000, "max_completion_tokens": 262000},
        },
        {"id": "openrouter/auto", "context_length": 2000000, "top_provider": {"context_length": None}},
    ]
}
LM_STUDIO = {
    "object": "list",
    "data": [
        {
            "id": "qwen3",
            "state": "loaded",
            "max_context_length": 32768,
            "loaded_context_length": 4096,
        },
        {"id": "llama", "state": "not-loaded", "max_context_length": 131072},
    ],
}
OLLAMA = {
    "models": [
        {
            "name": "gemma3:latest",
            "model": "gemma3:latest",
            "size": 6591830464,
            "details": {"format": "gguf"},
            "context_length": 4096,
        }
    ]
}
LITELLM = {
    "data": [
        {"model_name": "fast", "model_info": {"max_tokens": 4096, "max_input_tokens": 128000}},
        {"model_name": "fast", "model_info": {"max_input_tokens": 32000}},
        {"model_name": "none", "model_info": {"max_input_tokens": None}},
    ]
}


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (VLLM, {"Qwen/Qwen3-32B": 40960}),
        (LLAMA, {"gemma": 2048, ANY: 2048}),
        (
            OPENROUTER,
            {"qwen/qwen3-coder:free": 262000, "Qwen3 Coder": 262000, "openrouter/auto": 2000000},
        ),
        (LM_STUDIO, {"qwen3": 4096, "llama": 131072}),
        (OLLAMA, {"gemma3:latest": 4096, "gemma3": 4096}),
        (LITELLM, {"fast": 32000}),
        ({"data": [{"id": "groq", "context_window": 131072}]}, {"groq": 131072}),
        ({"data": [{"id": "mistral", "max_context_length": 32768}]}, {"mistral": 32768}),
        ({"data": [{"id": "old-llama", "meta": {"n_ctx_train": 8192}}]}, {"old-llama": 8192}),
    ],
)
def test_a_window_is_read_where_it_is_told(body, found):
    told = windows(json.dumps(body).encode())
    assert {name: window.tokens for name, window in told.items()} == found


@pytest.mark.parametrize(
    ("body", "engines"),
    [
        (VLLM, {"Qwen/Qwen3-32B"}),
        (LLAMA, {"gemma", ANY}),
        (OPENROUTER, set()),
        (LM_STUDIO, {"qwen3"}),
        (OLLAMA, set()),
        (LITELLM, set()),
        ({"data": [{"id": "groq", "context_window": 131072}]}, set()),
        ({"data": [{"id": "old-llama", "meta": {"n_ctx_train": 8192}}]}, set()),
    ],
)
def test_a_window_of_what_an_engine_runs_is_told_from_a_catalogues(body, engines):
    told = json.dumps(body).encode()
    assert {name for name, window in windows(told).items() if window.by_engine} == engines
    assert all(window.by_engine for window in windows(told, running=True).values())


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"<html>",
        b"[" * 100_000,
        b'{"data":{}}',
        b'{"data":[1,null,[]]}',
        b'{"data":[1]}',
        b'{"data":[{"id":"gpt-4o","object":"model","owned_by":"system"}]}',
        b'{"data":[{"id":"a","max_model_len":true},{"id":"b","max_model_len":"4096"}]}',
        b'{"data":[{"id":"a","max_model_len":16},{"id":"b","max_model_len":99999999999}]}',
        b'{"data":[{"id":"","max_model_len":4096},{"id":7,"max_model_len":4096}]}',
        b'{"data":[{"id":"a","meta":[],"top_provider":"x"}]}',
    ],
)
def test_what_tells_no_window_gives_none(body):
    assert windows(body) == {}


@pytest.mark.parametrize("key", ["id", "model_name", "name", "model"])
def test_a_model_may_go_by_each_of_its_names(key):
    told = json.dumps(
        {"data": [{key: "a", "context_length": 4096}, {key: "b" * 257, "context_length": 4096}]}
    )
    assert windows(told.encode()) == {"a": (4096, False)}
    assert names(told.encode()) == {"a"}
    assert names(json.dumps({"models": [{key: "b" * 256}, {f"{key}s": "c"}]}).encode()) == {"b" * 256}


FIELDS = ["loaded_context_length", "max_model_len", "context_length", "context_window"]
FIELDS += ["max_context_length", "max_input_tokens"]


@pytest.mark.parametrize("at", range(6))
def test_of_the_fields_that_tell_a_window_the_first_counts(at):
    told = {field: 1000 + place for place, field in enumerate(FIELDS) if place >= at}
    for body in ({"id": "a", **told}, {"id": "a", "model_info": told}, {"id": "a", "top_provider": told}):
        (window,) = windows(json.dumps({"data": [body]}).encode()).values()
        assert window == (1000 + at, at < 2 and "max_model_len" in body)
    less = {
        "id": "a",
        "context_length": 3000,
        "model_info": {"context_length": 2000},
        "meta": {"n_ctx_train": 1000},
    }
    assert windows(json.dumps({"data": [less]}).encode())["a"] == (1000, False)


@pytest.mark.parametrize(
    ("size", "is_window"), [(255, False), (256, True), (2**31 - 1, True), (2**31, False)]
)
def test_a_window_is_a_number_of_some_size(size, is_window):
    for field in ("max_model_len", "context_length"):
        found = windows(json.dumps({"data": [{"id": "a", field: size}]}).encode())
        assert [each.tokens for each in found.values()] == ([size] if is_window else [])
    if size < 2**30:
        assert shown(json.dumps({"parameters": f"num_ctx {size}"}).encode()) == (size if is_window else None)


def test_of_a_list_twenty_thousand_models_are_read():
    many = json.dumps({"data": [{"id": f"{at}", "context_length": 4096} for at in range(20_001)]}).encode()
    assert len(windows(many)) == len(names(many)) == 20_000


def test_the_only_model_of_an_engine_goes_by_any_name():
    told = {"meta": {"n_ctx": 2048}}
    for key in ("data", "models"):
        assert windows(json.dumps({key: [told]}).encode()) == {ANY: (2048, True)}
        assert windows(json.dumps({key: [told, told]}).encode()) == {}
        assert windows(json.dumps({key: [{"id": "a", "context_length": 4096}]}).encode()) == {
            "a": (4096, False)
        }


def test_ollama_shows_what_is_set_and_not_what_the_model_was_trained_with():
    info = {"model_info": {"gemma3.context_length": 131072}}
    assert shown(json.dumps({"parameters": 'stop  "x"\nnum_ctx     8192\n', **info}).encode()) == 8192
    assert shown(json.dumps({"parameters": "temperature 1", **info}).encode()) is None
    assert shown(json.dumps({"parameters": "num_ctx 16"}).encode()) is None
    assert shown(json.dumps(info).encode()) is None


def test_the_names_in_a_list_are_told_whatever_else_is():
    body = {
        "data": [{"id": "a"}, {"id": "b", "max_model_len": 4096}, 7],
        "models": [{"name": "c:latest"}],
        "n": 1,
    }
    assert names(json.dumps(body).encode()) == {"a", "b", "c", "c:latest"}
    assert names(b"[") == names(b'{"data": 7}') == frozenset()
