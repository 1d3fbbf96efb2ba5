"""Whose request it is, however and wherever it says so, and what is refused since it says two things."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import tomllib
from typing import Any

import jwt
import pytest
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from sidecar.access.places import credential_of, parameters_of, places_of
from sidecar.conversation.identity import tenant_of
from sidecar.settings import Settings
from tests.guides import blocks
from tests.proxy.client import CHAT, Reply, Sidecar, assert_error, chat
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream

KEY = "a key that is long enough for HS256, by the rules"
ASKED = json.dumps({"model": "m", "messages": chat("hi", "ok", "and?")}).encode()

HEADERS = Settings().tenant.credential_headers
PARAMETERS = Settings().tenant.credential_parameters
Pairs = list[tuple[str, str]]


async def post(sidecar: Sidecar, headers: Pairs, query: str = "") -> Reply:
    """Sent as it is spelled here: HTTP libraries join and quote anew."""
    lines = [("Host", "x"), ("Content-Length", str(len(ASKED))), ("X-Conversation-ID", "a"), *headers]
    head = "".join(f"{name}: {value}\r\n" for name, value in lines)
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(sidecar.url).port)
    writer.write(f"POST {CHAT}{query} HTTP/1.1\r\n{head}\r\n".encode("utf-8", "surrogateescape") + ASKED)
    start, *fields = (await reader.readuntil(b"\r\n\r\n")).decode().splitlines()[:-1]
    told = CIMultiDict[str](each.split(": ", 1) for each in fields)  # type: ignore[misc] # pairs are pairs
    body = await reader.readexactly(int(told["Content-Length"]))
    writer.close()
    return Reply(int(start.split()[1]), CIMultiDictProxy(told), body)


@pytest.mark.parametrize("name", [*HEADERS, "X-OpenWebUI-User-Id", "X-User-ID", "X-OpenWebUI-User-Jwt"])
@pytest.mark.parametrize("again", [str.lower, str.upper])
async def test_a_header_that_says_who_asks_may_not_say_two_things(
    sidecar: Sidecar, upstream: Upstream, name: str, again: Any
):
    reply = await post(sidecar, [(name, "first!"), (again(name), "second!")])
    assert assert_error(reply, 400, "duplicate_identity")["param"] == name.lower()
    assert "!" not in reply.json["error"]["message"]
    assert upstream.requests == []


@pytest.mark.parametrize("values", [("a", "b"), ("", "a"), ("a", "")])
async def test_nor_may_the_header_that_names_the_conversation(sidecar: Sidecar, values: tuple[str, str]):
    reply = await post(sidecar, [("X-OpenWebUI-Chat-Id", each) for each in values])
    assert_error(reply, 400, "duplicate_identity")


async def test_what_is_said_twice_in_the_same_words_is_said_once(sidecar: Sidecar, upstream: Upstream):
    once = [("Authorization", "Bearer k"), ("X-User-ID", "u")]
    twice = [*once, ("authorization", "Bearer k"), ("x-user-id", "u")]
    assert (await post(sidecar, twice)).outcome == "start"
    assert (await post(sidecar, once)).outcome == "retry"
    assert upstream.requests[0].headers.getall("Authorization") == ["Bearer k"] * 2


async def test_a_header_that_tells_nobody_may_come_as_often_as_it_likes(sidecar: Sidecar):
    assert (await post(sidecar, [("X-Other", "1"), ("X-Other", "2")])).status == 200


@pytest.mark.parametrize("query", ["?key=a&key=b", "?key=a&KEY=b", "?k%65y=a&key=b", "?token=a&x=1&token="])
async def test_a_parameter_that_says_who_asks_may_not_say_two_things(sidecar: Sidecar, query: str):
    assert_error(await post(sidecar, [], query), 400, "duplicate_identity")


async def test_a_parameter_may_be_repeated_and_spelled_as_one_likes(sidecar: Sidecar, upstream: Upstream):
    spellings = ["?key=ab", "?key=ab&key=ab", "?KEY=ab", "?%6bey=%61b", "?key=ab&page=1&page=2"]
    said = [(await post(sidecar, [], each)).outcome for each in spellings]
    assert said == ["start", *["retry"] * 4]
    assert [each.target.partition("?")[2] for each in upstream.requests] == [each[1:] for each in spellings]


@pytest.mark.parametrize("name", HEADERS)
async def test_every_header_in_which_gateways_take_keys_tells_tenants_apart(sidecar: Sidecar, name: str):
    said = [(await post(sidecar, [(name, each)])).outcome for each in ("one", "two", "one")]
    beside = [(await post(sidecar, [("Cookie", "new"), (name, "one"), ("X-User-Agent", "y")])).outcome]
    assert [*said, *beside] == ["start", "start", "retry", "retry"]


@pytest.mark.parametrize("name", PARAMETERS)
async def test_every_parameter_in_which_gateways_take_keys_tells_tenants_apart(sidecar: Sidecar, name: str):
    said = [(await post(sidecar, [], f"?{name}={each}")).outcome for each in ("one", "two", "one")]
    assert said == ["start", "start", "retry"]


async def test_a_header_spelled_with_underscores_is_a_place_too(sidecar: Sidecar):
    shared = ("Authorization", "Bearer shared")
    said = [(await post(sidecar, [shared, ("x_api_key", each)])).outcome for each in ("one", "two", "one")]
    assert said == ["start", "start", "retry"]
    assert (await post(sidecar, [shared])).outcome == "start"


async def test_keys_of_bytes_that_are_no_text_stay_apart(sidecar: Sidecar):
    said = [(await post(sidecar, [], f"?key={each}")).outcome for each in ("%ff", "%fe", "%ff", "%ED%A0%80")]
    assert said == ["start", "start", "retry", "start"]


def written(headers: Pairs = [], target: str = "/", **tenant: Any) -> str | None:  # noqa: B006 - not changed
    places = places_of(Settings.model_validate({"tenant": tenant}))
    names = [name.lower() for name, _ in headers]
    return credential_of(places, CIMultiDict(headers), names, parameters_of(places, target))


def test_a_credential_in_the_places_known_first_is_written_as_ever():
    assert written() is None
    assert written([("Authorization", "Bearer k")]) == "Bearer k\n\n\n\n\n\n"
    assert written([("api-key", "k"), ("X-API-Key", "l")], "/?key=m&api-key=n") == "\nk\nl\n\nm\n\nn"
    own: dict[str, Any] = {"credential_headers": ["X-Auth-Token", "Authorization"]}
    assert written([("Authorization", "a"), ("X-Auth-Token", "b")], **own) == "b\na\n\n\n"
    assert written([("apikey", "a")], **own) is None
    assert written([("X-Auth-Token", "t")]) == "\n\n\n\n\n\n\nx-auth-token:t"


def test_no_two_lists_of_credentials_are_written_alike():
    """A line end can stand in a parameter alone, and must not part it in two."""
    told = [
        written([], target)
        for target in (
            "/?key=a%0Ab",
            "/?key=a&api_key=b",
            "/?key=a&api_key=b%0A",
            "/?key=a%0Ab&api_key=",
            "/?token=a",
            "/?key=a%0A%3Ftoken%3Aa",
            "/?api-key=%0A%3Ftoken%3Aa",
        )
    ]
    assert len({tenant_of(b"s", each, None) for each in told}) == 6  # the fourth is the first
    assert told[0] == told[3]


def signed(payload: bytes, header: bytes = b'{"alg":"HS256"}') -> bytes:
    def part(data: bytes) -> bytes:
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    said = part(header) + b"." + part(payload)
    return said + b"." + part(hmac.new(KEY.encode(), said, hashlib.sha256).digest())


DEEP = b"[" * 4000

TOKENS = {
    "bytes that are no UTF-8": b"\xff.\xff.\xff",
    "no ASCII": "ä.ö.ü".encode(),
    "half a surrogate pair": signed(b'{"sub":"\\ud800"}'),
    "a number for a user": signed(b'{"sub":5}'),
    "no user": signed(b'{"sub":""}'),
    "null": signed(b'{"sub":null}'),
    "a list": signed(b'{"sub":["ada"]}'),
    "no sub": signed(b"{}"),
    "no object": signed(b"[]"),
    "no JSON": signed(b"\xff"),
    "nested claims": signed(DEEP),
    "a nested header": signed(b'{"sub":"ada"}', DEEP),
    "an infinite time": signed(b'{"sub":"ada","exp":Infinity}'),
    "a huge time": signed(b'{"sub":"ada","nbf":1e400}'),
    "a time of another type": signed(b'{"sub":"ada","exp":{"a":1}}'),
    "expired": signed(b'{"sub":"ada","exp":1}'),
    "no algorithm": jwt.encode({"sub": "ada"}, "", algorithm="none").encode(),
    "an algorithm of another type": signed(b'{"sub":"ada"}', b'{"alg":["HS256"]}'),
    "a header that is no object": signed(b'{"sub":"ada"}', b"1"),
    "unknown extensions": signed(b'{"sub":"ada"}', b'{"alg":"HS256","crit":[{}]}'),
    "one part": b"x",
    "dots alone": b"..",
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
async def test_a_user_token_that_is_none_is_refused_in_a_sentence(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture, token: bytes
):
    sidecar = await start(tenant={"user_jwt_secret": KEY})
    reply = await post(sidecar, [("X-OpenWebUI-User-Jwt", token.decode("utf-8", "surrogateescape"))])
    error = assert_error(reply, 400, "invalid_user_token")
    assert error["message"] == (
        "X-OpenWebUI-User-Jwt cannot be verified: malformed, expired, or not signed with"
        " `tenant.user_jwt_secret`"
    )
    assert upstream.requests == []
    assert all(each.exc_info is None for each in caplog.records)


async def test_a_user_of_any_letters_may_be_signed(start: Start):
    sidecar = await start(tenant={"user_jwt_secret": KEY})
    token = signed(json.dumps({"sub": "Ädä 🙂"}).encode()).decode()
    assert (await post(sidecar, [("X-OpenWebUI-User-Jwt", token)])).outcome == "start"


async def test_a_signed_token_goes_on_unless_a_header_of_the_target_stands_in_its_place(
    start: Start, upstream: Upstream
):
    """Who it names is read before, and the guide to Open WebUI has this line."""
    (line,) = (each for each in blocks("openwebui", "toml") if "[target]" in each)
    token = jwt.encode({"sub": "ada", "email": "ada@example.com"}, KEY, algorithm="HS256")
    signed, unsigned = [("X-OpenWebUI-User-Jwt", token)], [("Authorization", "Bearer k")]
    for settings, sent in (({}, [token, None]), (tomllib.loads(line), ["-", "-"])):
        sidecar = await start(tenant={"user_jwt_secret": KEY}, **settings)
        for headers in (signed, unsigned):
            await post(sidecar, headers)
        tenants = {each.conversation["tenant"] for each in await sidecar.stored()}
        assert len(tenants) == 2
        assert [each.headers.get("X-OpenWebUI-User-Jwt") for each in upstream.requests[-2:]] == sent
