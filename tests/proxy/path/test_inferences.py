"""`gen_ai_client_*`: what panels for any client of a model look for; and the room of the store."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from sidecar.background import store_room
from sidecar.background.model_windows import ModelWindows
from tests.proxy.client import Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Exchange, Upstream, cuts, event, says, sends, streams

USAGE = {"prompt_tokens": 90, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 40}}
DURATION = "gen_ai_client_operation_duration_seconds"
FIRST = "gen_ai_client_operation_time_to_first_chunk_seconds"
TOKENS = "gen_ai_client_token_usage"
COMMON = {"gen_ai_operation_name": "chat", "gen_ai_provider_name": "openai"}


LISTED = frozenset(("big", "m", "x" * 150, *(f"model-{at}" for at in range(60))))


@pytest.fixture
def listed(monkeypatch: pytest.MonkeyPatch):
    """The upstream has listed these models."""
    monkeypatch.setattr(ModelWindows, "lists", lambda _self, model: model in LISTED)


async def samples(sidecar: Sidecar, name: str) -> list[tuple[dict[str, str], float]]:
    """The labels, but for those that all have, and the values of the series of that name."""
    text = (await sidecar.send("GET", "/-/metrics")).body.decode()
    found = [
        each
        for family in text_string_to_metric_families(text)
        for each in family.samples
        if each.name == name
    ]
    assert all(each.labels.items() >= COMMON.items() for each in found if name.startswith("gen_ai"))
    return [
        ({key: value for key, value in each.labels.items() if key not in COMMON}, each.value)
        for each in found
    ]


async def test_a_stream_is_counted_with_its_times_and_tokens(listed, sidecar: Sidecar, upstream: Upstream):
    upstream.will(streams(0.05, event({"content": "hi"}, finish="stop", usage=USAGE), 0.05, DONE))
    await sidecar.ask("hi", id="a", stream=True, model="big")
    assert await samples(sidecar, f"{DURATION}_count") == [
        ({"gen_ai_request_model": "big", "error_type": ""}, 1)
    ]
    ((_, first),) = await samples(sidecar, f"{FIRST}_sum")
    ((_, whole),) = await samples(sidecar, f"{DURATION}_sum")
    assert 0.04 < first < whole < 5
    assert first + 0.04 < whole
    told = {labels["gen_ai_token_type"]: value for labels, value in await samples(sidecar, f"{TOKENS}_sum")}
    assert told == {"input": 90, "output": 5, "cached": 40}


async def test_what_was_not_reported_is_not_counted(sidecar: Sidecar):
    await sidecar.ask("hi", id="a")
    assert {value for _, value in await samples(sidecar, f"{TOKENS}_count")} == {0}
    assert [value for _, value in await samples(sidecar, f"{FIRST}_count")] == [0]


async def test_failures_are_told_by_their_kind_and_never_by_an_upstreams_word(
    listed, sidecar: Sidecar, upstream: Upstream
):
    odd = json.dumps({"error": {"code": "some-code-of-theirs"}}).encode()
    upstream.will(sends(odd, status=429), sends(odd, status=418), *[cuts()] * 3, says("ok"))
    for at in range(3):
        await sidecar.ask("hi", id=f"chat {at}", model="m")
    await sidecar.ask("hi", id="last", model="m")
    counted = await samples(sidecar, f"{DURATION}_count")
    assert {(each["gen_ai_request_model"], each["error_type"]): value for each, value in counted} == {
        ("_OTHER", "429"): 1,
        ("_OTHER", "_OTHER"): 1,
        ("_OTHER", "502"): 1,
        ("m", ""): 1,
    }


async def test_what_never_went_upstream_is_none_of_it(sidecar: Sidecar):
    await sidecar.send("POST", "/v1/chat/completions", data=b"{")
    assert await samples(sidecar, f"{DURATION}_count") == []


async def test_only_so_many_models_have_series_of_their_own(listed, sidecar: Sidecar):
    for at in range(60):
        await sidecar.ask("hi", model=f"model-{at}", headers={"X-Sidecar-History": "off"})
    await sidecar.ask("hi", model="x" * 150, headers={"X-Sidecar-History": "off"})
    counted = await samples(sidecar, f"{DURATION}_count")
    assert len(counted) == 51
    assert {each["gen_ai_request_model"]: value for each, value in counted}["_OTHER"] == 11


async def test_a_name_that_no_upstream_answered_to_has_no_series(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(b"{}", status=404))
    await sidecar.ask("hi", id="a", model="made-up")
    await sidecar.ask("hi", id="b", model="")
    counted = await samples(sidecar, f"{DURATION}_count")
    assert {each["gen_ai_request_model"] for each, _ in counted} == {"_OTHER"}


async def test_nor_has_one_that_the_upstream_repeats_and_does_not_list(start: Start, upstream: Upstream):
    async def answer(exchange: Exchange) -> None:
        if exchange.request.method == "GET":
            await sends(b'{"data": [{"id": "real"}]}')(exchange)
        else:
            await says(model=exchange.request.json["model"])(exchange)

    upstream.otherwise = answer
    sidecar = await start(trim={"window_refresh": 60})
    await sidecar.ask("hi", id="a", model="what somebody wrote")
    await eventually(lambda: [each for each in upstream.requests if each.target == "/v1/models"])
    for model in ("real", "what somebody wrote"):
        await sidecar.ask("hi", id="a", model=model)
    counted = await samples(sidecar, f"{DURATION}_count")
    assert {each["gen_ai_request_model"]: value for each, value in counted} == {"real": 1, "_OTHER": 2}
    assert b"somebody wrote" not in (await sidecar.send("GET", "/-/metrics")).body


async def test_the_room_of_the_store_is_told(sidecar: Sidecar, tmp_path: Path):
    await sidecar.ask("hi", id="a")
    ((_, taken),) = await samples(sidecar, "sidecar_store_bytes")
    ((_, free),) = await samples(sidecar, "sidecar_store_free_bytes")
    files = sum(each.stat().st_size for each in tmp_path.glob("sidecar.db*") if each.suffix != ".db-turns")
    assert 0 < taken <= files + 65536
    place = os.statvfs(tmp_path)
    assert free == pytest.approx(place.f_bavail * place.f_frsize, rel=0.1)


async def test_a_database_tells_its_bytes_and_no_room_and_what_it_does_not_tell_is_said(
    start: Start, postgres_url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    sidecar = await start(store=postgres_url)
    ((_, taken),) = await samples(sidecar, "sidecar_store_bytes")
    assert taken > 1_000_000
    assert await samples(sidecar, "sidecar_store_free_bytes") == []
    monkeypatch.setattr("sidecar.admin.health._PROBE_TIMEOUT", 0.0)
    ((_, taken),) = await samples(sidecar, "sidecar_store_bytes")
    assert str(taken) == "nan"
    assert [vars(each)["reason"] for each in caplog.records if "room" in each.getMessage()] == [
        "the database did not answer within 0 s"
    ]


async def test_a_store_that_is_no_file_has_no_room(start: Start):
    sidecar = await start(store="memory:")
    assert await samples(sidecar, "sidecar_store_bytes") == []
    assert await samples(sidecar, "sidecar_store_free_bytes") == []


async def test_a_disk_that_does_not_answer_holds_up_nobody(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    caplog.set_level(logging.INFO, "sidecar.proxy")
    looks, known = [], store_room._room

    def slow(path: str) -> tuple[int, int]:
        looks.append(path)
        time.sleep(3.0)
        return known(path)

    monkeypatch.setattr("sidecar.background.store_room._room", slow)
    monkeypatch.setattr("sidecar.admin.health._PROBE_TIMEOUT", 0.05)
    pages = [asyncio.ensure_future(samples(sidecar, "sidecar_store_bytes")) for _ in range(3)]
    began = time.monotonic()
    assert (await sidecar.ask("hi", id="a")).status == 200
    assert time.monotonic() - began < 2.5
    assert [str(value) for page in pages for _, value in await page] == ["nan"] * 3
    assert len(looks) == 1
    async with asyncio.timeout(10):
        while not [value for _, value in await samples(sidecar, "sidecar_store_bytes") if value > 0]:
            await asyncio.sleep(0.1)
    said = [each.getMessage() for each in caplog.records if "room" in each.getMessage()]
    assert said == ["the room of the store is not known", "the room of the store is known"]


async def test_where_the_disk_fails_the_reason_is_in_the_log(
    sidecar: Sidecar, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    def fails(_path: str) -> tuple[int, int]:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("sidecar.background.store_room._room", fails)
    ((_, taken),) = await samples(sidecar, "sidecar_store_bytes")
    assert str(taken) == "nan"
    (line,) = [each for each in caplog.records if "room" in each.getMessage()]
    assert vars(line)["reason"] == "Input/output error"
