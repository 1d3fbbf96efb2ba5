"""The isolation matrix: whatever tells two tenants apart, and whatever one of them knows of the other's chat,
nothing of that chat gets to him: neither into his prompt, nor into what he is answered, nor its session.

Every way of saying who asks x every thing that may be known x every kind of store.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jwt
import pytest
from aiohttp import ClientSession, TCPConnector
from yarl import URL

from sidecar.settings import Settings
from tests.proxy.client import CHAT, chat
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Received, Upstream, says
from tests.proxy.process import serving

HERMES = "X-Hermes-Session-Id"
SESSION = {"headers": [HERMES]}
JWT_KEY = "a key that is long enough for HS256, by the rules"
ALIKE = "what we both say"


@dataclass(frozen=True)
class Who:
    """How somebody says who he is."""

    headers: dict[str, str] = field(default_factory=dict)
    query: str = ""


Pairs = dict[str, tuple[Who, Who]]


def signed(user: str) -> str:
    return jwt.encode({"sub": user}, JWT_KEY, algorithm="HS256")


def keys() -> Pairs:
    """Two keys in every place, in spellings that a careless reader takes for one."""
    tenant = Settings().tenant
    pairs = {
        name: (Who({name: "Bearer key-1"}), Who({name: "Bearer key-2"})) for name in tenant.credential_headers
    }
    for name in tenant.credential_parameters:
        pairs[f"?{name}"] = (Who(query=f"?{name}=1"), Who(query=f"?{name}=2"))
    shared = {"Authorization": "Bearer shared"}
    pairs |= {
        "another case": (Who({"Authorization": "Bearer k"}), Who({"Authorization": "Bearer K"})),
        "one of two keys": (Who({**shared, "api-key": "1"}), Who({**shared, "api-key": "2"})),
        "none of two keys": (Who({**shared, "apikey": "1"}), Who(shared)),
        "no key": (Who(shared), Who()),
        "another place": (Who({"api-key": "k"}), Who({"x-api-key": "k"})),
        "header and parameter": (Who({"api-key": "k"}), Who(query="?api-key=k")),
        "underscores": (Who({"x_api_key": "1", **shared}), Who({"x_api_key": "2", **shared})),
        "bytes that are no text": (Who(query="?key=%ff"), Who(query="?key=%fe")),
        "a line end": (Who(query="?key=a&api_key=b"), Who(query="?key=a%0Ab")),
        "a longer key": (Who({"Authorization": "k" * 1000}), Who({"Authorization": "k" * 999})),
    }
    return pairs


def users() -> Pairs:
    """Two users behind one key, by headers that the front end sets."""
    key = {"Authorization": "Bearer shared"}
    names = Settings().tenant.user_headers
    pairs = {name: (Who({**key, name: "ada"}), Who({**key, name: "bob"})) for name in names}
    pairs["no user"] = (Who({**key, "X-User-ID": "ada"}), Who(key))
    pairs["another key"] = (Who({**key, "X-User-ID": "ada"}), Who({"api-key": "k", "X-User-ID": "ada"}))
    return pairs


def tokens() -> Pairs:
    """Two users behind one key, by tokens that the front end signs."""
    name, key = "X-OpenWebUI-User-Jwt", {"Authorization": "Bearer shared"}
    ada = Who({**key, name: signed("ada")})
    return {
        "tokens": (ada, Who({**key, name: signed("bob")})),
        "an unsigned name beside it": (ada, Who({**key, name: signed("bob"), "X-User-ID": "ada"})),
        "an unsigned name alone": (ada, Who({**key, "X-User-ID": "ada", "X-OpenWebUI-User-Id": "ada"})),
        "no token": (ada, Who(key)),
        "a token and another key": (ada, Who({"api-key": "k", name: signed("ada")})),
    }


@dataclass
class Told:
    """What came of a request: what the upstream got, and what the client was answered."""

    prompt: str
    session: str
    answer: str


class Matrix:
    """One sidecar, and everything that is tried at it."""

    def __init__(self, http: ClientSession, url: str, upstream: Upstream) -> None:
        self.http, self.url = http, url
        self.tried = 0
        self.leaks: list[str] = []
        self._asked = itertools.count()
        self._got: dict[str, Received] = {}
        upstream.otherwise = self._answer

    async def _answer(self, exchange: Exchange) -> None:
        """To one of them the answer is a secret; it is the same that both hear where they say the same."""
        self._got[exchange.request.headers["X-Try"]] = exchange.request
        first = exchange.request.json["messages"][0]["content"]
        await says(f"the answer to {first}")(exchange)

    async def ask(self, who: Who, *messages: str, **headers: str) -> Told:
        at = str(next(self._asked))
        said = {"Content-Type": "application/json", "X-Try": at, **who.headers}
        said |= {name.replace("_", "-"): value for name, value in headers.items()}
        body = json.dumps({"model": "m", "messages": chat(*messages)}).encode()
        url = URL(self.url + CHAT + who.query, encoded=True)
        async with self.http.post(url, data=body, headers=said) as response:
            text = await response.text()
            assert response.status == 200, text
            answer = f"{dict(response.headers)} {text}"
        got = self._got.pop(at)
        return Told(got.body.decode(), got.headers.get(HERMES, ""), answer)

    async def attack(self, number: int, name: str, victim: Who, attacker: Who) -> None:
        """Try everything that may be known of a chat."""
        id, secret = f"chat-{number}", f"SECRET-{number}"
        ids = {"X_Message_ID": f"m{number}", "X_User_Message_ID": f"u{number}"}
        its = await self.ask(victim, secret, X_Conversation_ID=id, **ids)
        alike = await self.ask(victim, f"{ALIKE} {number}")
        answer = f"the answer to {ALIKE} {number}"
        await self.ask(victim, f"{ALIKE} {number}", answer, "more")
        for session in (its.session, alike.session):
            assert session.startswith("conv_"), name
        append = {"X_Sidecar_History": "append"}
        parent = {"X_User_Message_Parent_ID": f"m{number}", **ids}
        told_id = {"X_Conversation_ID": alike.session}
        tries: list[tuple[str, Sequence[str], dict[str, str]]] = [
            ("its id", ["and?"], {"X_Conversation_ID": id}),
            ("its id, to append", ["and?"], {"X_Conversation_ID": id, **append}),
            ("its message ids", ["and?"], {"X_Conversation_ID": id, **parent, **append}),
            ("its session as an id", ["and?"], {"X_Conversation_ID": its.session, **append}),
            ("its session as a session", ["and?"], {"X_Hermes_Session_Id": its.session, **append}),
            ("the other session", ["and?"], {"X_Hermes_Session_Id": alike.session}),
            ("the same words", [f"{ALIKE} {number}", answer, "more"], {}),
            ("the same words and id", [f"{ALIKE} {number}", answer, "more"], told_id),
        ]  # fmt: skip
        for what, messages, headers in tries:
            got = await self.ask(attacker, *messages, **headers)
            self.tried += 1
            words = [each for each in (secret, f"{ALIKE} {number}") if each not in messages]
            sessions = {its.session, alike.session}
            told = got.prompt + got.answer
            if (
                any(each in told for each in words)
                or got.session in sessions
                or any(each in got.answer for each in sessions - {*headers.values()})
            ):
                self.leaks.append(f"{name}: {what}")


async def matrix(http: ClientSession, url: str, upstream: Upstream, pairs: Pairs) -> Matrix:
    made, few = Matrix(http, url, upstream), asyncio.Semaphore(8)

    async def attack(*what: Any) -> None:
        async with few:
            await made.attack(*what)

    attacks = []
    for number, (name, (one, other)) in enumerate(pairs.items()):
        attacks.append(attack(2 * number, f"{name}, the second", one, other))
        attacks.append(attack(2 * number + 1, f"{name}, the first", other, one))
    await asyncio.gather(*attacks)
    return made


@asynccontextmanager
async def client(*, force_close: bool = False) -> AsyncIterator[ClientSession]:
    """`force_close`: a connection for each request, so that they get to all workers."""
    async with ClientSession(connector=TCPConnector(force_close=force_close)) as http:
        yield http


PLAIN = {**keys(), **users()}
#: How many tries there are for each pair, in both directions.
TRIES = 16


@pytest.mark.parametrize(("pairs", "signed"), [(PLAIN, False), (tokens(), True)], ids=["plain", "signed"])
async def test_no_tenant_gets_anything_of_another_from_a_file(
    start: Start, upstream: Upstream, pairs: Pairs, signed: bool
):
    tenant: dict[str, Any] = {"user_jwt_secret": JWT_KEY} if signed else {}
    sidecar = await start(session=SESSION, tenant=tenant)
    async with client() as http:
        made = await matrix(http, sidecar.url, upstream, pairs)
    assert (made.leaks, made.tried) == ([], TRIES * len(pairs))


async def of_processes(upstream: Upstream, folder: Path, *flags: str) -> None:
    environment = {"SIDECAR_SESSION__HEADERS": json.dumps([HERMES])}
    # Who asks is found out before the store is asked, in the same way for each kind: a part of them will do.
    some = dict(list(PLAIN.items())[::3])
    for pairs, secret in ((some, ""), (tokens(), JWT_KEY)):
        environment["SIDECAR_TENANT__USER_JWT_SECRET"] = secret
        started = serving("--upstream", upstream.url, *flags, folder=folder, **environment)
        async with started as process, client(force_close="--workers" in flags) as http:
            made = await matrix(http, process.url, upstream, pairs)
        assert (made.leaks, made.tried) == ([], TRIES * len(pairs))


async def test_nor_from_several_workers(upstream: Upstream, tmp_path: Path):
    await of_processes(upstream, tmp_path, "--workers", "2")


async def test_nor_from_postgresql(upstream: Upstream, tmp_path: Path, postgres_url: str):
    await of_processes(upstream, tmp_path, "--store", postgres_url)


async def test_the_matrix_finds_what_is_shared(start: Start, upstream: Upstream):
    """Where all are one tenant, everything that is tried gets something."""
    sidecar = await start(session=SESSION, tenant={"mode": "fixed"})
    pair = {"one": (Who({"Authorization": "1"}), Who({"Authorization": "2"}))}
    async with client() as http:
        made = await matrix(http, sidecar.url, upstream, pair)
    assert len(made.leaks) > TRIES / 2
