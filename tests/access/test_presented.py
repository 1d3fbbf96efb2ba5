"""Where a request may present a client's key, and what is left of it then."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict, CIMultiDictProxy

from sidecar.access.client_keys import hidden
from sidecar.access.places import places_of
from sidecar.access.presented import Presented, presented
from sidecar.errors import BadRequest, InvalidKey
from sidecar.settings import Settings

KEY = f"sk-sc-0123456789-{'Ab3' * 14}Z"
OTHER = f"sk-sc-9876543210-{'Xy7' * 14}Q"
SETTINGS = Settings()
PLACES = places_of(SETTINGS)


def of(*headers: tuple[str, str], target: str = "/v1/chat/completions") -> Presented:
    return presented(PLACES, CIMultiDictProxy(CIMultiDict(headers)), target)


def basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


@pytest.mark.parametrize("name", SETTINGS.tenant.credential_headers)
def test_every_header_for_credentials_may_hold_it_and_goes(name: str):
    for spelled in (name, name.upper(), name.replace("-", "_")):
        assert of((spelled, KEY), ("X-Other", "stays")) == (KEY, {spelled: None})


@pytest.mark.parametrize(
    "value",
    [
        KEY,
        f"Bearer {KEY}",
        f"bearer  {KEY}",
        f"Token {KEY}",
        basic(f"user:{KEY}"),
        basic(f"{KEY}:"),
        basic(KEY),
    ],
)
def test_it_is_found_in_whatever_scheme(value: str):
    assert of(("Authorization", value)) == (KEY, {"Authorization": None})


def test_every_other_credential_goes_with_it():
    found = of(
        ("Authorization", f"Bearer {KEY}"), ("api-key", "dummy"), ("x_api_key", "b"), ("Cookie", "a=b")
    )
    assert found == (KEY, {"Authorization": None, "api-key": None, "x_api_key": None})


def test_a_key_in_any_other_header_goes_and_admits_nobody():
    assert of(("Cookie", f"token={KEY}"), ("Referer", f"https://x/?k={KEY}"), ("X-A", "b")) == (
        None,
        {"Cookie": None, "Referer": None},
    )


def test_without_one_nothing_changes():
    for headers in ((), (("Authorization", "Bearer sk-proj-1"),), (("X-Title", "my sk-sc-notes"),)):
        assert of(*headers, target="/v1/models?api_key=b&token=c") == (None, {})


@pytest.mark.parametrize("wrong", [KEY[:-1], KEY + "x", "sk-sc-", f"a{KEY}", basic(KEY[:-1])])
def test_one_that_is_not_whole_is_refused_and_goes_nowhere(wrong: str):
    with pytest.raises(InvalidKey) as caught:
        of(("api-key", wrong))
    assert KEY[8:30] not in caught.value.message


@pytest.mark.parametrize("first", ["Authorization", "X-Api-Key"])
def test_two_different_ones_are_refused(first: str):
    assert of((first, KEY), ("api-key", KEY)).key == KEY
    with pytest.raises(BadRequest, match="two different keys"):
        of((first, KEY), ("api-key", OTHER))
    with pytest.raises(BadRequest, match="two different keys"):
        of((first, f"{KEY} {OTHER}"))


ADDRESSES = [
    f"/v1/models?key={KEY}",
    f"/v1/models?API_KEY={KEY}&a=b",
    f"/v1/models?x={KEY}",
    f"/v1/{KEY}/models",
    f"/v1/models?key=%73k-sc-{KEY[6:]}",
    f"/v1/models?key={KEY[:-1]}",
    f"/v1/models?key=sk-sc-{KEY[6:20]}",
    f"/v1/{KEY}x",
    f"http://x/v1/models?token={KEY}#a",
]


@pytest.mark.parametrize("target", ADDRESSES)
def test_one_in_the_address_is_refused_and_the_address_told_to_nobody(target: str):
    with pytest.raises(InvalidKey, match="stands in the address") as caught:
        of(("Authorization", f"Bearer {KEY}"), target=target)
    assert KEY[8:30] not in caught.value.message
    assert KEY[-20:-1] not in hidden(unquote(target))


def test_a_credential_in_the_address_beside_a_key_is_refused():
    with pytest.raises(BadRequest, match="the parameter api_key holds a credential"):
        of(("Authorization", f"Bearer {KEY}"), target="/v1/models?api_key=b")


@pytest.mark.parametrize(
    ("offered", "left"),
    [
        (
            f"realtime, openai-insecure-api-key.{KEY}, openai-beta.realtime-v1",
            "realtime, openai-beta.realtime-v1",
        ),
        (f"openai-insecure-api-key.{KEY}", None),
    ],
)
def test_a_browser_s_websocket_presents_it_as_openai_has_it(offered: str, left: Any):
    assert of(("Sec-WebSocket-Protocol", offered)) == (KEY, {"Sec-WebSocket-Protocol": left})


_NAMES = [
    "Authorization",
    "authorization",
    "x-api-key",
    "X_Api_Key",
    "Cookie",
    "X-A",
    "Sec-WebSocket-Protocol",
]
_PIECES = [
    KEY,
    OTHER,
    "Bearer ",
    "basic ",
    basic(KEY),
    basic(f"a:{OTHER}"),
    " ",
    ",",
    ";",
    "sk-sc-",
    "a",
    "é",
    "",
]


@given(
    st.lists(st.tuples(st.sampled_from(_NAMES), st.lists(st.sampled_from(_PIECES), max_size=4)), max_size=5)
)
def test_however_it_is_sent_it_is_refused_or_goes_no_further(sent: list[tuple[str, list[str]]]):
    headers = CIMultiDict([(name, "".join(pieces)) for name, pieces in sent])
    try:
        found = presented(PLACES, CIMultiDictProxy(headers), "/v1/models")
    except (InvalidKey, BadRequest):
        return
    for name, value in found.headers.items():
        headers.popall(name, None)
        if value is not None:
            headers[name] = value
    left = "\n".join(headers.values())
    assert KEY not in left
    assert OTHER not in left
    if found.key is not None:
        assert not {name.lower().replace("_", "-") for name in headers} & PLACES.credentials
