"""Which models a request asks for, and which of a list are told."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.access.models import allowed_list, check_models, in_address, is_limited, is_list, plain_body
from sidecar.errors import BadRequest, NotFound


def of(body: Any) -> list[str]:
    return plain_body(body if isinstance(body, bytes) else json.dumps(body).encode())[1]


def test_patterns_are_those_of_a_shell():
    check_models(("qwen*", "gpt-4o"), ["qwen3:8b", "gpt-4o"])
    for wrong in ("Qwen3", "gpt-4o-mini", ""):
        with pytest.raises(NotFound) as caught:
            check_models(("qwen*", "gpt-4o"), ["qwen3", wrong])
        assert (caught.value.status, caught.value.code, caught.value.param) == (
            404,
            "model_not_found",
            "model",
        )
    with pytest.raises(BadRequest, match="has to say in JSON"):
        check_models(("qwen*",), [])
    assert [is_limited(each) for each in ((), ("*",), ("a", "*"), ("a",))] == [False, False, False, True]


@pytest.mark.parametrize(
    ("path", "models"),
    [
        ("/v1/chat/completions", []),
        ("/v1/models", []),
        ("/v1/models/", []),
        ("/v1/models/gpt-4o", ["gpt-4o"]),
        ("/v1/models/org%2Fname", ["org/name"]),
        ("/v1/models/org/name", ["org/name"]),
        ("/v1/models/llama3:latest", ["llama3:latest"]),
        ("/openai/deployments/my%20one/chat/completions?api-version=1", ["my one"]),
        ("/v1/engines/davinci/completions", ["davinci"]),
        ("/v1beta/models/gemini-pro:generateContent?alt=sse", ["gemini-pro"]),
        ("/v1beta/tunedModels/mine:streamGenerateContent", ["mine"]),
        ("/v1/models/a/deployments/b/chat", ["a/deployments/b/chat", "b"]),
    ],
)
def test_a_path_may_name_one(path: str, models: list[str]):
    assert in_address(path) == models


@pytest.mark.parametrize(
    ("body", "models"),
    [
        ({"model": "a"}, ["a"]),
        ({"messages": []}, []),
        ({"model": "a", "models": ["b", "c"]}, ["a", "b", "c"]),
        ({"model": "a", "fallbacks": ["b", {"model": "c"}, {"a": ["d"]}]}, ["a", "b", "c", "d"]),
        (b'{"model":"a","model":"b"}', ["b"]),
    ],
)
def test_a_body_names_one_and_those_to_ask_instead(body: Any, models: list[str]):
    assert of(body) == models


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'"a"', b'{"model":1}', b'{"model":{}}', b'{"model":["a","b"]}']
)
def test_what_cannot_be_told_is_refused(body: bytes):
    with pytest.raises(BadRequest, match="has to say in JSON"):
        of(body)


@pytest.mark.parametrize("name", ["Model", "MODEL", "mOdel", "Models", "Fallbacks"])
def test_a_member_in_other_letters_is_refused_since_some_servers_read_it(name: str):
    with pytest.raises(BadRequest, match="has to be written so"):
        of({"model": "a", name: "b"})


def test_what_is_sent_on_can_be_read_in_one_way_and_is_else_as_it_came():
    body = b'{"model":"a", "x":[1,  2.50, "\xc3\xa9\\u00e9"],"mod\\u0065l":"b","half":"\\ud83d"}'
    plain, models = plain_body(body)
    assert models == ["b"]
    assert plain.startswith(b'{"model":"b","x":[1,  2.50, "\xc3\xa9\\u00e9"],"half":')
    assert plain.count(b"model") == 1


@pytest.mark.parametrize("path", ["/v1/models", "/v1/models/", "/api/tags", "/api/v0/models"])
def test_these_are_lists(path: str):
    assert is_list(path)
    assert not is_list("/v1/models/a")


def test_a_list_has_those_alone_that_fit():
    told = {
        "object": "list",
        "data": [{"id": "qwen3", "owned_by": "x"}, {"id": "gpt"}, "odd", {}, {"id": 1, "name": "qwen2"}],
        "models": [{"name": "gpt"}, {"model": "qwen1"}],
    }
    listed = json.loads(allowed_list(("qwen*",), json.dumps(told).encode()))
    assert listed == {
        "object": "list",
        "data": [{"id": "qwen3", "owned_by": "x"}, {"id": 1, "name": "qwen2"}],
        "models": [{"model": "qwen1"}],
    }


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"data":{}}', b"<html>"])
def test_what_is_no_list_is_not_passed_on_as_one(body: bytes):
    with pytest.raises(ValueError, match=r"."):
        allowed_list(("qwen*",), body)
