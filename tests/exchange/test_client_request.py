"""A request as its client sent it: packed, bounded, and without any credential."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.exchange.client_request import (
    ClientRequest,
    body_of,
    head_of,
    packed_request,
    request_of,
    words_of,
)
from tests.conversation.build import raw

NAMES = {
    "kept": ("x-conversation-id", "content-type", "accept", "x-user-id", "bad name"),
    "secret": ("authorization", "api-key"),
    "personal": ("x-user-id",),
    "parameters": frozenset(("key", "api_key")),
}
HEADERS = {
    "x-conversation-id": "chat-1",
    "content-type": "application/json",
    "authorization": "Bearer sk-secret",
    "x-user-id": "ada",
    "accept": "",
    "x-other": "what nobody asked for",
    "bad name": "what no header is called",
}


def test_a_head_has_what_was_asked_for_and_of_credentials_and_users_the_names_alone():
    head = head_of("/v1/chat/completions?key=sk-2&api-version=7&sig=3&&KEY=x#f", HEADERS, **NAMES)
    assert head == ClientRequest(
        "/v1/chat/completions?api-version=7",
        (("content-type", "application/json"), ("x-conversation-id", "chat-1")),
        ("authorization",),
        ("x-user-id",),
        ("key",),
    )
    assert "sk-" not in repr(head)


def test_a_header_that_tells_a_credential_is_none_that_is_kept_whoever_named_it():
    names = NAMES | {"kept": ("authorization", "x-user-id")}
    assert head_of("/v1/x", HEADERS, **names).headers == ()


def test_long_paths_and_values_are_kept_in_part():
    head = head_of("/" + "p" * 5000, {"content-type": "v" * 5000}, **NAMES)
    assert (len(head.path), len(head.headers[0][1])) == (2000, 1000)


def test_names_that_no_header_or_parameter_has_are_not_kept():
    for length, is_kept in ((100, True), (101, False)):
        name = "x" * length
        names = dict.fromkeys(("secret", "personal"), (name,)) | {"kept": (), "parameters": (name,)}
        head = head_of(f"/v1/x?{name}=1", {name: "1"}, **names)
        assert (head.secret, head.personal, head.parameters) == (((name,) if is_kept else (),) * 3)[:3]


def test_a_word_of_six_letters_may_be_a_secret():
    assert words_of(b"secret in five", ["secret  five"]) == "\N{HORIZONTAL ELLIPSIS} in five"
    assert words_of(b"a" * 2001, ()) == "a" * 2000


def test_of_the_words_of_an_error_its_message_comes_first():
    told = {"detail": "c", "error": "b", "message": "a"}
    for name in ("message", "error", "detail"):
        assert words_of(raw(told), ()) == told.pop(name)
    assert words_of(raw({"error": {"error": "b", "detail": "c"}}), ()) == "b"


def test_a_request_that_says_nothing_is_told_so():
    empty = ClientRequest("/v1/x")
    assert not any(getattr(empty, name) for name in empty.__struct_fields__ if name != "path")


def test_bytes_that_are_no_text_can_be_kept_all_the_same():
    head = head_of("/v1/\udcff", {"content-type": "a\udcff"}, **NAMES)
    kept = request_of(packed_request(head, b"", 1 << 20))
    assert (kept.path, kept.headers) == ("/v1/?", (("content-type", "a?"),))


def test_a_body_comes_back_as_it_was_and_takes_less():
    body = b'{"messages":[]}' * 1000 + b"\x00\xff"
    data = packed_request(ClientRequest("/v1/x"), body, 1 << 20)
    kept = request_of(data)
    assert (len(data) < 500, kept.length, body_of(kept)) == (True, len(body), body)


def test_of_one_that_is_too_large_the_head_alone_is_kept():
    body = bytes(range(256))
    kept = request_of(packed_request(ClientRequest("/v1/x"), body, 100))
    assert (kept.path, kept.length, body_of(kept)) == ("/v1/x", 256, None)


@pytest.mark.parametrize("change", [{"packed": b"no zlib"}, {"length": 3}, {"length": 5}])
def test_a_damaged_one_is_no_request(change):
    kept = request_of(packed_request(ClientRequest("/v1/x"), b"four", 1 << 20))
    with pytest.raises(ValueError, match="damaged"):
        body_of(replace(kept, **change))
    with pytest.raises(ValueError, match="array"):
        request_of(b"\x01")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (b'{"error":{"message":"too long","code":"x"}}', "too long"),
        (b'[{"error":{"code":400,"message":"as Gemini says"}}]', "as Gemini says"),
        (b'{"error":"a word"}', "a word"),
        (b'{"detail":"as FastAPI says"}', "as FastAPI says"),
        (b'{"error":{"code":7}}', '{"error":{"code":7}}'),
        (b"[]", "[]"),
        (b"7", "7"),
        (b" plain text ", "plain text"),
        (b"\xff", "\N{REPLACEMENT CHARACTER}"),
        (b"[" * 5000, "[" * 2000),
    ],
)
def test_the_words_of_a_refusal_are_found_in_whatever_form_it_has(error, words):
    assert words_of(error, ()) == words


def test_what_repeats_a_credential_is_taken_out_of_them():
    told = words_of(b'{"detail":"no sk-secret-1 of Bearer short"}', ["Bearer sk-secret-1", "short"])
    assert told == "no \N{HORIZONTAL ELLIPSIS} of \N{HORIZONTAL ELLIPSIS} short"
