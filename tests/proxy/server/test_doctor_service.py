"""`sidecar doctor` about the way itself, what it may say to whom, and the sidecar that cannot be asked."""

from __future__ import annotations

import asyncio
import json
import socket
from pathlib import Path

import pytest

from sidecar import __version__, cli
from sidecar.doctor.ask import CannotAsk, address, command
from sidecar.doctor.report import report
from sidecar.doctor.samples import RequestSamples
from sidecar.settings import Settings
from tests.proxy.client import Sidecar, assert_error, eventually
from tests.proxy.conftest import Start
from tests.proxy.faults.test_store_errors import broken
from tests.proxy.front import FOLLOW_UP, TEMPLATES, Front, doctor
from tests.proxy.mock_upstream import Upstream, sends, waits
from tests.proxy.process import serving

DOCTOR = "/-/doctor"
KEY = {"Authorization": "Bearer k"}
SECRET = "0123456789abcdef0123456789abcdef"


async def codes(sidecar: Sidecar, query: str = "") -> list[str]:
    reply = await sidecar.send("GET", DOCTOR + query)
    assert reply.status == 200
    return [each["code"] for each in reply.json["findings"]]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("admin", [{}, {"SIDECAR_ADMIN__LISTEN": "127.0.0.1:0"}])
async def test_the_command_that_the_start_prints_asks_that_sidecar(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: str, admin: dict[str, str]
):
    async with serving("--workers", workers, folder=tmp_path, **admin) as process:
        assert process.running.stdout is not None
        while b"all is well" not in (line := await process.running.stdout.readline()):
            assert line
        arguments = line.decode().partition("sidecar doctor")[2].split()
        assert await asyncio.to_thread(cli.main, ["doctor", *arguments]) == 1
        assert "[nothing_received]" in capsys.readouterr().out


def test_the_command_names_an_address_only_where_that_is_not_the_usual_one():
    assert command(Settings(), None) == "sidecar doctor"
    assert command(Settings(listen="0.0.0.0:8790"), None) == "sidecar doctor"
    assert command(Settings(listen="[::]:8790"), 8790) == "sidecar doctor --url http://[::1]:8790"
    elsewhere = Settings.model_validate({"admin": {"listen": "0.0.0.0:0"}})
    assert command(elsewhere, 8791) == "sidecar doctor --url http://127.0.0.1:8791"


async def test_nothing_received_yet(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]):
    assert await doctor(sidecar) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert "[nothing_received]" in said
    assert "Send one message in Open WebUI and ask again" in said
    assert "OPENAI_API_BASE_URLS" in said


@pytest.mark.parametrize(("listen", "url"), [("127.0.0.1:8123", "…:8123/v1"), ("127.0.0.1:0", "…/v1, as it")])
def test_what_has_to_be_set_in_open_webui_is_the_address_at_which_this_sidecar_listens(listen: str, url: str):
    settings = Settings(listen=listen)
    samples = RequestSamples(settings)
    (nothing,) = report(settings, samples, None, "writable", "reachable")["findings"]
    samples.see("/api/chat", {})
    *_, unread = report(settings, samples, None, "writable", "reachable")["findings"]
    assert url in nothing["cure"]
    assert url in unread["cure"]


async def test_a_signed_user_is_the_same_as_the_unsigned_one_was_and_nothing_else_names_a_user(
    start: Start, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    """As the guide to Open WebUI has it for one machine: headers of the connection, and the token."""
    file = f"sqlite:///{tmp_path}/sidecar.db"
    await Front(await start(store=file), TEMPLATES).chats("a", user="u-1")
    sidecar = await start(store=file, tenant={"user_jwt_secret": SECRET})
    await Front(sidecar, TEMPLATES, forward=True, jwt_secret=SECRET).chats("b", user="u-1")
    await Front(sidecar, TEMPLATES).chats("c", user="u-1")  # any other program of the machine
    tenant = {each.conversation["key"]: each.conversation["tenant"] for each in await sidecar.stored()}
    assert tenant["a"] == tenant["b"] != tenant["c"]
    await doctor(sidecar)
    assert "(signed)" in capsys.readouterr().out


async def test_models_that_were_listed_and_no_chat(sidecar: Sidecar):
    await sidecar.send("GET", "/v1/models")
    report = (await sidecar.send("GET", DOCTOR)).json
    assert [each["code"] for each in report["findings"]] == ["nothing_received"]
    assert "another connection" in report["findings"][0]["cure"]


@pytest.mark.parametrize(
    ("path", "level", "cure"),
    [
        ("/v1/responses", "change", "Chat Completions"),
        ("/v1/responses", "change", "SIDECAR_RESPONSES__UPSTREAM"),
        ("/api/chat", "change", "not under Ollama API"),
        ("/api/chat", "change", "Ollama's …:11434/v1"),
        ("/v1/messages", "hint", "Anthropic's API. Use a client that speaks …/v1/chat/completions"),
        ("/v1/completions", "hint", "/v1/chat/completions"),
    ],
)
async def test_chats_by_another_api_are_told(sidecar: Sidecar, path: str, level: str, cure: str):
    await sidecar.ask("hi", id="a", headers=KEY)
    await sidecar.send("POST", path, data=b"{}")
    await sidecar.send("POST", "/v1/embeddings", data=b"{}")
    report = (await sidecar.send("GET", DOCTOR)).json
    (finding,) = report["findings"]
    assert (finding["code"], finding["level"]) == ("api_not_read", level)
    assert cure in finding["cure"]
    assert report["requests"]["other_apis"] == {path.removeprefix("/v1"): 1}


async def test_a_chat_that_is_named_in_the_body_is_one_with_a_name(
    start: Start, capsys: pytest.CaptureFixture[str]
):
    async def ask(**body: str) -> str:
        data = json.dumps({"model": "m", "input": "hi", **body}).encode()
        reply = await sidecar.send("POST", "/v1/responses", data=data, headers=KEY)
        assert reply.status == 200
        id: str = reply.json["id"]
        return id

    sidecar = await start(responses={"upstream": "translate"})
    made = (await sidecar.send("POST", "/v1/conversations", data=b"{}", headers=KEY)).json["id"]
    first = await ask(conversation=made)
    await ask(previous_response_id=first)
    assert await codes(sidecar) == []
    assert await doctor(sidecar) == 0
    assert "chat id      conversation or previous_response_id 2; 1 conversation\n" in capsys.readouterr().out

    await ask()
    assert await codes(sidecar) == ["some_without_chat_id"]
    found = (await sidecar.send("GET", DOCTOR)).json["findings"][0]["found"]
    assert found.startswith("1 of 3 requests name no chat")


async def test_only_chats_by_another_api(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]):
    await Front(sidecar, TEMPLATES, path="/v1/responses").chats("a", turns=1)
    assert await doctor(sidecar) == 1
    said = capsys.readouterr().out
    assert "no chat request yet" in said
    assert "not read     /responses 3" in said
    assert "[api_not_read]" in said


async def test_a_store_that_cannot_be_written_comes_first(sidecar: Sidecar):
    await Front(sidecar).chats("a")
    with broken(sidecar, reading=False):
        await Front(sidecar).chats("b")
        assert (await codes(sidecar))[0] == "store_not_writable"
    assert "store_was_down" in await codes(sidecar)


async def test_an_upstream_that_is_down(sidecar: Sidecar, upstream: Upstream):
    await upstream.stop()
    await sidecar.ask("hi", id="a", headers=KEY)
    report = (await sidecar.send("GET", DOCTOR)).json
    assert [each["code"] for each in report["findings"]] == ["upstream_unreachable"]
    assert report["refused"] == {"upstream_unreachable": 1}


@pytest.mark.parametrize(("status", "code"), [(401, "upstream_refuses_key"), (404, "upstream_not_found")])
async def test_what_the_newest_answer_of_the_backend_shows(
    sidecar: Sidecar, upstream: Upstream, status: int, code: str
):
    upstream.will(sends(b"{}", status=status))
    await sidecar.ask("hi", id="a", headers=KEY)
    upstream.will(sends(b"{}"))  # the probe of the upstream
    assert await codes(sidecar) == [code]
    await sidecar.ask("hi", id="b", headers=KEY)
    assert await codes(sidecar) == []


async def test_what_the_sidecar_refused_is_counted(sidecar: Sidecar):
    await sidecar.send("POST", "/v1/chat/completions", data=b"nonsense", headers=KEY)
    report = (await sidecar.send("GET", DOCTOR)).json
    assert [each["code"] for each in report["findings"]] == ["refused"]
    assert sum(report["refused"].values()) == 1


async def test_a_request_is_seen_while_it_waits_for_its_answer(sidecar: Sidecar, upstream: Upstream):
    gate = asyncio.Event()
    upstream.will(waits(gate, sends(b"{}")))
    asking = asyncio.ensure_future(sidecar.ask("hi", id="a", headers=KEY))
    await eventually(lambda: upstream.requests)
    requests = (await sidecar.send("GET", DOCTOR)).json["requests"]
    assert (requests["chats"], requests["without_answer"]) == (1, 1)
    gate.set()
    await asking
    assert (await sidecar.send("GET", DOCTOR)).json["requests"]["without_answer"] == 0


async def test_history_that_is_switched_off_is_told(start: Start):
    sidecar = await start(history={"mode": "off"})
    await sidecar.ask("hi", headers=KEY)
    assert await codes(sidecar) == ["history_off", "no_chat_id"]


async def test_nothing_is_called_fine_that_is_not(
    sidecar: Sidecar, upstream: Upstream, capsys: pytest.CaptureFixture[str]
):
    await upstream.stop()
    assert await doctor(sidecar) == 1
    said = capsys.readouterr().out
    assert "2 things to change" in said
    assert "Fine" not in said


async def test_no_more_is_remembered_than_was_set(start: Start):
    sidecar = await start(doctor={"remember": 2})
    for id in "abc":
        await sidecar.ask("hi", id=id, headers=KEY)
    report = (await sidecar.send("GET", DOCTOR)).json
    assert (report["requests"]["chats"], report["chat_id"]["conversations"]) == (2, 2)


async def test_nothing_need_be_remembered(start: Start):
    sidecar = await start(doctor={"remember": 0})
    await sidecar.ask("hi", id="a", headers=KEY)
    assert await codes(sidecar) == ["not_remembered"]


async def test_temporary_chats_and_channels_are_counted(sidecar: Sidecar):
    for id in ("temporary:x", "channel:y", "z"):
        await sidecar.ask("hi", id=id, headers={**KEY, "X-OpenWebUI-User-Id": "ada"})
    report = (await sidecar.send("GET", DOCTOR)).json
    assert report["chat_id"]["kinds"] == {"temporary": 1, "channel": 1, "chat": 1}


async def test_the_report_names_nobody(sidecar: Sidecar, tmp_path: Path):
    front = Front(sidecar, TEMPLATES, forward=True, key="Bearer very-secret-key", follow_up=FOLLOW_UP)
    await front.chats("my-chat-id", user="ada@example.com")
    odd = {
        "User-Agent": "sk-secret0123 (mail me: ada@example.com) agent0/1",
        "X-Thread-Id": "session-of-ada",
    }
    await sidecar.ask("hi", headers=odd)
    reply = await sidecar.send("GET", DOCTOR)
    assert reply.json["chat_id"]["elsewhere"] == {"X-Thread-Id": 1}
    for secret in ("my-chat-id", "very-secret", "ada", "secret0", "question 0", "session-of", "conv_"):
        assert secret not in reply.body.decode()
    assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize("last", ["0", "-1", "x", "", "٣"])
async def test_a_number_of_requests_has_to_be_one(sidecar: Sidecar, last: str):
    assert_error(await sidecar.send("GET", f"{DOCTOR}?last={last}"), 400, "invalid_request")


async def test_the_newest_alone_can_be_looked_at(sidecar: Sidecar):
    for id in "abc":
        await sidecar.ask("hi", id=id, headers=KEY)
    assert (await sidecar.send("GET", DOCTOR + "?last=2")).json["requests"]["chats"] == 2
    assert (await sidecar.send("GET", DOCTOR + "?last=" + "9" * 30)).json["requests"]["chats"] == 3


async def test_an_outage_that_was_over_before_the_newest_requests_is_not_told_of_them(sidecar: Sidecar):
    with broken(sidecar, reading=False):
        await Front(sidecar).chats("a", turns=1)
        assert "store_not_writable" in await codes(sidecar, "?last=1")
    assert "store_was_down" in await codes(sidecar, "?last=1"), "the newest request met it"
    await sidecar.ask("hi", id="b", headers=KEY)
    assert "store_was_down" in await codes(sidecar, "?last=2")
    report = (await sidecar.send("GET", DOCTOR + "?last=1")).json
    assert "store_was_down" not in [each["code"] for each in report["findings"]]
    assert report["store_outages"] == []
    assert "store_was_down" in await codes(sidecar)


async def test_json_is_the_report_itself(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]):
    await sidecar.ask("hi", id="a", headers=KEY)
    assert await doctor(sidecar, "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["ok"] is True
    assert report["sidecar"] == __version__
    assert report["chat_id"]["headers"] == {"X-Conversation-ID": 1}


@pytest.mark.parametrize("end", ["/v1", "/v1/", "/"])
async def test_the_url_that_clients_use_will_do(
    sidecar: Sidecar, capsys: pytest.CaptureFixture[str], end: str
):
    url = sidecar.url.removeprefix("http://") + end
    assert await asyncio.to_thread(cli.main, ["doctor", "--url", url]) == 1
    assert f"at {sidecar.url}: no chat request yet" in capsys.readouterr().out


async def cannot_ask(url: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert await asyncio.to_thread(cli.main, ["doctor", "--url", url]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("sidecar: ")
    assert len(said.err.splitlines()) == 1
    return said.err


async def test_a_sidecar_that_does_not_run(capsys: pytest.CaptureFixture[str]):
    with socket.socket() as taken:  # bound, and nobody listens
        taken.bind(("127.0.0.1", 0))
        said = await cannot_ask(f"http://127.0.0.1:{taken.getsockname()[1]}", capsys)
    assert "Connection refused" in said
    assert "`sidecar serve`" in said
    assert "docker compose exec sidecar sidecar doctor" in said


@pytest.mark.parametrize(
    ("body", "status"), [(b"<html>", 200), (b"{}", 200), (b"[]", 200), (b"{}", 404), (b"\xff", 200)]
)
async def test_something_else_that_answers_there(
    upstream: Upstream, capsys: pytest.CaptureFixture[str], body: bytes, status: int
):
    upstream.will(sends(body, status=status))
    said = await cannot_ask(upstream.url, capsys)
    assert "is no sidecar" in said
    assert "--url" in said


async def test_something_that_speaks_no_http(capsys: pytest.CaptureFixture[str]):
    async def talk(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"220 mail.example.com\r\n")
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        said = await cannot_ask(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", capsys)
    assert "is no sidecar" in said
    assert "mail.example.com" not in said


async def test_something_that_stays_silent(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sidecar.doctor.ask._TIMEOUT", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        said = await cannot_ask(f"http://127.0.0.1:{silent.getsockname()[1]}", capsys)
    assert "timed out" in said


async def test_a_url_that_is_none(capsys: pytest.CaptureFixture[str]):
    assert "no sidecar" in await cannot_ask("http://:nonsense", capsys)


@pytest.mark.parametrize(
    ("listen", "url"),
    [
        ("127.0.0.1:1", "http://127.0.0.1:1"),
        ("0.0.0.0:2", "http://127.0.0.1:2"),
        ("[::]:3", "http://[::1]:3"),
        ("[::1]:4", "http://[::1]:4"),
        ("sidecar:5", "http://sidecar:5"),
    ],
)
def test_the_sidecar_is_asked_where_it_listens(listen: str, url: str):
    assert address(Settings(listen=listen)) == url


def test_a_free_port_cannot_be_known():
    with pytest.raises(CannotAsk, match="--url"):
        address(Settings(listen="127.0.0.1:0"))


def test_the_settings_say_where_to_ask(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("SIDECAR_LISTEN", "127.0.0.1:1")
    assert cli.main(["doctor"]) == 2
    assert "http://127.0.0.1:1:" in capsys.readouterr().err
    file = tmp_path / "s.toml"
    file.write_text('listen = "nonsense"\n')
    monkeypatch.delenv("SIDECAR_LISTEN")
    assert cli.main(["doctor", "--config", str(file)]) == 2
    assert "HOST:PORT" in capsys.readouterr().err


@pytest.mark.parametrize("number", ["0", "x"])
def test_the_flag_for_the_newest_takes_a_number(number: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as ended:
        cli.main(["doctor", "--last", number])
    assert ended.value.code == 2
    assert "1 or more" in capsys.readouterr().err


async def test_the_doctor_asks_no_proxy(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await doctor(sidecar) == 1


def test_which_models_cut_silently_is_told_of_all_workers_the_newest_first():
    about = {"upstream": "http://127.0.0.1:1/v1", "trim": {"on_silent_cut": "trim"}}
    settings = Settings.model_validate(about)
    one, two = RequestSamples(settings), RequestSamples(settings)
    for at in range(30):
        one.cut_silently(f"m{at}", 2000, 4000, at)
    two.cut_silently("m29", 2048, None, 0)
    two.cut_silently(None, 900, 1800, 0)
    two.cut_silently("gone", 900, 1800, 0)
    two.cut_silently("gone", None, None, 1)
    made = report(settings, one.joined(settings, [two.shared()]), None, "writable", "reachable")
    assert list(one.cuts) == [f"m{at}" for at in range(10, 30)], "those that were seen longest ago go first"
    assert made["silently_cut"]["m29"] == {"counted": 2048, "estimated": None, "requests": 2}
    assert "gone" not in made["silently_cut"]
    (found,) = [each for each in made["findings"] if each["code"] == "upstream_cuts_silently"]
    assert found["level"] == "hint", "the sidecar cures it"
    assert "for (no name) (900 tokens counted of some 1,800; 1 time), m29 (2,048 tokens" in found["found"]
    assert "and 16 more" in found["found"]
    assert "trim.on_silent_cut = trim" in found["cure"]
    assert RequestSamples(settings).cuts == {}
