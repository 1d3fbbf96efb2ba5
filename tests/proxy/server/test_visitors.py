"""What a web page may ask through a browser, and that nobody else is held up by that."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp.test_utils import make_mocked_request
from multidict import CIMultiDict

from sidecar.access.places import places_of
from sidecar.access.visitors import Visitors
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from tests.proxy.client import CHAT, Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream

EVIL = "http://evil.example"
PAGES = "https://chat.example.com"
BODY = b'{"model":"m","messages":[{"role":"user","content":"hi"}]}'
PLAIN = {"Content-Type": "text/plain"}
JSON = {"Content-Type": "application/json"}


def seen(
    host: str,
    headers: dict[str, str] | None = None,
    *,
    method: str = "POST",
    path: str = CHAT,
    at: str = "127.0.0.1",
    **settings: Any,
) -> str:
    """What becomes of a request that came in at port 8790 of an address: the code of its error, or `ok`."""
    made = Settings.model_validate(settings)
    visitors = Visitors(made, places_of(made))
    transport = SimpleNamespace(get_extra_info=lambda name, default=None: (at, 8790))
    sent = CIMultiDict({"Host": host, **JSON, **(headers or {})})
    request = make_mocked_request(method, path, headers=sent, transport=transport)
    try:
        visitors.look(request)
        if path.startswith("/-/"):
            visitors.admit(request, at_admin=False)
    except SidecarError as error:
        return error.code
    return "ok"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1:8790", "localhost:8790", "LOCALHOST", "[::1]:8790", "192.168.1.5:8790", "sidecar:8790",
        "sidecar", "app.localhost:8790", "mini.local:8790", "host.docker.internal:8790", "",
        "sidecar.default.svc.cluster.local:8790", "nas.home.arpa:8790", "localhost.:8790",
        "sidecar.localdomain:8790", "sidecar.test:8790",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [CHAT, "/-/doctor"])
@pytest.mark.parametrize("settings", [{}, {"access": {"hosts": ["chat.example.com"]}}])
def test_names_that_no_stranger_can_have_are_the_sidecars(host: str, path: str, settings: dict[str, Any]):
    assert seen(host, path=path, **settings) == "ok"


@pytest.mark.parametrize("host", ["evil.example:8790", "EVIL.example.:8790", "127.0.0.1.evil.example:8790"])
@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/-/doctor", "/-/metrics", "/elsewhere"])
@pytest.mark.parametrize("method", ["GET", "POST"])
@pytest.mark.parametrize("at", ["127.0.0.1", "127.0.0.2", "::1", "::ffff:127.0.0.1"])
def test_a_page_whose_own_name_points_here_is_refused(host: str, path: str, method: str, at: str):
    forged = {"X-Forwarded-For": "1.2.3.4", "Authorization": "Bearer x", "Forwarded": "for=1.2.3.4"}
    origins = ["null", f"http://{host}"] if method == "POST" else [None]
    for origin in origins:
        headers = {**forged, **({"Origin": origin} if origin else {})}
        assert seen(host, headers, path=path, method=method, at=at) == "unknown_host"


@pytest.mark.parametrize("host", ["sidecar.ns:8790", "fritz.box:8790", "box.tail1234.ts.net:8790"])
def test_what_posts_without_an_origin_is_no_page_whatever_name_a_proxy_passes_on(host: str):
    assert seen(host) == "ok"


def test_a_rebound_page_shows_by_its_origin_too():
    assert seen("evil.example", {"Origin": EVIL}) == "unknown_host"
    assert seen("evil.example", method="GET", path="/-/doctor") == "unknown_host"
    assert seen("evil.example", method="GET", path="/-/metrics") == "unknown_host"


@pytest.mark.parametrize("host", ["chat.example.com", "chat.example.com:443", "chat.example.com:8443"])
@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Forwarded-For": "1.2.3.4"},
        {"Origin": PAGES, "Sec-Fetch-Site": "same-origin"},
        {"Origin": "http://chat.example.com", "X-Forwarded-For": "1.2.3.4"},
        {"Origin": "https://other.example.com", "Authorization": "Bearer k"},
    ],
)
def test_a_reverse_proxy_on_this_machine_may_pass_on_any_name(host: str, headers: dict[str, str]):
    assert seen(host, headers) == "ok"


def test_elsewhere_than_on_loopback_any_name_will_do_until_names_are_set():
    assert seen("chat.example.com:8790", at="172.17.0.2") == "ok"
    assert seen("chat.example.com:8790", at="172.17.0.2", path="/-/doctor", method="GET") == "ok"
    hosts: dict[str, Any] = {"access": {"hosts": ["Chat.Example.com"]}}
    for at in ("127.0.0.1", "172.17.0.2"):
        assert seen("chat.example.com:8790", at=at, **hosts) == "ok"
        assert seen("chat.example.com", at=at, path="/-/doctor", method="GET", **hosts) == "ok"
        assert seen("evil.example", at=at, **hosts) == "unknown_host"
        assert seen("evil.example:8790", at=at, access={"hosts": ["*"]}) == "ok"


@pytest.mark.parametrize(
    "content", [None, "text/plain", "Text/Plain; x=application/json", "multipart/form-data"]
)
@pytest.mark.parametrize("origin", [EVIL, "null", "https://127.0.0.1.evil.example", "chrome-extension://abc"])
@pytest.mark.parametrize("path", [CHAT, "/v1/responses", "/api/pull"])
def test_what_a_page_may_send_without_asking_is_refused(content: str | None, origin: str, path: str):
    headers = {"Origin": origin, "Sec-Fetch-Site": "cross-site", "Content-Type": content or ""}
    assert seen("127.0.0.1:8790", headers, path=path) == "cross_site_request"
    assert seen("sidecar:8790", headers, path=path, at="172.17.0.2") == "cross_site_request"
    del headers["Origin"]
    assert seen("127.0.0.1:8790", headers, path=path) == "cross_site_request"


@pytest.mark.parametrize(
    "headers",
    [
        {},  # curl sends a form's content type
        {"Origin": EVIL, "Content-Type": "application/json; charset=utf-8"},
        {"Origin": EVIL, "Authorization": "Bearer k"},
        {"Origin": EVIL, "X-API-Key": "k"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Origin": "http://[::1]:3000"},
        {"Origin": "http://127.0.0.1:8790", "Sec-Fetch-Site": "same-origin"},
        {"Origin": PAGES, "Sec-Fetch-Site": "same-origin"},  # a reverse proxy named another host
        {"Sec-Fetch-Site": "none"},
    ],
)
def test_programs_and_pages_that_a_browser_has_asked_for_go_on(headers: dict[str, str]):
    assert seen("127.0.0.1:8790", {**PLAIN, **headers}) == "ok"


def test_pages_can_be_trusted():
    headers = {**PLAIN, "Origin": PAGES, "Sec-Fetch-Site": "cross-site"}
    assert seen("127.0.0.1:8790", headers) == "cross_site_request"
    for origins in (["https://chat.example.com"], ["*"]):
        assert seen("127.0.0.1:8790", headers, access={"origins": origins}) == "ok"


@pytest.mark.parametrize("headers", [{"Origin": EVIL}, {"Sec-Fetch-Site": "cross-site"}])
def test_pages_of_other_sites_do_not_read_the_sidecars_own(headers: dict[str, str]):
    assert seen("127.0.0.1:8790", headers, method="GET", path="/-/doctor") == "cross_site_request"


async def test_what_is_refused_is_told_in_openais_shape_and_goes_nowhere(
    sidecar: Sidecar, upstream: Upstream
):
    port = sidecar.url.rpartition(":")[2]
    rebound = {"Host": f"evil.example:{port}"}
    assert_error(await sidecar.send("GET", "/v1/models", headers=rebound), 421, "unknown_host")
    page = {**JSON, **rebound, "Origin": f"http://evil.example:{port}"}
    assert_error(await sidecar.send("POST", CHAT, data=BODY, headers=page), 421, "unknown_host")
    reply = await sidecar.send("POST", CHAT, data=BODY, headers={**PLAIN, "Origin": EVIL})
    assert "access.origins" in assert_error(reply, 403, "cross_site_request")["message"]
    assert upstream.requests == []


async def test_a_browser_that_asks_first_gets_the_upstreams_answer(sidecar: Sidecar, upstream: Upstream):
    asks = {"Origin": PAGES, "Access-Control-Request-Method": "POST", "Sec-Fetch-Site": "cross-site"}
    assert (await sidecar.send("OPTIONS", CHAT, headers=asks)).status == 200
    assert upstream.last.headers["Origin"] == PAGES
    reply = await sidecar.send("POST", CHAT, data=BODY, headers={**JSON, "Origin": PAGES})
    assert reply.outcome == "start"


async def test_health_is_told_under_any_name(start: Start):
    sidecar = await start()
    for path in ("/-/live", "/-/ready"):
        assert (await sidecar.send("GET", path, headers={"Host": "chat.example.com"})).status == 200


async def test_a_page_of_another_site_without_a_key_goes_on_with_no_programs_chat(
    start: Start, upstream: Upstream
):
    sidecar = await start()
    append = {"X-Sidecar-History": "append", **JSON}
    pages = [EVIL, PAGES, "null"]
    await sidecar.ask("a secret", id="first")
    for page in pages:
        for number in (1, 2):
            await sidecar.ask(f"{page} {number}", id="first", headers={**append, "Origin": page})
        assert upstream.last.said == [f"{page} 1", "ok", f"{page} 2"]
    for page in ("http://localhost:3000", "http://127.0.0.1:3000"):
        await sidecar.ask(page, id="first", headers={**append, "Origin": page})
        assert upstream.last.said[0] == "a secret"


async def test_a_page_that_is_trusted_or_has_a_key_is_like_any_program(start: Start, upstream: Upstream):
    sidecar = await start(access={"origins": [PAGES]})
    for headers in ({}, {"Authorization": "Bearer x"}):
        for origin in ({}, {"Origin": PAGES}, {"Origin": PAGES}):
            sent = {"X-Sidecar-History": "append", **JSON, **headers, **origin}
            await sidecar.ask("hi", id="first", headers=sent)
        assert upstream.last.said == ["hi", "ok"] * 2 + ["hi"]
    await sidecar.ask("hi", id="first", headers={**sent, "Origin": EVIL})
    assert upstream.last.said == ["hi", "ok"] * 3 + ["hi"]
