"""The client's own bytes: kept if a setting says so, shown, and sent again by hand."""

from __future__ import annotations

import asyncio
import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from sidecar import cli
from sidecar.exchange.client_request import ClientRequest, packed_request, request_of
from sidecar.inspector.client_view import client_view_of
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.proxy.client import CHAT
from tests.proxy.mock_upstream import Upstream, says, sends

SECRETS = {"Authorization": "Bearer sk-secret-1", "X-OpenWebUI-User-Id": "ada-of-london"}
BODY = b'{"model": "m",  "messages": [{"role": "user", "content": "it\'s $HOME \\u00fc"}]}'


async def ids(visitor: Visitor) -> list[str]:
    """Of all exchanges of the chat `a`, the oldest first."""
    taken = await visitor.get(f"{await opened(visitor, 'a')}export.jsonl")
    return [each["id"] for each in taken.json["exchanges"]]


async def page_of(visitor: Visitor, exchange: str, *, kept: bool = True) -> Any:
    """The value of its page, once the request is kept, which no client waits for."""
    way = await opened(visitor, "a")
    async with asyncio.timeout(10):
        while True:
            page = await visitor.value(f"{way}x/{exchange}")
            if (page["client"] is not None) == kept:
                return page
            await asyncio.sleep(0.01)


def arguments(curl: str) -> list[str]:
    """What a shell makes of a command, where `curl` is one that tells its arguments."""
    script = 'curl() { printf "%s\\0" "$@"; }; API_KEY=k X_OPENWEBUI_USER_ID=u; ' + curl
    done = subprocess.run(["/bin/sh", "-c", script], capture_output=True, check=True, timeout=10)
    return done.stdout.decode().split("\0")[:-1]


async def asked(visitor: Visitor, upstream: Upstream, *words: str, **headers: str) -> list[str]:
    for each in words:
        upstream.will(says("ok"))
        await visitor.sidecar.ask(each, id="a", headers={**SECRETS, **headers})
    return await ids(visitor)


async def test_nothing_is_kept_unless_it_is_set(visitor: Visitor, upstream: Upstream):
    (exchange,) = await asked(visitor, upstream, "hi")
    page = await page_of(visitor, exchange, kept=False)
    assert page["no_client"] == "Not kept, since inspector.keep_requests is none."
    assert page["no_client"] in (await visitor.get(f"{await opened(visitor, 'a')}x/{exchange}")).text
    assert (await visitor.get(f"{await opened(visitor, 'a')}x/{exchange}/request")).status == 404


async def test_a_request_is_shown_as_it_came_without_its_credentials(
    visit, upstream: Upstream, tmp_path: Path
):
    visitor = await visit(inspector={"keep_requests": "all"})
    upstream.will(says("ok"))
    await visitor.sidecar.send(
        "POST",
        f"{CHAT}?api-version=2&key=sk-secret-2",
        data=BODY,
        headers={"X-Conversation-ID": "a", "Content-Type": "application/json", **SECRETS},
    )
    (exchange,) = await ids(visitor)
    client = (await page_of(visitor, exchange))["client"]
    assert (client["path"], client["length"]) == ("/v1/chat/completions?api-version=2", len(BODY))
    assert ["x-conversation-id", "a"] in client["headers"]
    assert client["body"]["seen"] == BODY.decode()

    way = f"{await opened(visitor, 'a')}x/{exchange}"
    shown, taken = await visitor.get(way), await visitor.get(f"{way}/request")
    assert "it&#39;s $HOME" in shown.text
    assert taken.text.encode() == BODY
    assert taken.headers["Content-Disposition"] == f"attachment; filename*=UTF-8''request-{exchange}.json"
    for each in (shown.text, taken.text, json.dumps(client)):
        assert "secret" not in each
        assert "london" not in each
    words = b"".join(file.read_bytes() for file in tmp_path.glob("sidecar.db*") if file.is_file())
    assert (b"sk-secret" in words, b"london" in words) == (False, False)


async def test_the_command_sends_the_same_again(visit, upstream: Upstream):
    visitor = await visit(inspector={"keep_requests": "last"})
    headers = {"X-Conversation-ID": "a", "Content-Type": "application/json", **SECRETS}
    upstream.will(says("ok"))
    await visitor.sidecar.send("POST", CHAT, data=BODY, headers=headers)
    (exchange,) = await ids(visitor)
    told = arguments((await page_of(visitor, exchange))["client"]["curl"])
    assert told[0] == "http://127.0.0.1:0/v1/chat/completions"
    assert told[-2:] == ["--data-binary", BODY.decode()]
    given = dict(each.split(": ", 1) for each in told[2:-2:2])
    assert given["authorization"] == "Bearer k"
    assert given["x-openwebui-user-id"] == "u"
    assert (given["x-conversation-id"], given["content-type"]) == ("a", "application/json")


async def test_of_each_chat_the_last_one_is_kept_if_that_is_set(visit, upstream: Upstream):
    visitor = await visit(inspector={"keep_requests": "last"})
    first, second = await asked(visitor, upstream, "one", "two")
    assert "two" in (await page_of(visitor, second))["client"]["body"]["seen"]
    page = await page_of(visitor, first, kept=False)
    assert "only the newest request of a chat is" in page["no_client"]


async def test_a_request_that_the_upstream_refused_is_kept_too(visit, upstream: Upstream):
    visitor = await visit(inspector={"keep_requests": "all"})
    await asked(visitor, upstream, "one")
    upstream.will(sends(b'{"error":{"message":"no, sk-secret-1 <b>","code":"bad"}}', status=400))
    await visitor.sidecar.ask("one", "ok", "two", id="a", headers=SECRETS)
    async with asyncio.timeout(10):
        while len(found := await ids(visitor)) < 2:
            await asyncio.sleep(0.01)
    client = (await page_of(visitor, found[-1]))["client"]
    assert "two" in client["body"]["seen"]
    assert client["refusal"] == "no, \N{HORIZONTAL ELLIPSIS} <b>"
    page = (await visitor.get(f"{await opened(visitor, 'a')}x/{found[-1]}")).text
    assert "no, \N{HORIZONTAL ELLIPSIS} &lt;b&gt;" in page
    assert "sk-secret" not in page


@pytest.mark.parametrize(("kept", "status"), [("none", 400), ("all", 401)])
async def test_words_that_are_not_kept_are_said_to_be_not(visit, upstream: Upstream, kept: str, status: int):
    visitor = await visit(inspector={"keep_requests": kept})
    await asked(visitor, upstream, "one")
    upstream.will(sends(b'{"error":{"message":"mellon"}}', status=status))
    await visitor.sidecar.ask("one", "ok", "two", id="a", headers=SECRETS)
    async with asyncio.timeout(10):
        while len(found := await ids(visitor)) < 2:
            await asyncio.sleep(0.01)
    await page_of(visitor, found[-1], kept=kept == "all")
    page = (await visitor.get(f"{await opened(visitor, 'a')}x/{found[-1]}")).text
    assert "mellon" not in page
    assert "not kept (they are with inspector.keep_requests" in page


async def test_nothing_is_kept_of_a_temporary_chat_a_task_and_what_is_not_recorded(
    visit, upstream: Upstream, tmp_path: Path
):
    visitor = await visit(inspector={"keep_requests": "all"})
    for headers in (
        {"X-Conversation-ID": "temporary:1"},
        {"X-Conversation-ID": "a", "X-Task": "title_generation"},
        {"X-Conversation-ID": "a", "X-Sidecar-History": "off"},
    ):
        upstream.will(says("ok"))
        await visitor.sidecar.ask("mellon", headers=headers)
    await asked(visitor, upstream, "hi")
    (exchange,) = await ids(visitor)
    await page_of(visitor, exchange)
    words = b"".join(file.read_bytes() for file in tmp_path.glob("sidecar.db*") if file.is_file())
    assert b"mellon" not in words
    (row,) = (await visitor.value())["rows"]
    assert row["exchanges"] == 1


async def test_what_was_kept_is_deleted_when_it_is_off_again(visit, upstream: Upstream):
    visitor = await visit(inspector={"keep_requests": "all"})
    (exchange,) = await asked(visitor, upstream, "hi")
    await page_of(visitor, exchange)
    visitor = await visit()
    page = await page_of(visitor, exchange, kept=False)
    assert "inspector.keep_requests is none" in page["no_client"]


async def test_a_request_of_the_responses_api_is_kept_as_it_came(visit, upstream: Upstream):
    visitor = await visit(inspector={"keep_requests": "all"}, responses={"upstream": "translate"})
    upstream.will(says("ok"))
    body = b'{"model":"m","input":"hi there"}'
    headers = {"X-Conversation-ID": "a", "Content-Type": "application/json"}
    await visitor.sidecar.send("POST", "/v1/responses", data=body, headers=headers)
    (exchange,) = await ids(visitor)
    client = (await page_of(visitor, exchange))["client"]
    assert (client["path"], client["body"]["seen"]) == ("/v1/responses", body.decode())


async def test_a_terminal_shows_it_as_well(visit, upstream: Upstream, capsys, tmp_path: Path):
    visitor = await visit(inspector={"keep_requests": "all"})
    (exchange,) = await asked(visitor, upstream, "hi")
    await page_of(visitor, exchange)
    store = f"--store=sqlite:///{tmp_path}/sidecar.db"
    assert await asyncio.to_thread(cli.main, ["inspect", store, "a", "--exchange", exchange]) == 0
    told = capsys.readouterr().out
    assert "its bytes:      POST /v1/chat/completions" in told
    assert '-H "authorization: Bearer $API_KEY"' in told


def test_the_id_of_a_request_is_none_of_an_exchange_and_it_is_said_where_that_stands(capsys):
    with pytest.raises(SystemExit):
        cli.main(["inspect", "a", "--exchange", "req_1f"])
    assert "the line of each exchange in the log has its own as `exchange`" in capsys.readouterr().err


def viewed(body: bytes, head: ClientRequest | None = None, most: int = 1 << 20) -> Any:
    head = head or ClientRequest("/v1/chat/completions")
    return client_view_of(request_of(packed_request(head, body, most)), "00ff" * 5, "http://127.0.0.1:8790")


@pytest.mark.parametrize(
    "body",
    [
        b"x" * 40_000,
        b'{"a": "\xff"}',
        '{"a": "\N{RIGHT-TO-LEFT OVERRIDE}"}'.encode(),
        b'{"a":\r\n1}',
        b"{\x1b[31m}",
        b"nul \x00",
        b"@/etc/passwd",
    ],
    ids=["long", "no text", "turned", "line ends", "escape", "nul", "a name"],
)
def test_a_body_that_would_not_come_through_a_shell_as_it_reads_is_a_file(body):
    view = viewed(body)
    assert arguments(view.curl)[-1] == f"@{view.file}"
    assert view.file == f"request-{'00ff' * 5}.json"


@pytest.mark.parametrize("body", [b"'; touch owned; '", b'$(id) `id` \\ " !', b"a\n\tb", b"-x", b""])
def test_no_body_says_anything_to_the_shell(body):
    told = arguments(viewed(body).curl)
    assert told == ["http://127.0.0.1:8790/v1/chat/completions", "--data-binary", body.decode()]


def test_no_header_and_no_path_says_anything_to_the_shell():
    head = ClientRequest(
        "/v1/chat/completions?api-version=$(id)'",
        (("x-conversation-id", "'$(id)"), ("accept", "\x1b[2J")),
        ("api-key",),
        (),
        ("key",),
    )
    assert arguments(viewed(b"{}", head).curl) == [
        "http://127.0.0.1:8790/v1/chat/completions?api-version=$(id)'",
        *("-H", "x-conversation-id: '$(id)"),
        *("-H", "api-key: k"),
        *("--url-query", "key=k"),
        *("--data-binary", "{}"),
    ]
    assert viewed(b"{}", ClientRequest("/v1/\x9b")).curl == ""


def test_one_without_its_body_says_so():
    view = viewed(bytes(range(256)), most=60)
    assert (view.length, view.file, view.body.seen) == (256, "", "")
    assert "too large for inspector.request_bytes" in view.note


def test_of_a_very_long_body_the_beginning_is_looked_at_alone():
    body = "\N{LATIN SMALL LETTER U WITH DIAERESIS}".encode() * 1_000_000
    for whole in (body, body + b"\xff", b"a" + body):  # cut within a character, in one of the two
        view = viewed(whole)
        assert (view.body.length, view.body.is_cut, view.note) == (len(whole), True, "")
        assert len(view.body.seen) < 2000
        assert arguments(view.curl)[-1] == f"@{view.file}"
