"""A target of several URLs of which some are off: who is asked instead, and where that is told."""

from __future__ import annotations

import asyncio
import json
import socket
from contextlib import asynccontextmanager
from typing import Any

import pytest

from sidecar import cli
from tests.proxy.client import Sidecar, assert_error
from tests.proxy.conftest import Start
from tests.proxy.engine import turns
from tests.proxy.front import doctor
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, says, sends
from tests.proxy.path.test_exchange import rows
from tests.proxy.several import chats, target, upstreams


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy machine is none that is off."""
    monkeypatch.setattr("sidecar.admin.health._PROBE_TIMEOUT", 20.0)


@asynccontextmanager
async def engines(*names: str, models: tuple[str, ...] = ("qwen",)):
    """Upstreams that list these models, and answer chats with their names."""
    async with upstreams(*names) as made:
        for each in made:
            each.otherwise = engine(each.otherwise, models)
        yield made


def engine(answer: Answer, models: tuple[str, ...]) -> Answer:
    listed = json.dumps({"object": "list", "data": [{"id": each} for each in models]}).encode()

    async def answers(exchange: Exchange) -> None:
        await (sends(listed) if exchange.request.method == "GET" else answer)(exchange)

    return answers


async def silent(_exchange: Exchange) -> None:
    await asyncio.Event().wait()


async def before(start: Start, *servers: Upstream, **settings: Any) -> Sidecar:
    """The set-up of the guide: `upstream` is the first machine, and one target has all of them."""
    first = servers[0].url
    return await start(upstream=first, targets=[target("llama", *servers, models=["*"])], **settings)


async def models(sidecar: Sidecar) -> tuple[list[str], str | None]:
    reply = await sidecar.send("GET", "/v1/models")
    assert reply.status == 200
    return [each["id"] for each in reply.json["data"]], reply.headers.get("X-Sidecar-Targets-Missing")


class TestTheListOfModels:
    async def test_it_comes_from_the_next_machine_where_the_first_is_off(self, start: Start):
        async with engines("a", "b", "c") as servers:
            sidecar = await before(start, *servers)
            assert await models(sidecar) == (["qwen"], None)
            await servers[0].stop()
            assert await models(sidecar) == (["qwen"], "default")
            await servers[1].stop()
            assert await models(sidecar) == (["qwen"], "default")

    async def test_who_refuses_it_is_known_to_be_out_before_a_chat_finds_that(self, start: Start):
        async with engines("a", "b") as servers:
            sidecar = await before(start, *servers)
            await servers[0].stop()
            for _ in range(3):
                await models(sidecar)
            text = (await sidecar.send("GET", "/-/metrics")).body.decode()
            assert f'sidecar_target_member_up{{member="{servers[0].url}",target="llama"}} 0.0' in text
            assert f'sidecar_target_member_up{{member="{servers[1].url}",target="llama"}} 1.0' in text
            assert 'sidecar_target_up{target="llama"} 1.0' in text
            assert 'member="default"' not in text

    async def test_who_is_silent_holds_it_up_for_a_moment_alone(
        self, start: Start, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("sidecar.upstream.pool._PATIENCE", 0.05)
        monkeypatch.setattr("sidecar.proxy.model_list._TIMEOUT", 2.0)
        async with engines("a", "b") as servers:
            servers[0].otherwise = silent
            sidecar = await start(targets=[target("llama", *servers, models=["*"])])
            async with asyncio.timeout(1.5):
                listed = await sidecar.send("GET", "/v1/models/qwen")
            assert listed.headers["X-Sidecar-Target"] == "llama"
            assert listed.status == 200

    @pytest.mark.parametrize("status", [429, 502, 503, 504])
    async def test_who_says_that_it_cannot_now_is_not_the_last_word(self, start: Start, status: int):
        async with engines("a", "b") as servers:
            servers[0].otherwise = sends(b"{}", status=status)
            sidecar = await before(start, *servers)
            assert await models(sidecar) == (["qwen"], "default")

    async def test_any_other_refusal_is_the_targets(self, start: Start):
        async with engines("a", "b") as servers:
            servers[0].otherwise = sends(b'{"error":"key"}', status=401)
            sidecar = await before(start, *servers)
            assert (await sidecar.send("GET", "/v1/models")).status == 401
            assert servers[1].requests == []

    async def test_an_answer_that_none_serves_counts_more_than_none(self, start: Start):
        async with engines("a", "b") as servers:
            await servers[0].stop()
            servers[1].otherwise = sends(b'{"error":"loading"}', status=503)
            sidecar = await start(targets=[target("llama", *servers)])
            assert (await sidecar.send("GET", "/v1/models/m")).status == 503

    async def test_one_without_a_model_never_hides_that_a_target_is_missing(self, start: Start):
        async with engines("a") as (away,), engines("here", models=()) as (here,):
            sidecar = await start(upstream=here.url, targets=[target("llama", away)])
            await away.stop()
            error = assert_error(await sidecar.send("GET", "/v1/models"), 502, "upstream_unreachable")
            assert error["message"].endswith("targets that do not tell: llama")
            turned = await start(upstream=away.url, targets=[target("llama", here)])
            assert_error(await turned.send("GET", "/v1/models"), 502, "upstream_unreachable")

    async def test_windows_are_learned_from_the_next_machine_too(self, start: Start):
        said = turns(101, 400)
        listed = {"data": [{"id": "qwen", "meta": {"n_ctx": 2048}}]}
        async with engines("a", "b") as servers:
            await servers[0].stop()

            async def tells(exchange: Exchange) -> None:
                is_list = exchange.request.method == "GET"
                await (sends(json.dumps(listed).encode()) if is_list else says("b"))(exchange)

            servers[1].otherwise = tells
            sidecar = await before(start, *servers, trim={"window_refresh": 3600})
            async with asyncio.timeout(5):
                while True:
                    await sidecar.ask(*said, model="qwen")
                    if len(chats(servers[1])[-1]["messages"]) < len(said):
                        break


@pytest.fixture
def without_power():
    """The URL of what neither takes connections nor refuses them."""
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        waiting = [socket.socket() for _ in range(4)]
        for each in waiting:
            each.setblocking(False)
            each.connect_ex(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}/v1"
        for each in waiting:
            each.close()


class TestAMachineWithoutPower:
    async def test_its_chats_go_elsewhere_after_a_moment_each_until_three_have_taken_it_out(
        self, start: Start, without_power: str
    ):
        async with engines("a") as (works,):
            urls = {"name": "llama", "url": [without_power, works.url], "models": ["*"]}
            sidecar = await start(targets=[urls], timeouts={"connect": 0.2})
            asked = await asyncio.gather(*(sidecar.ask("hi", id=f"chat {at}") for at in range(24)))
            assert [each.status for each in asked] == [200] * 24
            ready = (await sidecar.send("GET", "/-/ready")).json
            assert ready["members"] == {"llama": {"1": "out", "2": "reachable"}}
            passed_over = await sidecar.metric("sidecar_target_fail_overs_total")
            for at in range(24):
                assert (await sidecar.ask("hi", "ok", "and?", id=f"chat {at}")).status == 200
            assert await sidecar.metric("sidecar_target_fail_overs_total") == passed_over >= 3

    async def test_the_list_of_models_comes_from_the_next(
        self, start: Start, without_power: str, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.setattr("sidecar.upstream.pool._PATIENCE", 0.05)
        async with engines("a") as (works,):
            urls = {"name": "llama", "url": [without_power, works.url], "models": ["*"]}
            sidecar = await start(upstream=works.url, targets=[urls])
            assert await models(sidecar) == (["qwen"], None)


class TestWhatNamesNoModel:
    async def test_it_goes_to_the_upstream_alone_which_may_be_off(self, start: Start):
        async with engines("a", "b") as servers:
            sidecar = await before(start, *servers)
            await servers[0].stop()
            assert_error(await sidecar.send("GET", "/health"), 502, "upstream_unreachable")
            assert (await sidecar.ask("hi", model="qwen")).status == 200


class TestWhoAnswered:
    async def test_the_record_and_the_log_name_the_machine_and_no_header_does(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ):
        async with engines("a", "b") as servers:
            caplog.set_level("INFO", "sidecar.exchange")
            sidecar = await start(targets=[target("llama", *servers)], logs={"requests": True})
            for number in range(6):
                reply = await sidecar.ask("hi", id=f"chat {number}")
                assert "127.0.0.1" not in " ".join(reply.headers.values())
            kept = [each["member"] for each in await rows(sidecar, 6)]
            for each in servers:
                assert kept.count(each.url) == len(chats(each))
            logged = [vars(each)["member"] for each in caplog.records if each.message == "exchange"]
            assert sorted(logged) == sorted(kept)

    async def test_where_one_is_off_it_is_the_one_that_answered_instead(self, start: Start):
        async with engines("a", "b") as servers:
            sidecar = await start(targets=[target("llama", *servers)])
            await servers[0].stop()
            for number in range(6):
                assert (await sidecar.ask("hi", id=f"chat {number}", stream=True)).status == 200
            assert {each["member"] for each in await rows(sidecar, 6)} == {servers[1].url}

    async def test_of_a_task_the_log_names_it_as_well(self, start: Start, caplog: pytest.LogCaptureFixture):
        async with engines("a", "b") as servers:
            caplog.set_level("INFO", "sidecar.exchange")
            sidecar = await start(targets=[target("llama", *servers)], logs={"requests": True})
            await sidecar.ask("a title?", headers={"X-Task": "title"})
            (line,) = (vars(each) for each in caplog.records if each.message == "exchange")
            (at,) = (each for each in servers if each.requests)
            assert (line["target"], line["member"]) == ("llama", at.url)

    async def test_a_target_with_one_url_is_named_by_its_name_alone(self, start: Start):
        async with engines("a") as servers:
            sidecar = await start(targets=[target("one", *servers)])
            await sidecar.ask("hi", id="a")
            await sidecar.ask("hi", id="b", model="other")
            told = [(each["target"], each["member"]) for each in await rows(sidecar, 2)]
            assert sorted(told) == [("default", None), ("one", None)]

    async def test_the_page_of_an_exchange_and_the_terminal_name_it(
        self, start: Start, capsys: pytest.CaptureFixture[str]
    ):
        async with engines("a", "b") as servers:
            sidecar = await start(targets=[target("llama", *servers)])
            await sidecar.ask("hi", id="a")
            (at,) = (each for each in servers if each.requests)
            (row,) = await rows(sidecar, 1)
            shown = ["inspect", "a", "--exchange", row["id"], "--store", sidecar.settings.store]
            assert await asyncio.to_thread(cli.main, shown) == 0
            assert f"answered; target llama ({at.url})" in " ".join(capsys.readouterr().out.split())
            assert await asyncio.to_thread(cli.main, ["inspect", "a", "--store", sidecar.settings.store]) == 0
            assert f"-- start · at {at.url} · " in capsys.readouterr().out


class TestReady:
    async def test_each_url_is_told_by_its_place_and_no_address_is(self, start: Start):
        async with engines("a", "b", "c") as servers:
            sidecar = await before(start, *servers)
            await servers[1].stop()
            reply = await sidecar.send("GET", "/-/ready")
            assert reply.json["targets"] == {"default": "reachable", "llama": "reachable"}
            assert reply.json["members"] == {
                "llama": {"1": "reachable", "2": "not reachable", "3": "reachable"}
            }
            assert b"127.0.0.1" not in reply.body

    async def test_one_that_is_out_is_told_as_that(self, start: Start):
        async with engines("a", "b") as servers:
            sidecar = await start(targets=[target("llama", *servers)])
            await servers[0].stop()
            for _ in range(3):
                await sidecar.send("GET", "/v1/models")
            reply = await sidecar.send("GET", "/-/ready")
            assert (reply.status, reply.json["members"]) == (200, {"llama": {"1": "out", "2": "reachable"}})

    async def test_the_log_names_the_one_whose_state_has_changed(
        self, start: Start, caplog: pytest.LogCaptureFixture
    ):
        async with engines("a", "b") as servers:
            sidecar = await before(start, *servers)
            await servers[1].stop()
            await sidecar.send("GET", "/-/ready")
            assert f"the member {servers[1].url} of the target llama is not reachable" in caplog.messages
            assert "the target llama is not reachable" not in caplog.messages


class TestDoctor:
    async def findings(self, sidecar: Sidecar) -> dict[str, dict[str, Any]]:
        report = (await sidecar.send("GET", "/-/doctor")).json
        return {each["code"]: each for each in report["findings"] if "reach" in each["code"]}

    async def test_it_names_the_machine_that_is_off(self, start: Start, capsys: pytest.CaptureFixture[str]):
        async with engines("a", "b", "c") as servers:
            sidecar = await before(start, *servers)
            assert await self.findings(sidecar) == {}
            await servers[2].stop()
            found = await self.findings(sidecar)
            assert list(found) == ["member_unreachable"]
            assert found["member_unreachable"]["found"] == (
                "1 of 3 URLs of the target llama cannot be reached: "
                + servers[2].url
                + ". The others answer its chats."
            )
            await doctor(sidecar)
            assert "llama        reachable: 2 of 3 URLs" in capsys.readouterr().out

    async def test_where_upstream_is_off_and_all_models_are_served_it_says_what_that_concerns(
        self, start: Start
    ):
        async with engines("a", "b") as servers:
            sidecar = await before(start, *servers)
            await servers[0].stop()
            found = await self.findings(sidecar)
            assert set(found) == {"upstream_unreachable", "member_unreachable"}
            said = found["upstream_unreachable"]
            assert said["level"] == "hint"
            assert "That concerns what names no model" in said["found"]

    async def test_where_some_models_are_served_nowhere_it_is_to_be_changed(self, start: Start):
        async with engines("a") as (away,), engines("b") as (other,):
            sidecar = await start(upstream=away.url, targets=[target("other", other)])
            await away.stop()
            said = (await self.findings(sidecar))["upstream_unreachable"]
            assert said["level"] == "change"
            assert "models that no target names" in said["found"]

    async def test_a_target_of_which_none_can_be_reached_is_told(
        self, start: Start, capsys: pytest.CaptureFixture[str]
    ):
        async with engines("a", "b", "c") as (one, *servers):
            sidecar = await start(targets=[target("llama", *servers), target("one", one)])
            for each in (*servers, one):
                await each.stop()
            report = (await sidecar.send("GET", "/-/doctor")).json
            assert report["targets"]["llama"]["state"] == "not reachable"
            told = [each["found"] for each in report["findings"] if each["code"] == "target_unreachable"]
            assert [each.partition(" cannot")[0] for each in told] == ["The target llama", "The target one"]
            await doctor(sidecar)
            assert "one          not reachable" in capsys.readouterr().out

    async def test_where_none_at_all_can_be_reached_that_is_the_one_thing_to_say(self, start: Start):
        async with engines("a", "b") as servers:
            sidecar = await before(start, *servers)
            for each in servers:
                await each.stop()
            found = await self.findings(sidecar)
            assert [each["found"] for each in found.values()] == ["No target can be reached."]
