"""`traces.requests`: client, sidecar and engine in one trace, by OTLP, without a word of what was said."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import nullcontext
from pathlib import Path

import aiohttp
import pytest

from sidecar.errors import SidecarError
from sidecar.settings import Settings
from tests.docs import ROOT
from tests.proxy.client import Sidecar, assert_error, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Upstream, cuts, event, says, sends, streams
from tests.proxy.otlp import CLIENT, SERVER, Collector, collecting
from tests.proxy.process import serving

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = {"traceparent": f"00-{TRACE}-{SPAN}-01", "tracestate": "vendor=1,other=2"}
UNSAMPLED = {"traceparent": f"00-{TRACE}-{SPAN}-00"}
PLACE = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-0([0-3])")  # the second bit: its number is random
USAGE = {
    "prompt_tokens": 90,
    "completion_tokens": 5,
    "prompt_tokens_details": {"cached_tokens": 40},
    "completion_tokens_details": {"reasoning_tokens": 2},
}


@pytest.fixture
async def collector(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Collector]:
    async with collecting() as collector:
        for name, value in environment(collector).items():
            monkeypatch.setenv(name, value)
        yield collector


def environment(collector: Collector) -> dict[str, str]:
    return {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "OTEL_BSP_SCHEDULE_DELAY": "50"}


@pytest.fixture
async def sidecar(collector: Collector, start: Start) -> Sidecar:
    return await start(traces={"requests": True})


def place(upstream: Upstream, number: int = 0) -> tuple[str, str, str]:
    """Trace, span and whether they are sampled, as the upstream got it."""
    (told,) = upstream.requests[number].headers.getall("traceparent")
    found = PLACE.fullmatch(told)
    assert found is not None
    return found[1], found[2], str(int(found[3]) & 1)


async def test_client_sidecar_and_engine_are_in_one_trace(
    sidecar: Sidecar, upstream: Upstream, collector: Collector
):
    reply = await sidecar.ask("hi", id="a", headers={**PARENT, "baggage": "k=v"})
    request, inference = await collector.trace()
    assert (request.kind, request.trace, request.parent) == (SERVER, TRACE, SPAN)
    assert (inference.kind, inference.trace, inference.parent) == (CLIENT, TRACE, request.id)
    assert place(upstream) == (TRACE, inference.id, "1")
    assert upstream.requests[0].headers["tracestate"] == "vendor=1,other=2"
    assert upstream.requests[0].headers["baggage"] == "k=v"
    assert reply.headers["X-Sidecar-Trace-Id"] == TRACE
    assert "X-Request-ID" not in reply.headers


async def test_without_a_parent_a_trace_begins_here(
    sidecar: Sidecar, upstream: Upstream, collector: Collector
):
    reply = await sidecar.ask("hi", id="a")
    request, inference = await collector.trace()
    assert request.parent == ""
    assert place(upstream) == (request.trace, inference.id, "1")
    assert reply.headers["X-Sidecar-Trace-Id"] == request.trace


async def test_a_span_says_what_the_conventions_ask_for(
    sidecar: Sidecar, upstream: Upstream, collector: Collector
):
    upstream.will(streams(0.02, event({"content": "hello"}, finish="stop", usage=USAGE), 0.02, DONE))
    began = time.time_ns()
    await sidecar.ask("hi", id="a", stream=True, model="big", max_tokens=100)
    request, inference = await collector.trace()
    first = inference.attributes.pop("gen_ai.response.time_to_first_chunk")
    assert 0.01 < first < 5
    conversation = (await sidecar.only()).conversation["id"]
    assert inference.name == "chat big"
    assert inference.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "big",
        "gen_ai.request.stream": True,
        "gen_ai.request.max_tokens": 100,
        "gen_ai.conversation.id": conversation,
        "session.id": conversation,
        "gen_ai.response.model": "m",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.usage.input_tokens": 90,
        "gen_ai.usage.output_tokens": 5,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.reasoning.output_tokens": 2,
        "server.address": "127.0.0.1",
        "server.port": int(upstream.url.split(":")[2].split("/")[0]),
    }
    assert request.name == "POST /v1/chat/completions"
    about = {
        "http.request.method": "POST",
        "http.route": "/v1/chat/completions",
        "http.response.status_code": 200,
        "sidecar.outcome": "start",
        "sidecar.target": "default",
    }
    assert {name: request.attributes[name] for name in about} == about
    assert request.resource["service.name"] == "conversation-sidecar"
    assert began <= request.begin <= inference.begin < inference.end <= request.end <= time.time_ns()
    assert not request.is_error
    assert not inference.is_error


async def test_a_cut_is_marked_and_none_is_not(collector: Collector, start: Start):
    sidecar = await start(traces={"requests": True}, trim={"max_messages": 3, "keep_first_turn": False})
    await sidecar.ask("1", "ok", "2", "ok", "3", id="a")
    request, inference = await collector.trace()
    assert inference.attributes["gen_ai.conversation.compacted"] is True
    assert request.attributes["sidecar.trimmed"] == 2
    await sidecar.ask("1", id="b")
    spans = await collector.trace(spans=4)
    assert [
        each.attributes.get("gen_ai.conversation.compacted") for each in spans if each.kind == CLIENT
    ] == [
        True,
        None,
    ]


async def test_nothing_of_what_is_said_nor_any_key_is_sent(
    sidecar: Sidecar, upstream: Upstream, collector: Collector
):
    refusal = {"error": {"message": "the word was hush", "type": "invalid", "code": "hush now"}}
    upstream.will(says("hush"), sends(json.dumps(refusal).encode(), status=400), *[cuts()] * 3)
    tools = [{"type": "function", "function": {"name": "hush"}}]
    key = {"Authorization": "Bearer hush-key", "X-User-ID": "hush-user"}
    for id in ("hush-1", "hush-2", None):
        await sidecar.ask(
            {"role": "system", "content": "hush"},
            {"role": "user", "content": "hush"},
            id=id,
            tools=tools,
            user="hush",
            headers=key,
            path="/v1/chat/completions?key=hush",
        )
    await collector.trace(spans=6)
    assert b"hush" not in b"".join(collector.bodies)


@pytest.mark.parametrize(
    ("answer", "status", "kind"),
    [
        (sends(b'{"error": {"code": "x"}}', status=429), 429, "429"),
        (sends(b"{}", status=500), 500, "500"),
        (streams(event({"content": "half"}), 0.02, "cut"), 200, "upstream_broke_off"),
    ],
)
async def test_failures_are_told_by_their_kind(
    sidecar: Sidecar, upstream: Upstream, collector: Collector, answer, status: int, kind: str
):
    upstream.will(answer)
    with nullcontext() if kind.isdigit() else pytest.raises(Exception, match="payload"):
        await sidecar.ask("hi", id="a", stream=True)
    request, inference = await collector.trace()
    assert inference.is_error
    assert inference.attributes["error.type"] == kind
    assert request.is_error == (status >= 500)
    assert request.attributes["http.response.status_code"] == status


async def test_an_upstream_that_is_not_there_is_a_span_too(
    sidecar: Sidecar, upstream: Upstream, collector: Collector
):
    upstream.will(*[cuts()] * 3)
    reply = await sidecar.ask("hi", id="a", headers=PARENT)
    assert_error(reply, 502, "upstream_unreachable")
    assert reply.headers["X-Sidecar-Trace-Id"] == TRACE
    request, inference = await collector.trace()
    assert (request.is_error, inference.is_error) == (True, True)
    assert request.attributes["sidecar.error"] == "upstream_unreachable"


async def test_what_never_went_upstream_has_one_span(sidecar: Sidecar, collector: Collector):
    await sidecar.send("POST", "/v1/chat/completions", data=b"{")
    (request,) = await collector.trace(spans=1)
    assert (request.kind, request.attributes["http.response.status_code"]) == (SERVER, 400)


async def test_a_request_that_is_sent_again_is_one_span(
    sidecar: Sidecar, upstream: Upstream, collector: Collector
):
    refusal = {
        "error": {"code": "context_length_exceeded", "message": "maximum context length is 100 tokens"}
    }
    upstream.will(sends(json.dumps(refusal).encode(), status=400), says("ok"))
    words = " ".join(f"word{at}" for at in range(200))
    await sidecar.ask(words, "ok", words, "ok", "and?", id="a")
    request, inference = await collector.trace()
    assert [place(upstream, at)[:2] for at in range(2)] == [(inference.trace, inference.id)] * 2
    assert request.attributes["sidecar.retries.overflow"] == 1


async def test_what_the_client_does_not_sample_is_not_sent_and_goes_on_so(
    sidecar: Sidecar, upstream: Upstream, collector: Collector
):
    reply = await sidecar.ask("hi", id="a", headers=UNSAMPLED)
    trace, span, flag = place(upstream)
    assert (trace, flag) == (TRACE, "0")
    assert span != SPAN
    assert reply.headers["X-Sidecar-Trace-Id"] == TRACE
    await sidecar.ask("hi", id="b")
    assert {each.trace for each in await collector.trace()} != {TRACE}


async def test_how_many_are_sampled_is_the_sdks_own_setting(
    collector: Collector, start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", "0")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    sidecar = await start(traces={"requests": True})
    await sidecar.ask("hi", id="a")
    assert place(upstream)[2] == "0"
    await sidecar.ask("hi", id="b", headers=PARENT)
    spans = await collector.trace()
    assert {(each.trace, each.resource["service.name"]) for each in spans} == {(TRACE, "mine")}


async def test_the_sdks_own_switch_turns_it_off(
    collector: Collector, start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    sidecar = await start(traces={"requests": True})
    reply = await sidecar.ask("hi", id="a")
    assert "X-Sidecar-Trace-Id" not in reply.headers
    assert "traceparent" not in upstream.requests[0].headers


@pytest.mark.parametrize("given", ["", "00-xyz-1-01", f"00-{'0' * 32}-{SPAN}-01", f"ff-{TRACE}-{SPAN}-01"])
async def test_what_is_no_place_in_a_trace_is_replaced_by_one(
    sidecar: Sidecar, upstream: Upstream, collector: Collector, given: str
):
    await sidecar.ask("hi", id="a", headers={"traceparent": given, "tracestate": "a=1"})
    request, _ = await collector.trace()
    assert request.parent == ""
    assert place(upstream)[0] == request.trace != TRACE
    assert "tracestate" not in upstream.requests[0].headers


@pytest.mark.parametrize(
    "state",
    [
        "secret words",
        "a=1,a=2",
        "A=1",
        "=1",
        "a=" + "x" * 300,
        "a",
        ",".join(f"k{n}=1" for n in range(40)),
        "a=\u00e9",
    ],
)
async def test_a_state_that_is_none_is_left_out_and_fills_no_log(
    sidecar: Sidecar, upstream: Upstream, collector: Collector, caplog: pytest.LogCaptureFixture, state: str
):
    headers = {**PARENT, "tracestate": state, "baggage": state}
    await sidecar.ask("hi", id="a", headers=headers)
    request, _ = await collector.trace()
    assert (request.trace, request.parent) == (TRACE, SPAN)
    assert "tracestate" not in upstream.requests[0].headers
    assert [each for each in caplog.records if each.name.startswith("opentelemetry")] == []


async def test_an_id_that_is_a_hash_of_content_is_not_told(collector: Collector, start: Start):
    sidecar = await start(traces={"requests": True}, identity={"fallback": "hash"})
    await sidecar.ask("hi")
    _, inference = await collector.trace()
    assert "gen_ai.conversation.id" not in inference.attributes
    await sidecar.ask("hi", id="a")
    spans = await collector.trace(spans=4)
    assert sum("gen_ai.conversation.id" in each.attributes for each in spans) == 1


async def test_id_and_trace_stand_in_one_log_line(
    collector: Collector, start: Start, caplog: pytest.LogCaptureFixture
):
    caplog.set_level("INFO", "sidecar.exchange")
    sidecar = await start(traces={"requests": True}, logs={"requests": True})
    await sidecar.ask("hi", id="a", headers={**PARENT, "X-Request-ID": "r1"})
    (line,) = [vars(each) for each in caplog.records if each.name == "sidecar.exchange"]
    assert (line["trace"], line["request"]) == (TRACE, "r1")
    request, _ = await collector.trace()
    assert request.attributes["sidecar.request.id"] == "r1"


async def test_a_collector_that_fails_harms_no_chat(sidecar: Sidecar, collector: Collector):
    collector.status = 503
    for at in range(5):
        assert (await sidecar.ask("hi", id=f"chat {at}")).status == 200


async def test_while_no_collector_answers_one_line_a_minute_says_so(
    sidecar: Sidecar, collector: Collector, caplog: pytest.LogCaptureFixture
):
    """The exporter tells each of its tries."""
    collector.status = 503
    await sidecar.ask("hi", id="a")
    await eventually(lambda: collector.tries >= 3, within=30)
    said = [*caplog.get_records("setup"), *caplog.records]
    (line,) = [each for each in said if each.name.startswith("opentelemetry")]
    assert "exporting" in line.getMessage()


async def test_other_paths_and_tasks_elsewhere_are_left_alone(
    collector: Collector, start: Start, upstream: Upstream
):
    sidecar = await start(traces={"requests": True}, tasks={"upstream": upstream.url})
    upstream.will(sends(b"{}"), says("a title"))
    await sidecar.send("GET", "/v1/models", headers=PARENT)
    assert upstream.requests[0].headers["traceparent"] == PARENT["traceparent"]
    await sidecar.ask("name it", id="a", headers={"X-Task": "title", **PARENT})
    assert "traceparent" not in upstream.requests[1].headers
    _, inference = await collector.trace()
    assert "gen_ai.conversation.id" not in inference.attributes


async def test_several_workers_send_what_is_left_when_they_end(upstream: Upstream, tmp_path: Path):
    async with collecting() as collector:
        more = {
            **environment(collector),
            "OTEL_BSP_SCHEDULE_DELAY": "60000",
            "SIDECAR_TRACES__REQUESTS": "true",
        }
        flags = ("--workers", "2", "--upstream", upstream.url)
        async with serving(*flags, folder=tmp_path, **more) as process:
            async with aiohttp.ClientSession() as http:
                body = {"model": "m", "messages": [{"role": "user", "content": "hi"}]}
                for _ in range(6):
                    async with http.post(f"{process.url}/v1/chat/completions", json=body) as response:
                        assert response.status == 200
            assert collector.spans == []
        assert len(collector.spans) == 12


async def test_off_it_is_not_imported_and_what_a_client_sends_goes_on_as_it_came(
    start: Start, upstream: Upstream
):
    sidecar = await start()
    reply = await sidecar.ask("hi", id="a", headers=PARENT)
    assert upstream.requests[0].headers["traceparent"] == PARENT["traceparent"]
    assert upstream.requests[0].headers["tracestate"] == PARENT["tracestate"]
    assert "X-Sidecar-Trace-Id" not in reply.headers
    code = """
import asyncio, sys
from sidecar.server.serve import running
from sidecar.settings import Settings
async def main():
    async with running(Settings(listen="127.0.0.1:0", store="memory:")):
        print([name for name in sys.modules if name.startswith(("opentelemetry", "google", "requests"))])
asyncio.run(main())
"""
    done = subprocess.run((sys.executable, "-c", code), capture_output=True, check=True, cwd=ROOT, text=True)
    assert done.stdout == "[]\n"


def test_where_it_is_not_installed_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    for missing in ("opentelemetry", "opentelemetry.exporter"):
        with monkeypatch.context() as patched:
            for name in [each for each in sys.modules if each.split(".")[0] == "opentelemetry"]:
                patched.delitem(sys.modules, name)
            patched.setitem(sys.modules, missing, None)
            with pytest.raises(ValueError, match=r"traces\.requests.*conversation-sidecar\[otel\]"):
                Settings.model_validate({"traces": {"requests": True}})
    Settings.model_validate({"traces": {"requests": True}})


async def test_a_variable_that_makes_no_sense_stops_the_start_and_is_named(
    start: Start, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "many")
    with pytest.raises(SidecarError, match=r"OTEL_\*.*many"):
        await start(traces={"requests": True})
