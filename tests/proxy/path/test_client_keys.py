"""Keys that the operator gives to clients: who is let in, as whom, and what goes upstream."""

from __future__ import annotations

import asyncio
import json
import logging
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from aiohttp import WSServerHandshakeError
from yarl import URL

from sidecar.access import known_keys
from sidecar.access.client_keys import id_in
from sidecar.conversation.identity import tenant_of
from sidecar.logs import EXCHANGES
from sidecar.settings import SettingsError, load
from tests.proxy.client import CHAT, Sidecar, assert_error, chat
from tests.proxy.client_keys import bearer, new_key, opened, revoke, rotate
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, completion, says, sends
from tests.proxy.several import target
from tests.store.postgres import Server

REQUIRED, OPTIONAL = {"enforcement": "required"}, {"enforcement": "optional"}
OWN_KEY = "the-key-of-the-target"
TARGET = {"api_key": OWN_KEY}
#: Seconds within which a change is seen, however many workers there are.
WITHIN = 5.0


@pytest.fixture
async def sidecar(start: Start) -> Sidecar:
    return await start(keys=REQUIRED, target=TARGET)


@contextmanager
def without_keys(sidecar: Sidecar) -> Iterator[None]:
    """The store cannot tell any key meanwhile."""
    with closing(sqlite3.connect(str(sidecar.settings.store_path), isolation_level=None)) as other:
        other.execute("ALTER TABLE client_key RENAME TO lost")
        yield
        other.execute("ALTER TABLE lost RENAME TO client_key")


async def raw(sidecar: Sidecar, method: str, target: str, *lines: str, body: bytes = b"") -> bytes:
    head = [f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *lines]
    head += [f"Content-Length: {len(body)}"] if body else []
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(sidecar.url).port)
    writer.write("\r\n".join([*head, "", ""]).encode() + body)
    answer = await reader.read()
    writer.close()
    return answer


class TestWhoIsLetIn:
    @pytest.mark.parametrize(
        ("method", "target"),
        [
            ("POST", CHAT),
            ("POST", "/v1/responses"),
            ("POST", "/v1/embeddings"),
            ("GET", "/v1/models"),
            ("OPTIONS", CHAT),
            ("OPTIONS", "*"),
            ("HEAD", "/"),
            ("DELETE", "/-/live"),
            ("GET", "/-/other"),
            ("GET", "http://elsewhere/v1/models"),
        ],
    )
    async def test_without_a_key_nothing_is_answered_on_any_path(
        self, sidecar: Sidecar, upstream: Upstream, method: str, target: str
    ):
        for lines in ((), ("Authorization: Bearer sk-other",), ("Authorization: Bearer sk-sc-a",)):
            answer = await raw(sidecar, method, target, *lines)
            assert answer.startswith(b"HTTP/1.1 401 ")
            assert b"\r\nWWW-Authenticate: Bearer\r\n" in answer
            if method != "HEAD":
                error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
                assert (error["code"], error["type"]) == ("invalid_api_key", "invalid_request_error")
        assert upstream.requests == []

    async def test_no_websocket_is_opened_without_one(self, start: Start, upstream: Upstream):
        sidecar = await start(keys=REQUIRED, responses={"upstream": "translate"})
        for path in ("/v1/realtime?model=m", "/v1/responses"):
            with pytest.raises(WSServerHandshakeError) as caught:
                await sidecar.http.ws_connect(sidecar.url + path)
            assert caught.value.status == 401
        assert upstream.requests == []

    async def test_the_sidecar_s_own_pages_stay_as_they_are(self, sidecar: Sidecar):
        for page in ("live", "ready", "metrics", "doctor"):
            assert (await sidecar.send("GET", f"/-/{page}")).status == 200

    async def test_with_a_key_it_goes_upstream_under_the_targets_own(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        key = await new_key(sidecar.settings)
        for headers in (bearer(key), {"api-key": key, "x-api-key": "dummy"}, {"Cookie": key, **bearer(key)}):
            upstream.will(says("ok"), sends(b"{}"))
            assert (await sidecar.ask("hi", headers=headers)).status == 200
            assert (await sidecar.send("POST", "/v1/embeddings", data=b"{}", headers=headers)).status == 200
        assert len(upstream.requests) == 6
        for request in upstream.requests:
            assert request.headers.getall("Authorization") == [f"Bearer {OWN_KEY}"]
            assert "sk-sc-" not in f"{request.headers}"
            assert not {"api-key", "x-api-key", "cookie"} & {name.lower() for name in request.headers}

    async def test_to_every_target_goes_its_own_key(self, start: Start, upstream: Upstream):
        other, third = Upstream(), Upstream()
        for each in (other, third):
            await each.start()
        own = {"api_key": "of-the-other"}
        targets = [
            target("other", other, models=["other"], **own),
            target("third", third, models=["third"], forward_credential=True),
        ]
        sidecar = await start(keys=REQUIRED, target=TARGET, targets=targets)
        key = await new_key(sidecar.settings)
        for model in ("m", "other", "third"):
            assert (await sidecar.ask("hi", headers=bearer(key), model=model)).status == 200
        got = [each.last.headers.get("Authorization") for each in (upstream, other, third)]
        assert got == [f"Bearer {OWN_KEY}", "Bearer of-the-other", None]
        for each in (other, third):
            await each.stop()

    async def test_one_that_is_wrong_expired_or_revoked_is_refused(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        key, old = (
            await new_key(sidecar.settings),
            await new_key(sidecar.settings, expires_at=time.time() - 1),
        )
        gone = await new_key(sidecar.settings)
        await revoke(sidecar.settings, gone)
        wrong = key[:-1] + ("a" if key[-1] != "a" else "b")
        for each, why in ((old, "has expired"), (gone, "is not valid"), (wrong, "is not valid")):
            error = assert_error(await sidecar.ask("hi", headers=bearer(each)), 401, "invalid_api_key")
            assert error["message"] == f"the API key {why}"
        assert upstream.requests == []

    async def test_where_none_is_needed_others_go_as_they_always_did_but_no_invalid_one(
        self, start: Start, upstream: Upstream
    ):
        sidecar = await start(keys=OPTIONAL, target=TARGET)
        key = await new_key(sidecar.settings)
        upstream.will(says(), says(), says())
        for headers in ({}, bearer("sk-other"), bearer(key)):
            assert (await sidecar.ask("hi", headers=headers)).status == 200
        sent = [request.headers.getall("Authorization") for request in upstream.requests]
        assert sent == [[f"Bearer {OWN_KEY}"], ["Bearer sk-other"], [f"Bearer {OWN_KEY}"]]

        for wrong in (key[:-1], key[:-1] + "-", f"{key}x", "sk-sc-0123456789-" + "a" * 43):
            assert_error(await sidecar.ask("hi", headers=bearer(wrong)), 401, "invalid_api_key")
        assert len(upstream.requests) == 3

    def test_a_store_that_holds_no_keys_is_refused_at_the_start(self):
        with pytest.raises(SettingsError, match="nobody can give keys"):
            load({"store": "memory:"}, {"SIDECAR_KEYS__ENFORCEMENT": "required"})


class TestWhoseItIs:
    async def test_the_tenant_is_the_key_s_id_and_the_user_behind_it(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        key = await new_key(sidecar.settings)
        upstream.will(*[says("ok")] * 3)
        await sidecar.ask("hi", id="a", headers=bearer(key))
        await sidecar.ask("hi", id="a", headers={"api-key": key})
        await sidecar.ask("hi", id="a", headers={**bearer(key), "X-User-ID": "u"})
        async with opened(sidecar.settings) as store:
            tenants = [each.tenant async for each in store.conversations()]
            client = f"\nkey {id_in(key)}"
            assert tenants == [tenant_of(store.secret, client, None), tenant_of(store.secret, client, "u")]

    async def test_two_keys_share_no_chat(self, sidecar: Sidecar, upstream: Upstream):
        keys = [await new_key(sidecar.settings) for _ in range(2)]
        upstream.will(says("one"), says("two"), says("three"))
        replies = [await sidecar.ask("hi", id="same", headers=bearer(key)) for key in (*keys, keys[0])]
        assert [reply.outcome for reply in replies] == ["start", "start", "retry"]
        assert len(await sidecar.stored()) == 2

    async def test_the_key_s_id_is_kept_with_each_exchange(self, sidecar: Sidecar):
        key = await new_key(sidecar.settings)
        assert (await sidecar.ask("hi", id="a", headers=bearer(key))).status == 200
        async with opened(sidecar.settings) as store:
            (kept,) = [await store.snapshot(each.id) async for each in store.conversations()]
        assert kept is not None
        assert [each.detail.client_key for each in kept.exchanges] == [id_in(key)]

    async def test_a_key_that_is_rotated_keeps_its_chats(self, sidecar: Sidecar, upstream: Upstream):
        key = await new_key(sidecar.settings)
        upstream.will(says("Ada?"), says("yes"), says("still"))
        await sidecar.ask("my name is Ada", id="a", headers=bearer(key))
        new = await rotate(sidecar.settings, key, grace=60.0)
        append = {"X-Sidecar-History": "append"}
        for text, each in (("and?", new), ("so?", key)):
            reply = await sidecar.ask(text, id="a", headers={**bearer(each), **append})
            assert (reply.status, reply.outcome) == (200, "append")
        assert upstream.last.said == ["my name is Ada", "Ada?", "and?", "yes", "so?"]

    async def test_a_page_of_another_site_is_nobody_else_with_a_key(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        key = await new_key(sidecar.settings)
        page = {"Origin": "https://elsewhere.example", "Content-Type": "text/plain"}
        upstream.will(says("one"), says("two"))
        await sidecar.ask("hi", id="a", headers=bearer(key))
        assert (await sidecar.ask("hi", id="a", headers={**bearer(key), **page})).outcome == "retry"


class TestTheLifeOfAKey:
    async def test_a_new_secret_is_valid_at_once_and_the_old_one_not_after_its_grace(
        self, sidecar: Sidecar, upstream: Upstream
    ):
        key = await new_key(sidecar.settings)
        upstream.will(*[says("ok")] * 9)
        assert (await sidecar.ask("hi", headers=bearer(key))).status == 200
        ends = time.monotonic() + 0.5
        new = await rotate(sidecar.settings, key, grace=0.5)
        assert [(await sidecar.ask("hi", headers=bearer(each))).status for each in (new, key)] == [200, 200]
        while (await sidecar.send("HEAD", "/", headers=bearer(key))).status != 401:
            assert time.monotonic() < ends + WITHIN
            await asyncio.sleep(0.02)
        assert time.monotonic() >= ends
        reply = await sidecar.ask("hi", headers=bearer(key))
        assert assert_error(reply, 401, "invalid_api_key")["message"] == "the API key was replaced by another"
        assert (await sidecar.ask("hi", headers=bearer(new))).status == 200

    async def test_a_revoked_one_is_refused_within_five_seconds(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        assert known_keys._FRESH + known_keys._PATIENCE < WITHIN
        monkeypatch.setattr(known_keys, "_FRESH", 0.2)
        key = await new_key(sidecar.settings)
        upstream.will(says("ok"))
        assert (await sidecar.ask("hi", headers=bearer(key))).status == 200
        await revoke(sidecar.settings, key)
        await asyncio.sleep(0.2)
        assert_error(await sidecar.ask("hi", headers=bearer(key)), 401, "invalid_api_key")

    async def test_one_that_is_revoked_is_refused_by_every_sidecar_on_one_database(
        self, start: Start, upstream: Upstream, server: Server, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(known_keys, "_FRESH", 0.0)
        store = await server.store_url()
        both = [await start(keys=REQUIRED, target=TARGET, store=store) for _ in range(2)]
        key = await new_key(both[0].settings)
        upstream.otherwise = says("ok")
        assert [(await each.ask("hi", headers=bearer(key))).status for each in both] == [200, 200]
        await revoke(both[0].settings, key)
        for each in both:
            assert_error(await each.ask("hi", headers=bearer(key)), 401, "invalid_api_key")

    async def test_while_it_is_believed_the_store_is_not_asked_again(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(known_keys, "_FRESH", 60.0)
        key = await new_key(sidecar.settings)
        upstream.will(says("ok"), says("ok"))
        assert (await sidecar.ask("hi", headers=bearer(key))).status == 200
        with without_keys(sidecar):
            assert (await sidecar.ask("hi", headers=bearer(key))).status == 200
        assert await sidecar.metric("sidecar_store_failures_total") == 0

    async def test_the_day_on_which_it_was_used_is_noted_once(self, sidecar: Sidecar, upstream: Upstream):
        key = await new_key(sidecar.settings)
        upstream.will(says("ok"), says("ok"))
        async with opened(sidecar.settings) as store:
            for _ in range(2):
                assert (await sidecar.ask("hi", headers=bearer(key))).status == 200
            async with asyncio.timeout(5):
                while (row := await store.client_key(str(id_in(key)))) is None or row.used is None:
                    await asyncio.sleep(0.01)
            assert row.used == int(time.time()) // 86_400


class TestAStoreThatIsAway:
    async def test_keys_that_were_known_go_on_and_of_others_it_cannot_be_told(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr(known_keys, "_FRESH", 0.0)
        known, other = await new_key(sidecar.settings), await new_key(sidecar.settings)
        upstream.will(*[says("ok")] * 3)
        assert (await sidecar.ask("hi", headers=bearer(known))).status == 200
        with without_keys(sidecar):
            for _ in range(2):
                assert (await sidecar.ask("hi", headers=bearer(known))).status == 200
            for unknown in (other, known[:-1] + ("a" if known[-1] != "a" else "b")):
                reply = await sidecar.ask("hi", headers=bearer(unknown))
                assert_error(reply, 503, "store_unavailable")
                assert reply.headers["Retry-After"] == "5"
            assert_error(await sidecar.ask("hi"), 401, "invalid_api_key")
        assert len(upstream.requests) == 3
        upstream.will(says("ok"))
        assert (await sidecar.ask("hi", headers=bearer(other))).status == 200

    async def test_a_store_that_is_slow_holds_up_no_known_key(
        self, sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        key = await new_key(sidecar.settings)
        upstream.will(says("ok"))
        assert (await sidecar.ask("hi", headers=bearer(key))).status == 200
        monkeypatch.setattr(known_keys, "_FRESH", 0.0)
        monkeypatch.setattr(known_keys, "_PATIENCE", 0.01)
        gate = asyncio.Event()

        async def slow(self: known_keys.KnownKeys, id: str) -> None:
            await gate.wait()
            del self._reads[id]

        monkeypatch.setattr(known_keys.KnownKeys, "_reread", slow)
        upstream.will(says("ok"))
        assert (await sidecar.ask("hi", headers=bearer(key))).status == 200
        assert_error(await sidecar.ask("hi", headers=bearer(key[:-2] + "xx")), 503, "store_unavailable")
        gate.set()


class TestNobodyIsToldIt:
    async def test_no_key_stands_in_a_log_a_page_the_store_or_an_error(
        self, start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
    ):
        caplog.set_level(logging.DEBUG)
        sidecar = await start(
            keys=REQUIRED, target=TARGET, logs={"requests": True}, inspector={"keep_requests": "all"}
        )
        key = await new_key(sidecar.settings)
        secret = key[17:]
        upstream.will(says("ok"), sends(b'{"error": {"message": "no"}}', status=400))
        answers = [await sidecar.ask("hi", id="a", headers={**bearer(key), "X-Title": key})]
        answers += [await sidecar.ask("no", id="a", headers=bearer(key))]
        answers += [await sidecar.ask("hi", headers=bearer(each)) for each in (key[:-1], key + "x")]
        answers += [await sidecar.send("GET", f"/v1/models?key={key}"), await sidecar.send("GET", f"/{key}")]
        answers += [await sidecar.send("GET", f"/-/{page}") for page in ("ready", "metrics", "doctor")]
        said = b"".join([f"{each.headers}".encode() + each.body for each in answers])
        said += repr([vars(each) for each in caplog.records if each.name.startswith("sidecar")]).encode()
        said += repr([(each.headers, each.body) for each in upstream.requests]).encode()
        async with opened(sidecar.settings) as store:
            (about,) = [each async for each in store.conversations()]
            for each in await store.exchanges(about.tenant, about.id):
                said += repr(each).encode() + (
                    await store.kept_request(about.tenant, about.id, each.id) or b""
                )
        for file in ("", "-wal"):
            with open(f"{sidecar.settings.store_path}{file}", "rb") as stored:
                said += stored.read()
        assert secret[:-1].encode() not in said
        assert secret[5:25].encode() not in said
        lines = [each for each in caplog.records if each.name == EXCHANGES]
        assert {getattr(each, "key", None) for each in lines} == {id_in(key)}, "its id, which is public"


class TestOff:
    """What it was before there were any keys, byte for byte: these bytes are those of the version before."""

    async def test_nothing_changes_on_the_way_there_and_back(self, start: Start, upstream: Upstream):
        sidecar = await start()
        key = await new_key(sidecar.settings, models=("none",), rpm=1)
        upstream.will(*[sends(b'{"a" : 1}', headers={"x-ratelimit-limit-requests": "7"})] * 2)
        for path in ("/v1/models?key=" + key, "/v1/embeddings"):
            method, body = ("GET", b"") if "key" in path else ("POST", b'{"model":"m", "model":"n"}')
            answer = await raw(
                sidecar,
                method,
                path,
                f"Authorization: Bearer {key}",
                "x_api_key: a",
                "Accept: */*",
                body=body,
            )
            head, _, told_back = answer.partition(b"\r\n\r\n")
            lines = [line for line in head.split(b"\r\n") if not line.startswith((b"Date:", b"Server:"))]
            assert lines == [
                b"HTTP/1.1 200 Whatever",
                b"x-ratelimit-limit-requests: 7",
                b"Content-Length: 9",
                b"Connection: close",
            ]
            assert told_back == b'{"a" : 1}'
            got = upstream.last
            length = [("Content-Length", str(len(body)))] if body else []
            names = [("Authorization", f"Bearer {key}"), ("x_api_key", "a"), ("Accept", "*/*")]
            assert [*got.headers.items()] == [("Host", URL(upstream.url).authority), *names, *length]
            assert (got.method, got.target, got.body) == (method, path, body)

    async def test_nor_of_a_chat(self, start: Start, upstream: Upstream):
        sidecar = await start()
        key = await new_key(sidecar.settings, models=("none",), rpm=1)
        body = b'{"messages": [{"role":"user",  "content":"hi"}], "model":"m"}'
        own = [("X-API-key", key), ("Authorization", f"Bearer {key}"), ("X-Conversation-ID", "a")]
        sent = [*own, ("X-User-ID", "u"), ("Content-Type", "application/json")]
        upstream.will(*[sends(completion("ok"), headers={"Content-Type": "application/json"})] * 2)
        for outcome in ("start", "retry"):
            answer = await raw(sidecar, "POST", CHAT, *(f"{name}: {said}" for name, said in sent), body=body)
            head, _, told_back = answer.partition(b"\r\n\r\n")
            assert [line for line in head.split(b"\r\n") if not line.startswith(b"Date:")] == [
                b"HTTP/1.1 200 Whatever",
                b"Content-Type: application/json",
                b"Content-Length: %d" % len(completion("ok")),
                b"X-Sidecar-Outcome: " + outcome.encode(),
                b"X-Conversation-ID: a",
                b"Connection: close",
            ]
            assert told_back == completion("ok")
            got = upstream.last
            length = ("Content-Length", str(len(body)))
            assert [*got.headers.items()] == [("Host", URL(upstream.url).authority), *sent, length]
            assert (got.method, got.target, got.body) == ("POST", CHAT, body)

    async def test_the_tenant_is_the_credential_and_a_key_says_nothing(
        self, start: Start, upstream: Upstream
    ):
        sidecar = await start()
        key = await new_key(sidecar.settings)
        upstream.will(says("ok"))
        assert (await sidecar.ask("hi", id="a", headers=bearer(key))).status == 200
        async with opened(sidecar.settings) as store:
            (about,) = [each async for each in store.conversations()]
            credential = f"Bearer {key}" + "\n" * 6
            assert about.tenant == tenant_of(store.secret, credential, None)


class TestPeers:
    @pytest.mark.parametrize("client", ["127.0.0.1", "127.0.0.2", "::1"])
    @pytest.mark.parametrize("path", [CHAT, "/v1/embeddings"])
    async def test_a_user_may_be_named_from_trusted_addresses_alone(
        self, start: Start, upstream: Upstream, client: str, path: str
    ):
        listen = "[::1]:0" if client == "::1" else "127.0.0.1:0"
        sidecar = await start(identity={"trusted": ["127.0.0.1", "fd00::/8"]}, listen=listen)
        upstream.will(*[says("ok")] * 2)
        url = URL(sidecar.url)
        body = json.dumps({"model": "m", "messages": chat("hi")}).encode()
        statuses = []
        for line in ("X-User-ID: ada", "X-Other: ada"):
            reader, writer = await asyncio.open_connection(url.host, url.port, local_addr=(client, 0))
            head = [f"POST {path} HTTP/1.1", "Host: x", line, "X-Forwarded-For: 127.0.0.1"]
            head += ["Connection: close", f"Content-Length: {len(body)}"]
            writer.write("\r\n".join([*head, "", ""]).encode() + body)
            statuses.append(int((await reader.read()).split()[1]))
            writer.close()
        assert statuses == [200 if client == "127.0.0.1" else 403, 200]
