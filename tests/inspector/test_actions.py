"""What can be done on the pages, and the pages that are about the sidecar itself."""

from __future__ import annotations

import json

import pytest

from sidecar import cli
from sidecar.inspector.settings_page import settings_page_of
from sidecar.settings import Settings, load, origins
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import Upstream, says


@pytest.fixture
async def chat(visitor: Visitor, upstream: Upstream) -> str:
    upstream.will(says("The word is mellon."))
    await visitor.sidecar.ask("Say friend.", id="a")
    return await opened(visitor, "a")


def origin_of(visitor: Visitor) -> str:
    return visitor.root.partition("/-/")[0]


async def test_a_conversation_is_taken_away_as_export_gives_it(visitor: Visitor, chat: str):
    page = await visitor.get(f"{chat}export.jsonl")
    assert page.headers["Content-Disposition"].startswith("attachment; ")
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    line = json.loads(page.text)
    assert [each["message"]["content"] for each in line["messages"]] == ["Say friend.", "The word is mellon."]
    assert len(line["exchanges"]) == 1
    assert "The word is mellon." in (await visitor.get(f"{chat}export.md")).text
    assert (await visitor.get("c/conv_gone/export.md")).status == 404


async def test_a_conversation_is_deleted_once_that_is_confirmed(visitor: Visitor, chat: str, tmp_path):
    asked = await visitor.get(f"{chat}delete")
    assert "Delete this conversation?" in asked.text
    assert asked.headers["Referrer-Policy"] == "same-origin"
    assert (await visitor.value())["total"] == 1

    done = await visitor.send("POST", f"{visitor.root}{chat}delete", headers={"Origin": origin_of(visitor)})
    assert (done.status, done.headers["Location"]) == (303, "../../")
    assert (await visitor.value())["total"] == 0
    for file in tmp_path.glob("sidecar.db*"):
        if file.is_file():
            assert b"mellon" not in file.read_bytes()
    again = await visitor.send("POST", f"{visitor.root}{chat}delete", headers={"Origin": origin_of(visitor)})
    assert again.status == 404


async def test_a_browser_that_tells_of_the_site_need_not_tell_the_origin(visitor: Visitor, chat: str):
    headers = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    done = await visitor.send("POST", f"{visitor.root}{chat}delete", headers=headers)
    assert done.status == 303


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Origin": "null"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://127.0.0.1:1"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
async def test_nobody_elsewhere_can_delete(visitor: Visitor, chat: str, headers: dict[str, str]):
    page = await visitor.send("POST", f"{visitor.root}{chat}delete", headers=headers)
    assert page.status == 403
    assert page.headers["Cache-Control"] == "no-store"
    assert (await visitor.value())["total"] == 1


async def test_there_is_nothing_else_to_do(visitor: Visitor, chat: str):
    for way in ("", chat, "settings", "search"):
        page = await visitor.send("POST", visitor.root + way, headers={"Origin": origin_of(visitor)})
        assert page.status == 404


async def test_the_settings_are_told_without_a_secret(visit):
    visitor: Visitor = await visit(
        target={"api_key": "sk-very-secret-key"}, secret="a-secret-of-many-letters"
    )
    value = await visitor.value("settings")
    rows = {each["name"]: each for each in value["rows"]}
    assert (rows["target.api_key"]["value"], rows["trim.max_turns"]["is_default"]) == ("(set)", True)
    html = (await visitor.get("settings")).text
    assert "very-secret" not in html
    assert "a-secret-of-many-letters" not in html
    assert html.index("target.api_key") < html.index("trim.max_turns")


def test_of_each_setting_it_is_told_where_it_comes_from(tmp_path):
    file = tmp_path / "sidecar.toml"
    file.write_text('[trim]\nmax_turns = 9\n[logs]\nlevel = "debug"\n')
    flags = {"config": str(file), "listen": "127.0.0.1:1"}
    environ = {"SIDECAR_LOGS__LEVEL": "warning"}
    page = settings_page_of(load(flags, environ), origins(flags, environ))
    rows = {each.name: (each.value, each.origin) for each in page.rows}
    assert rows["listen"] == ('"127.0.0.1:1"', "flag --listen")
    assert rows["logs.level"] == ('"warning"', "environment variable SIDECAR_LOGS__LEVEL")
    assert rows["trim.max_turns"] == ("9", f"file {file}, key trim.max_turns")
    assert rows["workers"] == ("1", "default")
    assert len(page.rows) == len(settings_page_of(Settings(), {}).rows)


async def test_the_doctor_has_a_page(visitor: Visitor, chat: str):
    page = await visitor.get("doctor")
    assert page.status == 200
    assert "1 chat request" in page.text
    assert (await visitor.value("doctor"))["requests"]["chats"] == 1


def told(capsys, *arguments):
    assert cli.main(["inspect", *arguments]) == 0
    return capsys.readouterr().out


async def test_the_terminal_shows_the_same(visitor: Visitor, chat: str, tmp_path, capsys):
    import asyncio

    store = ("--store", f"sqlite:///{tmp_path}/sidecar.db")
    page = await visitor.value(chat)
    shown = await asyncio.to_thread(told, capsys, "a", *store)
    assert "1. user" in shown
    assert "    The word is mellon." in shown
    assert "    -- start · " in shown
    assert " in all  --exchange " in shown
    assert json.loads(await asyncio.to_thread(told, capsys, "a", *store, "--format", "json")) == page

    exchange = page["entries"][1]["exchange"]["id"]
    assert f"--exchange {exchange}" in shown
    shown = await asyncio.to_thread(told, capsys, "a", *store, "--exchange", exchange)
    assert "client sent; upstream as it came" in shown
    value = json.loads(
        await asyncio.to_thread(told, capsys, "a", *store, "--exchange", exchange, "--format", "json")
    )
    page_of_exchange = await visitor.value(f"{chat}x/{exchange}")
    # How long the store took to keep it, the sidecar alone knows.
    assert page_of_exchange["time"]["parts"].pop()["name"] == "kept"
    assert value["time"]["parts"] == page_of_exchange["time"]["parts"]
    assert value | {"time": None} == page_of_exchange | {"time": None}
    at = page["entries"][0]["message"]["id"]
    assert "messages 2 to 2 of 2" in await asyncio.to_thread(
        told, capsys, "a", *store, "--at", f"b2:{at}", "--from", "2"
    )


@pytest.mark.parametrize("wrong", [("--at", "xyz"), ("--from", "0"), ("--exchange", "-")])
def test_what_is_no_id_or_number_is_refused(wrong, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main(["inspect", "a", *wrong])
    assert ended.value.code == 2


async def test_branches_problems_and_errors_are_told_in_the_terminal(visitor: Visitor, upstream: Upstream):
    from sidecar.inspector import reading
    from sidecar.inspector.text import conversation_text
    from sidecar.store import MemoryStore
    from tests.store.trees import exchange, message, question, reply, talk, update

    store = MemoryStore()
    ask = question("Colour?")
    one, two = reply("Red.", ask), reply("Blue.\n" * 30, ask, state="partial", model="m")
    call = {"role": "assistant", "content": None, "tool_calls": [{"id": "c", "function": {"name": "f"}}]}
    failed = exchange("conv_1", two, error="overflow")
    await store.record(update(talk(), ask, one, two, message(call, two, nonce=1), exchange=failed))
    shown = conversation_text(await reading.conversation_page(store, "conv_1"))
    assert "branch 2 of 2" in shown
    assert "* " in shown
    assert "partial" in shown
    assert "[call f c]" in shown
    assert "... (180 characters in all)" in shown
    assert "error overflow" in shown
