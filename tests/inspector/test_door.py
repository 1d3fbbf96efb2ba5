"""Who sees the pages, and what every one of them carries, whatever it says."""

from __future__ import annotations

import asyncio
import re
import sys

import pytest
from aiohttp import ClientSession
from yarl import URL

from sidecar.inspector.door import Door, is_served
from sidecar.inspector.responses import CSP, LIVE_CSP
from sidecar.server import serve
from sidecar.server.sockets import cannot_listen
from sidecar.settings import Settings
from tests.inspector.conftest import Visitor
from tests.proxy.process import clean_environment, serving

PATHS = (
    "",
    "inspector.css",
    "inspector.js",
    "live",
    "usage",
    "?before=1~x",
    "?format=json",
    "no/such/page",
    "search?q=x",
    "settings",
    "doctor",
)


def assert_careful(page):
    is_live = "<script" in page.text or page.text.startswith(('{"total"', "// Keeps"))
    assert page.headers["Content-Security-Policy"] in (CSP, LIVE_CSP)[: 1 + is_live]
    assert page.headers["Referrer-Policy"] == "no-referrer"
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert page.headers["Cache-Control"] == "no-store"
    assert "Access-Control-Allow-Origin" not in page.headers


def test_a_page_may_run_no_script_and_load_nothing_from_elsewhere():
    told = dict(each.strip().split(" ", 1) for each in CSP.split(";"))
    assert told["default-src"] == "'none'"
    assert not {"script-src", "connect-src", "frame-src"} & set(told)
    assert "unsafe" not in CSP
    assert "http" not in CSP


def test_one_that_is_live_may_run_our_script_and_ask_us_and_nothing_else():
    assert LIVE_CSP.removeprefix(CSP) == "; script-src 'self'; connect-src 'self'"


@pytest.mark.parametrize("path", PATHS)
async def test_every_response_says_what_a_browser_may_do_with_it(visitor: Visitor, path: str):
    assert_careful(await visitor.get(path))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("token", ["", "x", "{token}x", "{token}/../x", "%00", "%ff"])
async def test_without_the_token_there_is_nothing(visitor: Visitor, path: str, token: str):
    place = visitor.root.removesuffix(f"{visitor.door.token}/")
    page = await visitor.send("GET", place + token.format(token=visitor.door.token[:-1]) + "/" + path)
    assert page.status == 404
    assert_careful(page)
    assert visitor.door.token not in page.text


async def test_a_bearer_token_of_the_other_pages_is_not_asked_for(visit):
    visitor = await visit(admin={"token": "a-token-of-16-letters"})
    assert (await visitor.get()).status == 200
    there = visitor.root.partition("/-/")[0]
    assert (await visitor.send("GET", f"{there}/-/metrics")).status == 401


async def test_it_is_not_where_clients_are(visitor: Visitor, upstream):
    place = visitor.root[visitor.root.index("/-/inspect") :]
    page = await visitor.send("GET", visitor.sidecar.url + place)
    assert "Conversations" not in page.text
    assert page.headers.get("Content-Security-Policy") is None


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
@pytest.mark.parametrize("before", ["", "/", "/.", "/x/..", "/v1"])
async def test_the_upstream_never_sees_the_token_where_the_address_is_asked_for_at_the_wrong_port(
    visitor: Visitor, upstream, before: str, method: str
):
    place = before + visitor.root[visitor.root.index("/-/inspect") :]
    page = await visitor.send(method, URL(visitor.sidecar.url + place, encoded=True))
    assert (page.status, upstream.requests) == (404, [])
    assert "serve" in page.text


@pytest.mark.parametrize("query", ["", "?format=json&from=0"])
async def test_an_address_without_its_last_slash_leads_to_the_page(visitor: Visitor, query: str):
    await visitor.sidecar.ask("hi")
    id = (await visitor.value())["rows"][0]["id"]
    for place in (visitor.root, f"{visitor.root}c/{id}/"):
        page = await visitor.send("GET", place.removesuffix("/") + query)
        assert page.status == 308
        assert_careful(page)
        assert str(URL(place.removesuffix("/")).join(URL(page.headers["Location"]))) == place + query


async def test_one_without_its_last_slash_leads_to_no_other_site(visitor: Visitor):
    for id in ("javascript:alert(1)", "%2F%2Fevil.example", "..%2f..%2f", "%0d%0aX-Evil:1"):
        page = await visitor.send("GET", URL(f"{visitor.root}c/{id}", encoded=True))
        assert page.headers["Location"].startswith("./")
        assert "X-Evil" not in page.headers
        assert str(URL(visitor.root).join(URL(page.headers["Location"]))).startswith(visitor.root)


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1.evil.example"])
async def test_by_a_name_that_anybody_can_register_nothing_is_served(visitor: Visitor, host: str):
    page = await visitor.get(Host=host)
    assert page.status == 421
    assert_careful(page)


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://evil.example"}, {"Sec-Fetch-Site": "cross-site"}, {"Origin": "null"}]
)
async def test_pages_of_other_sites_may_not_look(visitor: Visitor, headers: dict[str, str]):
    assert (await visitor.get(**headers)).status == 403


@pytest.mark.parametrize("path", ["c/conv_x/delete", "c/conv_x/", ""])
async def test_without_the_token_nothing_is_done(visitor: Visitor, path: str):
    origin, _, _ = visitor.root.partition("/-/")
    page = await visitor.send("POST", f"{origin}/-/inspect/other/{path}", headers={"Origin": origin})
    assert page.status == 404
    assert_careful(page)


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_there_are_no_other_methods(visitor: Visitor, method: str):
    page = await visitor.send(method, visitor.root)
    assert page.status == 404
    assert_careful(page)


@pytest.mark.parametrize(
    ("listen", "inspector", "served"),
    [
        ("", "auto", True),
        ("", "off", False),
        ("127.0.0.1:8791", "auto", True),
        ("127.0.0.2:8791", "auto", True),
        ("[::1]:8791", "auto", True),
        ("localhost:8791", "auto", True),
        ("0.0.0.0:8791", "auto", False),
        ("192.168.1.5:8791", "auto", False),
        ("sidecar:8791", "auto", False),
        ("0.0.0.0:8791", "on", True),
        ("127.0.0.1:8791", "off", False),
    ],
)
def test_by_itself_it_is_served_on_loopback_alone(listen: str, inspector: str, served: bool):
    settings = Settings.model_validate({"admin": {"listen": listen, "inspector": inspector}})
    assert is_served(settings) is served
    door = Door()
    assert door.address(settings) is None, "nobody serves it yet"
    door.opened(8791)
    assert (door.address(settings) is not None) is served


def test_it_has_no_place_without_an_address_of_its_own():
    with pytest.raises(ValueError, match=r"admin\.listen"):
        Settings.model_validate({"admin": {"inspector": "on"}})


async def test_where_it_is_not_served_there_is_no_page(visit):
    visitor = await visit(admin={"inspector": "off"})
    page = await visitor.get()
    assert (page.status, page.headers.get("Content-Security-Policy")) == (404, None)


async def test_every_start_has_a_token_of_its_own(visit):
    one, other = await visit(store="memory:"), await visit(store="memory:")
    assert one.door.token != other.door.token
    swapped = one.root.replace(one.door.token, other.door.token)
    assert (await one.send("GET", swapped)).status == 404


@pytest.mark.parametrize(
    ("listen", "host"), [("0.0.0.0:8791", "127.0.0.1"), ("[::]:8791", "[::1]"), ("[::1]:1", "[::1]")]
)
def test_the_address_is_one_that_a_browser_can_open(listen: str, host: str):
    door = Door()
    door.opened(8791)
    settings = Settings.model_validate({"admin": {"listen": listen, "inspector": "on"}})
    assert door.address(settings) == f"http://{host}:8791/-/inspect/{door.token}/"


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize(
    "admin", [{"SIDECAR_ADMIN__LISTEN": "127.0.0.1:0"}, {"SIDECAR_ADMIN__INSPECTOR": "auto"}]
)
async def test_the_address_is_printed_and_is_that_of_every_worker(tmp_path, workers: str, admin):
    async with serving("--workers", workers, folder=tmp_path, **admin) as process:
        assert process.running.stdout is not None
        line = (await process.running.stdout.readline()).decode()
        found = re.search(r"http://127\.0\.0\.1:\d+/-/inspect/[\w-]{43}/", line)
        assert found is not None, line
        for _ in range(6):
            async with ClientSession() as http, http.get(found[0]) as response:
                assert response.status == 200
                assert "Conversations" in await response.text()


@pytest.mark.parametrize(
    "admin", [{"SIDECAR_ADMIN__LISTEN": "0.0.0.0:0"}, {"SIDECAR_ADMIN__INSPECTOR": "off"}]
)
async def test_elsewhere_it_is_not_printed(tmp_path, admin):
    async with serving(folder=tmp_path, **admin) as process:
        process.running.terminate()
        assert process.running.stdout is not None
        assert b"/-/inspect/" not in await process.running.stdout.read()


async def test_by_itself_it_moves_no_other_page_and_a_second_sidecar_has_one_as_well(tmp_path):
    auto = {"SIDECAR_ADMIN__INSPECTOR": "auto"}
    async with (
        serving(folder=tmp_path, **auto) as one,
        serving(folder=tmp_path, **auto) as other,
        ClientSession() as http,
    ):
        roots = []
        for process in (one, other):
            assert process.running.stdout is not None
            found = re.search(rb"http://127\.0\.0\.1:\d+/-/inspect/", await process.running.stdout.readline())
            assert found is not None
            roots.append(found[0])
            async with http.get(process.url + "/-/metrics") as response:
                assert response.status == 200
        assert len(set(roots)) == 2


async def test_where_no_port_can_be_had_all_else_is_served_without_it(tmp_path, monkeypatch, caplog):
    async def refused(runner, listen, name, sockets):
        if name == "admin.listen":
            raise cannot_listen(listen, name, OSError(99, "no address"))
        await listened(runner, listen, name, sockets)

    listened = serve._listen
    monkeypatch.setattr(serve, "_listen", refused)
    settings = Settings.model_validate({"listen": "127.0.0.1:0", "store": "memory:"})
    door = Door()
    async with (
        serve.running(settings, door=door) as url,
        ClientSession() as http,
        http.get(url + "/-/live") as response,
    ):
        assert response.status == 200
    assert (door.address(settings), "there is no inspector" in caplog.text) == (None, True)


async def test_what_is_no_request_is_answered_as_carefully(visitor: Visitor):
    reader, writer = await asyncio.open_connection("127.0.0.1", visitor.door.port)
    writer.write(b"NONSENSE\r\n\r\n")
    answer = (await reader.read()).decode()
    writer.close()
    assert " 400 " in answer.partition("\r\n")[0]
    assert f"Content-Security-Policy: {CSP}\r\n" in answer
    assert "Cache-Control: no-store\r\n" in answer


async def test_what_the_pages_are_made_with_is_loaded_with_the_first_of_them(tmp_path):
    code = (
        "import sys; from sidecar.server import serve; from sidecar.inspector import pages;"
        " print(sorted({'jinja2', 'markupsafe'} & set(sys.modules)))"
    )
    running = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdout=asyncio.subprocess.PIPE, env=clean_environment()
    )
    assert (await running.communicate())[0].decode().strip() == "[]"
