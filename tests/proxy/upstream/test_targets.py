"""How upstreams are reached: private authorities, client certificates, outgoing proxies, keys and headers."""

from __future__ import annotations

import asyncio
import base64
import ssl
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from sidecar.settings.certificates import tls_context
from tests.proxy.authority import Authority, refusing_strangers
from tests.proxy.client import CHAT, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Upstream, event, says, streams
from tests.proxy.outgoing_proxy import OutgoingProxy

TASK = {"X-Task": "title"}


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
async def secure(authority: Authority):
    """An upstream with a certificate of a private authority."""
    server = Upstream(tls=authority.server())
    await server.start()
    yield server
    await server.stop()


@pytest.fixture
async def other():
    """The upstream of tasks or summaries."""
    server = Upstream(otherwise=says("A title"))
    await server.start()
    yield server
    await server.stop()


def delta(text: str) -> dict[str, Any]:
    return {"choices": [{"index": 0, "delta": {"content": text}}]}


def cures(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [vars(each)["cure"] for each in caplog.records if each.message == "failed"]


class TestCertificates:
    async def test_one_of_an_unknown_authority_is_refused_and_the_log_says_which_setting_cures_it(
        self, start: Start, secure: Upstream, caplog: pytest.LogCaptureFixture
    ):
        sidecar = await start(upstream=secure.url)
        error = assert_error(await sidecar.ask("hi", id="a"), 502, "upstream_unreachable")
        assert error["message"] == "the upstream failed: its certificate is not trusted"
        assert "target.ca_file" in cures(caplog)[0]
        assert await sidecar.metric("sidecar_upstream_retries_total") == 0
        assert secure.requests == []
        assert (await sidecar.send("GET", "/-/ready")).json["upstream"] == "not reachable"

    async def test_with_the_file_of_its_authority_it_is_trusted(
        self, start: Start, secure: Upstream, authority: Authority
    ):
        sidecar = await start(upstream=secure.url, target={"ca_file": str(authority.ca)})
        assert (await sidecar.ask("hi", id="a")).status == 200
        assert (await sidecar.only()).branches == [["hi", "ok"]]
        assert (await sidecar.send("GET", "/v1/models")).status == 200
        assert (await sidecar.send("GET", "/-/ready")).json["upstream"] == "reachable"

    async def test_a_stream_over_tls_arrives_piece_by_piece(
        self, start: Start, secure: Upstream, authority: Authority
    ):
        goes_on = asyncio.Event()
        secure.will(streams(event(delta("he")), goes_on, event(delta("llo")), DONE))
        sidecar = await start(upstream=secure.url, target={"ca_file": str(authority.ca)})
        body = b'{"model":"m","stream":true,"messages":[{"role":"user","content":"hi"}]}'
        async with sidecar.http.post(sidecar.url + CHAT, data=body) as response:
            assert b"he" in await asyncio.wait_for(response.content.readany(), 5)
            goes_on.set()
            assert b"llo" in await asyncio.wait_for(response.content.read(), 5)

    @pytest.mark.parametrize(
        ("issued", "said", "cure"),
        [
            ({"host": "models.example"}, "its certificate is for another host name", "the name"),
            (
                {"since": timedelta(days=-9), "until": timedelta(hours=-1)},
                "its certificate has expired",
                "renew",
            ),
            (
                {"since": timedelta(hours=1), "until": timedelta(days=2)},
                "its certificate is not valid yet",
                "clocks",
            ),
        ],
        ids=["other name", "expired", "not yet"],
    )
    async def test_what_is_wrong_with_one_is_said_without_the_words_of_a_library(
        self, start: Start, authority: Authority, issued, said, cure, caplog: pytest.LogCaptureFixture
    ):
        server = Upstream(tls=authority.server(**issued))
        await server.start()
        sidecar = await start(upstream=server.url, target={"ca_file": str(authority.ca)})
        reply = await sidecar.ask("hi")
        assert assert_error(reply, 502, "upstream_unreachable")["message"] == f"the upstream failed: {said}"
        assert cure in cures(caplog)[0]
        assert not [each for each in caplog.records if "SSL" in each.getMessage()]
        await server.stop()

    def test_the_system_s_authorities_stay_trusted_beside_those_of_the_file(self, authority: Authority):
        usual = ssl.create_default_context().cert_store_stats()["x509_ca"]
        made = tls_context(str(authority.ca), "", "")
        assert made is not None
        assert made.cert_store_stats()["x509_ca"] == usual + 1
        assert made.verify_mode is ssl.CERT_REQUIRED
        assert made.check_hostname

    @pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
    async def test_a_server_that_asks_for_a_client_certificate_gets_it_or_a_clear_error_comes(
        self, start: Start, authority: Authority, version, caplog: pytest.LogCaptureFixture
    ):
        tls = authority.server(asks_clients=True)
        tls.minimum_version = tls.maximum_version = version
        target = {"ca_file": str(authority.ca)}
        async with refusing_strangers(tls) as url:
            without = await start(upstream=url, target=target, retries={"attempts": 1})
            assert_error(await without.ask("hi"), 502, "upstream_unreachable")
        assert "target.client_cert" in cures(caplog)[0]
        server = Upstream(tls=tls)
        await server.start()
        certificate, key = authority.issue("sidecar")
        files = {"client_cert": str(certificate), "client_key": str(key)}
        sidecar = await start(upstream=server.url, target={**target, **files}, store="memory:")
        assert (await sidecar.ask("hi")).status == 200
        await server.stop()

    async def test_tasks_trust_the_same_authorities(
        self, start: Start, upstream: Upstream, secure: Upstream, authority: Authority
    ):
        sidecar = await start(target={"ca_file": str(authority.ca)}, tasks={"upstream": secure.url})
        assert (await sidecar.ask("title?", headers=TASK)).status == 200
        assert (len(secure.requests), upstream.requests) == (1, [])


class TestProxies:
    async def test_https_goes_through_a_tunnel_and_the_proxy_learns_nothing_but_the_host(
        self, start: Start, secure: Upstream, authority: Authority
    ):
        async with OutgoingProxy() as proxy:
            target = {"proxy": proxy.url.replace("//", "//me:p%40ss@"), "ca_file": str(authority.ca)}
            sidecar = await start(upstream=secure.url, target=target)
            reply = await sidecar.ask("hi", id="a", headers={"Authorization": "Bearer sk-1"})
            assert reply.status == 200
            assert proxy.asked == [f"CONNECT 127.0.0.1:{secure.port} HTTP/1.1"]
            assert proxy.credentials == ["Basic " + base64.b64encode(b"me:p@ss").decode()]
        assert secure.last.headers["Authorization"] == "Bearer sk-1"
        assert "Proxy-Authorization" not in secure.last.headers

    async def test_http_goes_through_it_as_a_whole_url(self, start: Start, upstream: Upstream):
        async with OutgoingProxy() as proxy:
            sidecar = await start(target={"proxy": proxy.url.replace("//", "//me:pass@")})
            assert (await sidecar.ask("hi", id="a")).status == 200
            assert proxy.asked[0] == f"POST http://127.0.0.1:{upstream.port}/v1/chat/completions HTTP/1.1"
            assert proxy.credentials == ["Basic " + base64.b64encode(b"me:pass").decode()]
        assert "Proxy-Authorization" not in upstream.last.headers

    async def test_a_client_s_word_for_a_proxy_reaches_neither(self, start: Start, upstream: Upstream):
        async with OutgoingProxy() as proxy:
            sidecar = await start(target={"proxy": proxy.url})
            await sidecar.ask("hi", headers={"Proxy-Authorization": "Basic bWU6eW91"})
            assert proxy.credentials == []
            assert len(upstream.requests) == 1

    @pytest.mark.parametrize("refusal", ["407 Proxy Authentication Required", "502 Bad Gateway", "403 No"])
    async def test_a_proxy_that_gives_no_tunnel_is_told_from_the_upstream(
        self, start: Start, secure: Upstream, refusal: str, caplog: pytest.LogCaptureFixture
    ):
        async with OutgoingProxy(refuses=refusal) as proxy:
            sidecar = await start(upstream=secure.url, target={"proxy": proxy.url.replace("//", "//u:hush@")})
            reply = await sidecar.ask("hi")
        error = assert_error(reply, 502, "upstream_unreachable")
        assert error["message"] == "the upstream failed: its proxy refused the connection"
        assert "target.proxy" in cures(caplog)[0]
        assert not [each for each in caplog.records if "hush" in str(vars(each))]
        assert secure.requests == []

    async def test_one_that_wants_to_know_who_asks_is_no_answer_of_the_upstream(
        self, start: Start, upstream: Upstream
    ):
        async with OutgoingProxy(refuses="407 Proxy Authentication Required") as proxy:
            sidecar = await start(target={"proxy": proxy.url})
            for reply in (await sidecar.ask("hi"), await sidecar.send("GET", "/v1/models")):
                error = assert_error(reply, 502, "upstream_unreachable")
                assert error["message"] == "the upstream failed: its proxy refused the connection"

    async def test_one_that_is_down_is_tried_again_and_then_named(
        self, start: Start, secure: Upstream, caplog: pytest.LogCaptureFixture
    ):
        async with OutgoingProxy() as proxy:
            pass
        target = {"proxy": proxy.url.replace("//", "//u:hush@")}
        sidecar = await start(upstream=secure.url, target=target, retries={"attempts": 2, "backoff": 0.01})
        error = assert_error(await sidecar.ask("hi"), 502, "upstream_unreachable")
        assert error["message"] == "the upstream failed: its proxy cannot be reached"
        assert await sidecar.metric("sidecar_upstream_retries_total") == 1
        assert not [each for each in caplog.records if "hush" in str(vars(each))]

    async def test_one_that_says_nothing_does_not_hold_a_request_for_ever(
        self, start: Start, secure: Upstream
    ):
        async with OutgoingProxy(is_silent=True) as proxy:
            sidecar = await start(
                upstream=secure.url, target={"proxy": proxy.url}, timeouts={"connect": 0.3, "shutdown": 0.2}
            )
            reply = await asyncio.wait_for(sidecar.ask("hi"), 10)
        assert_error(reply, 504, "upstream_timeout")

    async def test_the_proxies_of_the_environment_are_not_used(
        self, start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
    ):
        async with OutgoingProxy() as proxy:
            monkeypatch.setenv("HTTP_PROXY", proxy.url)
            monkeypatch.setenv("http_proxy", proxy.url)
            sidecar = await start()
            assert (await sidecar.ask("hi")).status == 200
            assert proxy.asked == []

    async def test_tasks_have_a_proxy_of_their_own(self, start: Start, upstream: Upstream, other: Upstream):
        async with OutgoingProxy() as proxy, OutgoingProxy() as own:
            target, tasks = {"proxy": proxy.url}, {"upstream": other.url, "proxy": own.url}
            sidecar = await start(target=target, tasks=tasks)
            assert (await sidecar.ask("title?", headers=TASK)).status == 200
            assert (proxy.asked, len(own.asked)) == ([], 1)


class TestCredentials:
    async def test_a_key_of_its_own_is_for_requests_that_bring_none(self, start: Start, upstream: Upstream):
        sidecar = await start(target={"api_key": "sk-own"})
        for path, headers, seen in (
            (CHAT, {}, ("Bearer sk-own", None)),
            (CHAT, {"Authorization": "Bearer sk-mine"}, ("Bearer sk-mine", None)),
            (CHAT, {"api-key": "mine"}, (None, "mine")),
            (CHAT, {"api-key": ""}, ("Bearer sk-own", "")),
            (f"{CHAT}?Key=mine", {}, (None, None)),
            (f"{CHAT}?page=2", {}, ("Bearer sk-own", None)),
        ):
            await sidecar.ask("hi", headers=headers, path=path)
            sent = upstream.last.headers
            assert (sent.get("Authorization"), sent.get("api-key")) == seen
        await sidecar.send("GET", "/v1/models")
        assert upstream.last.headers["Authorization"] == "Bearer sk-own"

    async def test_it_takes_the_place_of_a_client_s_where_that_is_set(self, start: Start, upstream: Upstream):
        sidecar = await start(target={"api_key": "sk-own", "replace_credential": True})
        mine = {"Authorization": "Bearer sk-mine", "x-api-key": "mine"}
        await sidecar.ask("hi", id="a", headers=mine)
        await sidecar.ask("hi", id="a", headers={"Authorization": "Bearer sk-yours"})
        await sidecar.send("GET", "/v1/models", headers=mine)
        for each in upstream.requests:
            assert each.headers.getall("Authorization") == ["Bearer sk-own"]
            assert "x-api-key" not in each.headers
        assert len(await sidecar.stored()) == 2  # they are still two tenants

    async def test_static_headers_go_with_every_request_to_it_and_stand_in_for_the_client_s(
        self, start: Start, upstream: Upstream
    ):
        sidecar = await start(
            target={"headers": {"X-Org": "acme", "X-Gate": "sesame"}}, trim={"window_refresh": 60}
        )
        await sidecar.ask("hi", headers={"x-org": "evil"})
        await sidecar.send("GET", "/v1/models")
        await sidecar.send("GET", "/-/ready")
        assert {"HEAD", "GET", "POST"} <= {each.method for each in upstream.requests}
        for each in upstream.requests:
            assert (each.headers.getall("X-Org"), each.headers["X-Gate"]) == (["acme"], "sesame")

    async def test_neither_headers_nor_key_reach_another_target_nor_the_log(
        self, start: Start, upstream: Upstream, other: Upstream, caplog: pytest.LogCaptureFixture
    ):
        caplog.set_level("DEBUG")
        sidecar = await start(
            target={"headers": {"X-Gate": "sesame"}, "api_key": "sk-own"}, tasks={"upstream": other.url}
        )
        await sidecar.ask("title?", headers={**TASK, "Authorization": "Bearer sk-mine"})
        await upstream.stop()
        assert_error(await sidecar.ask("hi"), 502, "upstream_unreachable")
        (task,) = other.requests
        assert not {"X-Gate", "Authorization"} & set(task.headers)
        logged = str([vars(each) for each in caplog.records])
        assert not [secret for secret in ("sesame", "sk-own", "sk-mine") if secret in logged]

    async def test_a_websocket_and_its_refusal_take_them_along(self, start: Start, upstream: Upstream):
        sidecar = await start(target={"headers": {"X-Gate": "sesame"}, "api_key": "sk-own"})
        headers = {
            "Connection": "upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "A" * 22 + "==",
        }
        await sidecar.send("GET", "/v1/realtime", headers=headers)
        sent = upstream.last.headers
        assert (sent["Upgrade"], sent["X-Gate"], sent["Authorization"]) == (
            "websocket",
            "sesame",
            "Bearer sk-own",
        )
