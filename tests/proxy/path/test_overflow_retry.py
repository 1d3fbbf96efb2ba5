"""A prompt that is refused for its length is cut and sent again, and the client sees only the end."""

from __future__ import annotations

import asyncio
import gzip
import json
from itertools import pairwise
from typing import Any

import pytest

from sidecar.background import calibration
from sidecar.background.calibration import TokenCalibration
from sidecar.conversation.measure import Measure
from sidecar.upstream.error_probe import PROBE_TIMEOUT
from tests.conversation.refusals import REFUSALS
from tests.proxy import engine
from tests.proxy.client import CHAT, Sidecar, chat, eventually, named
from tests.proxy.conftest import Start
from tests.proxy.engine import Engine, turns
from tests.proxy.mock_upstream import (
    CUT,
    DONE,
    EVENTS,
    JSON,
    Upstream,
    completion,
    cuts,
    event,
    says,
    sends,
    streams,
    told,
    waits,
)

ALL = [engine.llama, engine.vllm, engine.vllm_at_least, engine.openai, engine.groq, engine.ollama]
ALL += [engine.lm_studio, engine.litellm]


def body_of(refused: tuple[int, Any]) -> bytes:
    return json.dumps(refused[1]).encode()


@pytest.mark.parametrize("words", ALL)
@pytest.mark.parametrize("how", ["whole", "stream", "in a stream"])
async def test_every_engines_refusal_heals(sidecar: Sidecar, upstream: Upstream, words: Any, how: str):
    upstream.otherwise = Engine(1500, words, in_stream=how == "in a stream")
    sent = turns(21)
    reply = await sidecar.ask(*sent, id="a", stream=how != "whole", max_tokens=100)
    assert reply.status == 200, reply.body
    assert b"fits" in reply.body
    assert b"error" not in reply.body
    assert 1 <= int(reply.headers["X-Sidecar-Healed"]) == len(upstream.requests) - 1 <= 3
    assert upstream.last.said == [*sent[:2], *sent[2 - len(upstream.last.said) :]]
    assert int(reply.headers["X-Sidecar-Trimmed"]) == len(sent) - len(upstream.last.said)
    assert (await sidecar.only()).branches == [[*sent, "fits"]]
    assert await sidecar.metric("sidecar_overflows_total") == 1


@pytest.mark.parametrize("per_character", [0.2, 0.45])
@pytest.mark.parametrize("words", ALL)
async def test_a_growing_chat_never_ends_for_length_and_learns(
    sidecar: Sidecar, upstream: Upstream, words: Any, per_character: float
):
    upstream.otherwise = Engine(1500, words, per_character=per_character)
    for count in range(1, 21):
        reply = await sidecar.ask(*turns(count, size=400), id="a", max_tokens=100)
        assert reply.status == 200, (count, reply.body)
    # And not once more in every turn, though no reply reports its usage.
    assert len(upstream.requests) <= 20 + 2


@pytest.mark.parametrize("per_character", [0.2, 0.3, 0.4])
async def test_where_the_window_is_known_and_prompts_are_counted_nothing_is_ever_refused(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch, per_character: float
):
    read: list[int] = []

    def observe(self: TokenCalibration, model: str | None, prompt: Measure, tokens: int) -> None:
        observed(self, model, prompt, tokens)
        read.append(tokens)

    observed = TokenCalibration.observe
    monkeypatch.setattr(TokenCalibration, "observe", observe)
    monkeypatch.setattr(calibration, "_READ_DELAY", 0.001)
    upstream.otherwise = Engine(1500, per_character=per_character, counts=True)
    sidecar = await start(trim={"models": [{"match": "m", "window": 1500}]})
    for count in range(1, 46):
        reply = await sidecar.ask(*turns(count), id="a", max_tokens=100)
        assert reply.status == 200
        await eventually(lambda: len(read) == len(upstream.requests))
    assert len(upstream.requests) == 45
    assert int(reply.headers["X-Sidecar-Trimmed"]) > 50


@pytest.mark.parametrize("per_character", [0.15, 0.25, 0.5, 0.8])
async def test_an_estimate_that_is_off_is_scaled_by_what_the_upstream_counted(
    sidecar: Sidecar, upstream: Upstream, per_character: float
):
    upstream.otherwise = Engine(2000, per_character=per_character)
    reply = await sidecar.ask(*turns(101), id="a")
    assert reply.status == 200
    assert reply.headers["X-Sidecar-Healed"] == "1"


async def test_without_an_id_and_in_a_temporary_chat_it_heals_too(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = Engine(1500, engine.groq)
    for headers in ({}, {"X-Conversation-ID": "temporary:1"}):
        before = len(upstream.requests)
        reply = await sidecar.ask(*turns(21), headers=headers, model=f"m{before}")
        assert (reply.status, reply.headers["X-Sidecar-Healed"]) == (
            200,
            str(len(upstream.requests) - before - 1),
        )


async def test_a_client_that_sends_only_what_is_new_is_healed(start: Start, upstream: Upstream):
    sidecar = await start(history={"mode": "append"})  # questions that are alike look like edits of one
    upstream.otherwise = Engine(1500)
    healed = 0
    for question in turns(30)[::2]:
        reply = await sidecar.ask(question, id="a")
        assert reply.status == 200
        healed += "X-Sidecar-Healed" in reply.headers
    assert healed
    assert len((await sidecar.only()).messages) == 60


@pytest.mark.parametrize("headers", [{"X-Sidecar-History": "off"}, {"X-Task": "title"}])
async def test_a_bypass_and_a_task_are_not_touched(sidecar: Sidecar, upstream: Upstream, headers: Any):
    upstream.otherwise = Engine(1500)
    reply = await sidecar.ask(*turns(21), id="a", headers=headers)
    assert (reply.status, len(upstream.requests)) == (400, 1)
    assert "X-Sidecar-Healed" not in reply.headers


ANYWHERE = {
    "text": sends(b"The prompt has 9000 tokens, more than the context size of 8192.", status=400),
    "a page": sends(b"<html><body>Error: prompt is too long</body></html>", status=502),
    "too many requests": sends(b'{"error":{"message":"Maximum context length is 8192 tokens."}}', status=429),
    "unavailable": sends(b'{"errors":[{"title":"context window exceeded"}]}', status=503),
    "flat, as an answer": sends(b' { "object" : "error", "message": "context length exceeded", "code": 400}'),
    "a detail, as an answer": sends(b'{"detail":"input is too long for the context window"}'),
    "a message, as an answer": sends(b'{"message":"prompt is too long"}'),
    "a code, as an answer": sends(b'{"code":1261,"msg":"Prompt \xe8\xb6\x85\xe9\x95\xbf"}'),
    "a field": streams(b'error: {"code":400,"message":"exceeds the available context size"}\n\n'),
    "an event": streams(b'event: error\ndata: {"message":"context length exceeded"}\n\n'),
    "no data:": streams(b'{"error":{"message":"context length exceeded"}}\n\n'),
    "no line end": streams(b'{"error":"context length exceeded"}'),
    "behind a comment": streams(b': hello\n\ndata: {"error":{"code":"context_length_exceeded"}}\n\n'),
}


@pytest.mark.parametrize("how", ANYWHERE.values(), ids=ANYWHERE)
async def test_a_refusal_is_known_wherever_an_error_says_it(sidecar: Sidecar, upstream: Upstream, how: Any):
    upstream.will(how, says("fits"))
    reply = await sidecar.ask(*turns(21), id="a", stream=how in [ANYWHERE[n] for n in list(ANYWHERE)[-5:]])
    assert (reply.status, reply.headers.get("X-Sidecar-Healed")) == (200, "1")
    assert len(upstream.last.said) < 41


SAID = "prompt is too long: 9000 tokens > 8192 maximum"
NO_REFUSAL = {
    "an answer that explains it": sends(completion(SAID)),
    "a choice beside an error": sends(
        b'{"error":null,"choices":[{"message":{"content":"%b"}}]}' % SAID.encode()
    ),
    "a stream that explains it": streams(*told(SAID)),
    "a choice and then an error": streams(
        event({"content": "hi"}), b'data: {"error":{"message":"context length exceeded"}}\n\n'
    ),
    "a gateway's answer": sends(b'{"code":0,"message":"ok","data":{"x":1}}'),
    "a rate": sends(b'{"error":{"message":"Too many tokens per minute"}}', status=429),
    "a key": sends(b'{"error":{"message":"Incorrect API key provided"}}', status=401),
}


@pytest.mark.parametrize("how", NO_REFUSAL.values(), ids=NO_REFUSAL)
async def test_what_is_no_refusal_for_length_goes_to_the_client_as_it_came(
    sidecar: Sidecar, upstream: Upstream, how: Any
):
    upstream.will(how)
    reply = await sidecar.ask(*turns(21), id="a")
    assert len(upstream.requests) == 1
    assert "X-Sidecar-Healed" not in reply.headers


def vague(window: int, sent: int, answer: int) -> tuple[int, Any]:
    """No numbers, and the answer counts."""
    return engine.groq(window, sent, answer)


@pytest.mark.parametrize("words", [engine.vllm, engine.vllm_at_least, engine.litellm, vague])
@pytest.mark.parametrize("thin", [False, True])
async def test_an_answer_of_more_than_half_the_window_costs_no_history(
    sidecar: Sidecar, upstream: Upstream, words: Any, thin: bool
):
    """The prompt would be cut to nothing for the sake of an answer that is never so long."""
    upstream.otherwise = Engine(4000, words, counts_answer=True)
    for count in range(1, 9):
        before = len(upstream.requests)
        said = {"X-Conversation-ID": "a", "X-Sidecar-History": "append" if thin else "full"}
        reply = await sidecar.ask(*turns(count)[-1 if thin else 0 :], headers=said, max_tokens=3900)
        refused = reply.status == words(1, 1, 1)[0]
        assert refused or upstream.last.said[: 2 * count - 1] == turns(count), upstream.last.said
        assert len(upstream.requests) - before == 1
        if refused:
            assert "X-Sidecar-Trimmed" not in reply.headers
            break
    assert refused
    reply = await sidecar.ask(*turns(40), id="b", max_tokens=3900)
    assert (reply.status, "X-Sidecar-Healed" in reply.headers) == (words(1, 1, 1)[0], False)


async def test_where_only_the_prompt_is_counted_it_is_cut_to_half_the_window_at_least(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.otherwise = Engine(4000, engine.llama)
    reply = await sidecar.ask(*turns(101), id="a", max_tokens=3990)
    assert (reply.status, reply.headers["X-Sidecar-Healed"]) == (200, "1")
    assert upstream.otherwise.tokens(upstream.last.json) > 700
    assert upstream.last.json["max_tokens"] == 3990


@pytest.mark.parametrize(
    "headers",
    [{"X-Sidecar-Trim": "off", "X-Conversation-ID": "a"}, {"X-Session-Affinity": "s1"}, {"session_id": "s1"}],
)
@pytest.mark.parametrize("how", ["whole", "in a stream"])
async def test_an_agent_that_compacts_by_itself_sees_the_refusal(
    sidecar: Sidecar, upstream: Upstream, headers: Any, how: str
):
    upstream.otherwise = Engine(1500, engine.openai, in_stream=how == "in a stream")
    for _ in range(2):  # nor is the next one cut before it is sent
        before = len(upstream.requests)
        reply = await sidecar.ask(*turns(21), headers=headers, stream=how != "whole")
        assert b"context_length_exceeded" in reply.body
        assert len(upstream.requests) == before + 1
        assert upstream.last.said == turns(21)


async def test_a_chat_header_beside_an_agents_means_a_chat(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = Engine(1500, engine.openai)
    reply = await sidecar.ask(*turns(21), headers={"X-Session-ID": "s1", "X-Conversation-ID": "a"})
    assert (reply.status, reply.headers["X-Sidecar-Healed"]) == (200, "1")


async def test_an_agent_named_by_a_session_header_sees_it_as_well(start: Start, upstream: Upstream):
    sidecar = await start(session={"headers": ["X-Hermes-Session-Id"]})
    upstream.otherwise = Engine(1500, engine.openai)
    reply = await sidecar.ask(*turns(21), headers={"X-Hermes-Session-Id": "s1"})
    assert (reply.status, len(upstream.requests)) == (400, 1)


async def test_the_operator_may_have_every_refusal_passed_on(start: Start, upstream: Upstream):
    sidecar = await start(trim={"on_overflow": "pass"})
    upstream.otherwise = Engine(1500, engine.openai)
    reply = await sidecar.ask(*turns(21), id="a")
    assert (reply.status, len(upstream.requests)) == (400, 1)
    assert reply.body == body_of(engine.openai(1500, upstream.otherwise.tokens(upstream.last.json), 0))


@pytest.mark.parametrize("words", ALL)
async def test_a_turn_that_is_too_large_alone_gets_the_upstreams_own_error(
    sidecar: Sidecar, upstream: Upstream, words: Any
):
    upstream.otherwise = Engine(1500, words)
    reply = await sidecar.ask("x" * 20_000, id="a")
    status, error = words(1500, upstream.otherwise.tokens(upstream.requests[0].json), 0)
    assert (reply.status, reply.body) == (status, json.dumps(error).encode())
    assert reply.headers["X-Engine"] == "itself"
    assert len(upstream.requests) == 1
    assert await sidecar.metric("sidecar_overflows_total") == 1


@pytest.mark.parametrize("how", ["whole", "stream", "in a stream"])
async def test_what_cannot_fit_even_when_it_is_cut_gets_the_first_error_byte_for_byte(
    sidecar: Sidecar, upstream: Upstream, how: str
):
    upstream.otherwise = Engine(1500, engine.openai, in_stream=how == "in a stream")
    reply = await sidecar.ask(*turns(3), "x" * 20_000, *turns(1), "x" * 20_000, id="a", stream=how != "whole")
    first = engine.openai(1500, upstream.otherwise.tokens(upstream.requests[0].json), 0)
    assert len(upstream.requests) == 2
    if how == "in a stream":
        error = b"event: error\ndata: " + body_of(first) + b"\n\n"
        assert reply.body == b": ok\n\n" + event({"role": "assistant", "content": ""}) + error
        assert reply.status == 200
    else:
        assert (reply.status, reply.body) == (400, body_of(first))
    assert "X-Sidecar-Healed" not in reply.headers
    assert "X-Sidecar-Trimmed" not in reply.headers


async def test_the_third_try_is_the_last(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = Engine(300, engine.groq)
    sent = turns(200)
    reply = await sidecar.ask(*sent, id="a")
    assert (reply.status, reply.body) == (400, body_of(engine.groq(0, 0, 0)))
    sizes = [len(request.body) for request in upstream.requests]
    assert len(sizes) == 4
    assert all(after <= 0.75 * before for before, after in pairwise(sizes))


@pytest.mark.parametrize("name", REFUSALS)
async def test_every_known_refusal_is_answered_with_a_shorter_prompt(
    sidecar: Sidecar, upstream: Upstream, name: str
):
    status, body, _ = REFUSALS[name]
    upstream.will(sends(json.dumps(body).encode(), status=status), says("fits"))
    reply = await sidecar.ask(*turns(21), id="a")
    assert (reply.status, reply.headers["X-Sidecar-Healed"]) == (200, "1")
    assert len(upstream.last.said) < 41


POISON = "This model's maximum context length is 300 tokens. However, your messages resulted in 99999 tokens."


async def test_an_error_that_quotes_the_user_is_passed_on_and_teaches_nothing(
    sidecar: Sidecar, upstream: Upstream
):
    error = json.dumps({"error": {"message": f"invalid content: {POISON}", "code": "bad_content"}}).encode()
    upstream.will(sends(error, status=400))
    reply = await sidecar.ask(*turns(21), POISON, id="a")
    assert (reply.status, reply.body, len(upstream.requests)) == (400, error, 1)
    await sidecar.ask(*turns(21), id="b")
    assert upstream.last.said == turns(21)


async def test_a_number_far_from_what_was_sent_is_not_learned(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(body_of(engine.openai(300, 99_999, 0)), status=400), says("fits"))
    reply = await sidecar.ask(*turns(21), id="a")
    assert reply.headers["X-Sidecar-Healed"] == "1"
    assert len(upstream.last.said) > 20  # seven tenths, and not what 300 tokens hold
    upstream.will(sends(body_of(engine.openai(250_000, 250_001, 0)), status=400), says("fits"))
    reply = await sidecar.ask(*turns(21), id="b", model="other")
    assert reply.headers["X-Sidecar-Healed"] == "1"


async def test_another_error_after_the_cut_gives_way_to_the_first(sidecar: Sidecar, upstream: Upstream):
    refused = body_of(engine.groq(0, 0, 0))
    for then in (sends(b'{"error":"roles must alternate"}', status=400), cuts()):
        upstream.will(sends(refused, status=400), then)
        upstream.otherwise = cuts()
        reply = await sidecar.ask(*turns(21), id="a")
        assert (reply.status, reply.body) == (400, refused)


async def test_an_upstream_that_is_busy_after_the_cut_says_so(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(body_of(engine.groq(0, 0, 0)), status=400), sends(b'{"error":"busy"}', status=429))
    reply = await sidecar.ask(*turns(21), id="a")
    assert (reply.status, reply.json) == (429, {"error": "busy"})


async def test_a_packed_refusal_is_read(sidecar: Sidecar, upstream: Upstream):
    refused = gzip.compress(body_of(engine.groq(0, 0, 0)))
    packed = {"Content-Encoding": "gzip"}
    event_ = gzip.compress(b"data: " + body_of(engine.groq(0, 0, 0)) + b"\n\n")
    upstream.will(sends(refused, status=400, headers={**JSON, **packed}), says())
    assert (await sidecar.ask(*turns(21), id="a")).headers["X-Sidecar-Healed"] == "1"
    upstream.will(streams(event_, headers={**EVENTS, **packed}), says())
    reply = await sidecar.ask(*turns(21), id="b", stream=True, model="other")
    assert reply.headers["X-Sidecar-Healed"] == "1"
    upstream.will(sends(b"not packed", status=400, headers={**JSON, **packed}))
    assert (await sidecar.ask(*turns(21), id="c", model="third")).body == b"not packed"


async def test_a_large_error_is_passed_on_whole(sidecar: Sidecar, upstream: Upstream):
    message = "prompt is too long: 9000 tokens > 8000 maximum" + "." * 200_000
    error = json.dumps({"error": {"message": message}}).encode()
    upstream.will(sends(error[:1000], error[1000:], status=400))
    reply = await sidecar.ask(*turns(21), id="a")
    assert (reply.status, reply.body, len(upstream.requests)) == (400, error, 1)


@pytest.mark.parametrize(
    "pieces", [(b"",), (b'{"er',), (b'  {"id":', b"1}"), (b'{"error":{}}',), (b" " * 200,)]
)
async def test_an_answer_that_is_no_refusal_goes_on_as_it_came(
    sidecar: Sidecar, upstream: Upstream, pieces: tuple[bytes, ...]
):
    upstream.will(sends(*pieces))
    reply = await sidecar.ask("hi", id="a")
    assert (reply.status, reply.body) == (200, b"".join(pieces))


async def test_an_error_that_breaks_off_breaks_off_at_the_client_too(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(b'{"error":', CUT, b"..", status=400))
    with pytest.raises(Exception, match=r"payload|disconnect|reset"):
        await sidecar.ask("hi", id="a")


async def test_content_waits_for_nothing_and_a_role_alone_not_long(sidecar: Sidecar, upstream: Upstream):
    clock = asyncio.get_running_loop().time
    gate = asyncio.Event()
    role, *rest = told("one two")
    for head, least, most in (
        (role + rest[0], 0.0, PROBE_TIMEOUT * 0.99),
        (role, PROBE_TIMEOUT / 2, PROBE_TIMEOUT * 3),
    ):
        upstream.will(streams(head, gate, *rest))
        begun = clock()
        data = json.dumps({"model": "m", "messages": chat("hi"), "stream": True}).encode()
        async with sidecar.http.post(sidecar.url + CHAT, data=data, headers=named("a")) as response:
            assert await response.content.readany() == head
            assert least <= clock() - begun <= most
            gate.set()
            assert (await response.content.read()).endswith(DONE)
        gate.clear()


async def test_all_answers_to_one_request_are_held_back_for_a_limited_time_together(
    sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sidecar.proxy.retries.PROBES_TIMEOUT", 0.0)
    clock = asyncio.get_running_loop().time
    gate = asyncio.Event()
    role, *rest = told("one two")
    upstream.will(sends(body_of(engine.groq(0, 0, 0)), status=400), streams(role, gate, *rest))
    begun = clock()
    data = json.dumps({"model": "m", "messages": chat(*turns(21)), "stream": True}).encode()
    async with sidecar.http.post(sidecar.url + CHAT, data=data, headers=named("a")) as response:
        assert await response.content.readany() == role
        assert clock() - begun < PROBE_TIMEOUT
        gate.set()
        assert (await response.content.read()).endswith(DONE)
    assert len(upstream.requests) == 2


async def test_a_client_that_leaves_while_it_heals_cancels_the_upstream(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(body_of(engine.groq(0, 0, 0)), status=400), waits(asyncio.Event(), says()))
    asked = asyncio.create_task(sidecar.ask(*turns(21), id="a"))
    await eventually(lambda: len(upstream.requests) == 2)
    asked.cancel()
    await eventually(upstream.last.gone.is_set)


@pytest.mark.parametrize("status", [200, 400])
@pytest.mark.parametrize("before", [0, 1])
async def test_a_client_that_leaves_while_an_answer_is_looked_at_cancels_the_upstream(
    sidecar: Sidecar, upstream: Upstream, status: int, before: int
):
    upstream.will(*[sends(body_of(engine.groq(0, 0, 0)), status=400)] * before)
    upstream.will(streams(b": wait\n\n", asyncio.Event(), status=status))
    asked = asyncio.create_task(sidecar.ask(*turns(21), id="a", stream=True))
    await eventually(lambda: len(upstream.requests) > before)
    await asyncio.sleep(0.1)
    asked.cancel()
    await eventually(upstream.last.gone.is_set)


async def test_what_is_to_be_finished_heals_without_its_client(start: Start, upstream: Upstream):
    sidecar = await start(history={"on_disconnect": "finish"}, timeouts={"shutdown": 3})
    gate = asyncio.Event()
    refused = sends(body_of(engine.groq(0, 0, 0)), status=400)
    upstream.will(waits(gate, refused), says("later"))
    asked = asyncio.create_task(sidecar.ask(*turns(21), id="a"))
    await eventually(lambda: upstream.requests)
    asked.cancel()
    await asyncio.sleep(0.05)
    gate.set()
    await eventually(lambda: len(upstream.requests) == 2)
    for _ in range(100):
        if stored := await sidecar.stored():
            break
        await asyncio.sleep(0.02)
    assert stored[0].branches == [[*turns(21), "later"]]


async def test_a_short_prompt_that_is_taken_at_last_teaches_no_tiny_window(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.will(sends(body_of(engine.groq(0, 0, 0)), status=400), says())
    assert (await sidecar.ask(*turns(3, size=20), id="a")).headers["X-Sidecar-Healed"] == "1"
    await sidecar.ask(*turns(21), id="b")
    assert upstream.last.said == turns(21)


async def test_a_completion_that_holds_the_word_error_is_an_answer(sidecar: Sidecar, upstream: Upstream):
    upstream.will(sends(completion('{"error": "prompt is too long"}')))
    assert (await sidecar.ask(*turns(3), id="a")).json["choices"]
    assert len(upstream.requests) == 1
