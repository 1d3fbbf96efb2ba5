"""A model's summary in place of the turns that are left out."""

from __future__ import annotations

import asyncio
import json
import time
from itertools import pairwise
from typing import Any

import pytest

from sidecar import __version__
from sidecar.errors import StoreUnavailable
from sidecar.prompt.summary import HEADING
from sidecar.prompt.weights import estimate
from sidecar.server.serve import running
from sidecar.store import SQLiteStore
from tests.proxy.client import Reply, Sidecar, chat, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    JSON,
    Answer,
    Exchange,
    Received,
    Upstream,
    cuts,
    says,
    sends,
    waits,
)

SYSTEM = {"role": "system", "content": "Be brief."}
ONE_TURN_AT_A_TIME = {"trim": {"max_turns": 2, "step": 0.5}, "summary": {"model": "small"}}


class Model:
    """The model that sums up, behind the same upstream as the chats' own unless it has one for itself."""

    def __init__(self, upstream: Upstream, other: Upstream | None = None) -> None:
        self._upstreams = [upstream, other] if other else [upstream]
        self._chats = says("ok")
        self.script: list[Answer] = []
        for each in self._upstreams:
            each.otherwise = self._answer

    async def _answer(self, exchange: Exchange) -> None:
        if exchange.request.json["model"] != "small":
            await self._chats(exchange)
        elif self.script:
            await self.script.pop(0)(exchange)
        else:
            await says(f"Summary {len(self.asked)}.")(exchange)

    @property
    def asked(self) -> list[Received]:
        return [each for all in self._upstreams for each in all.requests if each.json["model"] == "small"]

    @property
    def told(self) -> list[str]:
        """What it was told to sum up, each time."""
        return [each.json["messages"][1]["content"] for each in self.asked]


@pytest.fixture
def model(upstream: Upstream) -> Model:
    return Model(upstream)


def turns(count: int, text: str = "") -> list[str]:
    """So many questions, each but the last with its answer."""
    return [said for at in range(1, count + 1) for said in (f"q{at}{text}", "ok")][:-1]


def chats(upstream: Upstream) -> list[Received]:
    return [each for each in upstream.requests if each.json["model"] != "small"]


def with_summary(text: str, system: str = "") -> str:
    return f"{system}\n\n{HEADING}\n{text}" if system else f"{HEADING}\n{text}"


async def count(sidecar: Sidecar, result: str) -> float:
    return await sidecar.metric(f'sidecar_summaries_total{{result="{result}"}}')


async def after(sidecar: Sidecar, *, made: int = 0, failed: int = 0) -> None:
    """Wait until so many were made and so many failed."""
    end = time.monotonic() + 5
    while [await count(sidecar, "made"), await count(sidecar, "failed")] != [made, failed]:
        assert time.monotonic() < end, [await count(sidecar, "made"), await count(sidecar, "failed")]
        await asyncio.sleep(0.01)


async def over(sidecar: Sidecar, model: Model, *, before: int = 0) -> None:
    """Wait until what the model was asked in the background has come to its end.

    `before`: so much was asked by another sidecar.
    """
    await asyncio.sleep(0.03)
    end = time.monotonic() + 5
    while await count(sidecar, "made") + await count(sidecar, "failed") != len(model.asked) - before:
        assert time.monotonic() < end
        await asyncio.sleep(0.01)


async def talk(sidecar: Sidecar, first: int, last: int, *, thin: bool = False, **more: Any) -> Reply:
    """The turns of one chat, by a client that sends everything or only what is new."""
    for at in range(first, last + 1):
        reply = await sidecar.ask(*([f"q{at}"] if thin else turns(at)), id="a", **more)
    return reply


@pytest.mark.parametrize("thin", [False, True])
async def test_a_summary_stands_for_the_turns_that_were_left_out_from_the_next_request_on(
    start: Start, upstream: Upstream, model: Model, thin: bool
):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    reply = await talk(sidecar, 1, 3, thin=thin)
    assert "X-Sidecar-Summary" not in reply.headers
    assert chats(upstream)[-1].said == ["q2", "ok", "q3"]
    await after(sidecar, made=1)
    assert "User: q1\nAssistant: ok" in model.told[0]
    assert "q2" not in model.told[0]

    reply = await talk(sidecar, 4, 4, thin=thin)
    assert chats(upstream)[-1].said == [with_summary("Summary 1."), "q3", "ok", "q4"]
    assert reply.headers["X-Sidecar-Summary"] == "2"
    await after(sidecar, made=2)
    reply = await talk(sidecar, 5, 5, thin=thin)
    assert chats(upstream)[-1].said == [with_summary("Summary 2."), "q4", "ok", "q5"]
    assert reply.headers["X-Sidecar-Summary"] == "4"
    assert (await sidecar.only()).branches == [[*turns(5), "ok"]]


async def test_the_second_one_is_made_of_the_first_and_of_what_was_left_out_since(start: Start, model: Model):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    await talk(sidecar, 1, 3)
    await after(sidecar, made=1)
    await talk(sidecar, 4, 4)
    await after(sidecar, made=2)
    assert "Summary 1." not in model.told[0]
    assert "Summary 1." in model.told[1]
    assert ["q1" in model.told[1], "q2" in model.told[1], "q3" in model.told[1]] == [False, True, False]


async def test_one_is_made_once_for_a_step_and_used_until_the_next(
    start: Start, upstream: Upstream, model: Model
):
    trim = {"max_turns": 8, "step": 0.5, "keep_first_turn": False}
    sidecar = await start(trim=trim, summary={"model": "small"})
    said = []
    for at in range(9, 13):
        await talk(sidecar, at, at)
        await after(sidecar, made=1)
        said.append(chats(upstream)[-1].said)
    assert len(model.asked) == 1
    assert [each[0] for each in said] == ["q5", *[with_summary("Summary 1.")] * 3]
    for one, two in pairwise(said[1:]):
        assert two[: len(one)] == one  # the upstream's prefix cache hits


async def test_it_stands_in_the_clients_system_message(start: Start, upstream: Upstream, model: Model):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    for at in (3, 4):
        await sidecar.ask(SYSTEM, *chat(*turns(at)), id="a")
        await after(sidecar, made=at - 2)
    assert chats(upstream)[-1].said == [with_summary("Summary 1.", "Be brief."), "q3", "ok", "q4"]


async def test_a_chat_that_comes_again_finds_its_summary(start: Start, upstream: Upstream, model: Model):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    await talk(sidecar, 3, 3)
    await after(sidecar, made=1)
    reply = await talk(sidecar, 3, 3)
    assert reply.outcome == "retry"
    assert chats(upstream)[-1].said == [with_summary("Summary 1."), "q2", "ok", "q3"]
    assert len(model.asked) == 1


async def test_a_restart_keeps_it(start: Start, upstream: Upstream, model: Model):
    first = await start(**ONE_TURN_AT_A_TIME)
    await talk(first, 3, 3)
    await after(first, made=1)
    second = await start(**ONE_TURN_AT_A_TIME)
    await talk(second, 3, 3)
    assert chats(upstream)[-1].said == [with_summary("Summary 1."), "q2", "ok", "q3"]
    assert len(model.asked) == 1


async def test_two_branches_have_their_own_and_share_what_was_before_them(
    start: Start, upstream: Upstream, model: Model
):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    await talk(sidecar, 3, 3)
    await after(sidecar, made=1)
    edited = ["q1 edited", *turns(3)[1:]]
    await sidecar.ask(*edited, id="a")
    assert chats(upstream)[-1].said == ["q2", "ok", "q3"]
    await after(sidecar, made=2)
    assert "q1 edited" in model.told[1]
    assert "Summary 1." not in model.told[1]
    for sent, summary in ((edited, "Summary 2."), (turns(3), "Summary 1.")):
        await sidecar.ask(*sent, id="a")
        assert chats(upstream)[-1].said == [with_summary(summary), "q2", "ok", "q3"]
    await sidecar.ask(*turns(3)[:-1], "q3 edited", id="a")
    assert chats(upstream)[-1].said == [with_summary("Summary 1."), "q2", "ok", "q3 edited"]
    assert len(model.asked) == 2


async def test_two_tenants_never_share_one(start: Start, upstream: Upstream, model: Model):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    for made, who in enumerate(("Bearer anna", "Bearer bert"), 1):
        reply = await talk(sidecar, 3, 3, headers={"Authorization": who})
        assert "X-Sidecar-Summary" not in reply.headers
        assert chats(upstream)[-1].said == ["q2", "ok", "q3"]
        await after(sidecar, made=made)
        assert model.asked[-1].headers["Authorization"] == who
    await talk(sidecar, 3, 3, headers={"Authorization": "Bearer anna"})
    assert chats(upstream)[-1].said[0] == with_summary("Summary 1.")


async def test_a_slow_model_delays_nothing_and_is_asked_once_at_a_time(
    start: Start, upstream: Upstream, model: Model
):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    gate = asyncio.Event()
    model.script = [waits(gate, says("Slow."))]
    for at in (3, 4, 5):
        reply = await talk(sidecar, at, at)
        assert (reply.status, "X-Sidecar-Summary" in reply.headers) == (200, False)
    await eventually(lambda: model.asked)
    assert len(model.asked) == 1
    gate.set()
    await after(sidecar, made=1)
    reply = await talk(sidecar, 6, 6)
    # It stands for less than was left out meanwhile; the next one will stand for all.
    assert chats(upstream)[-1].said == [with_summary("Slow."), "q5", "ok", "q6"]
    assert reply.headers["X-Sidecar-Summary"] == "2"
    await after(sidecar, made=2)
    assert all(f"q{at}" in model.told[1] for at in (2, 3, 4))


@pytest.mark.parametrize(
    "answer",
    [
        sends(b'{"error": {"message": "q1 is bad"}}', status=500),
        sends(b"q1", status=200),
        sends(b'{"choices": [{"message": {"role": "assistant", "content": "x", "n": 1e999}}]}'),
        sends(b'{"error": {"message": "q1"}}', status=200),
        sends(b" " * (3 << 20)),
        cuts(),
        sends(b"{", "cut", headers={**JSON}),
    ],
    ids=["500", "no JSON", "odd", "error", "endless", "cut", "half"],
)
async def test_a_failing_model_fails_no_request_and_is_asked_again_by_a_later_one(
    start: Start, upstream: Upstream, model: Model, answer: Answer, caplog: pytest.LogCaptureFixture
):
    sidecar = await start(retries={"attempts": 1}, **ONE_TURN_AT_A_TIME)
    model.script = [answer]
    assert (await talk(sidecar, 3, 3)).status == 200
    await after(sidecar, failed=1)
    await asyncio.sleep(0.05)
    assert len(model.asked) == 1  # it does not try again by itself
    said = " ".join(f"{each.getMessage()} {each.__dict__}" for each in caplog.records)
    assert "a summary could not be made" in said
    assert "q1" not in said
    reply = await talk(sidecar, 4, 4)
    assert (reply.status, chats(upstream)[-1].said) == (200, ["q3", "ok", "q4"])
    await after(sidecar, made=1, failed=1)
    await talk(sidecar, 5, 5)
    assert chats(upstream)[-1].said[0].startswith(HEADING)


CALLS = [{"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}]
NO_SUMMARIES = {
    "cut off by its length": says("They met and then they", finish="length"),
    "no reason to end": sends(b'{"choices":[{"message":{"role":"assistant","content":"They met."}}]}'),
    "a call": says("They met.", tool_calls=CALLS),
    "a call that ends as one": says(None, finish="tool_calls", tool_calls=CALLS),
    "an older call": says("They met.", function_call={"name": "f", "arguments": "{}"}),
    "a call as text": says('{"name": "f", "arguments": {}}'),
    "a call in tags": says('<tool_call>{"name": "f"}</tool_call>'),
    "nothing": says(""),
    "only thoughts": says("<think>They met and q1"),
    "only thoughts, in their own field": says("", reasoning_content="They met."),
    "thoughts that did not end": says("", finish="length", reasoning_content="They met and q1"),
    "another's channel": says("<|channel|>analysis<|message|>They met."),
    "far too much": says("A long story. " * 2000),
}


@pytest.mark.parametrize("answer", NO_SUMMARIES.values(), ids=NO_SUMMARIES)
async def test_what_is_no_summary_is_asked_for_once_more_with_more_room_and_then_dropped_and_said(
    start: Start, upstream: Upstream, model: Model, answer: Answer, caplog: pytest.LogCaptureFixture
):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    model.script = [answer, says("They met.")]
    await talk(sidecar, 3, 3)
    await after(sidecar, made=1)
    first, second = (each.json for each in model.asked)
    assert second["messages"] == first["messages"]
    assert second["max_tokens"] >= 2 * first["max_tokens"]
    await talk(sidecar, 4, 4)
    assert chats(upstream)[-1].said[0] == with_summary("They met.")
    await over(sidecar, model, before=1)

    model.script = [answer, answer]
    before = len(model.asked)
    await talk(sidecar, 5, 5)
    await after(sidecar, made=2, failed=1)
    assert len(model.asked) == before + 2
    assert "a summary could not be made" in [each.getMessage() for each in caplog.records]
    await talk(sidecar, 6, 6)
    assert chats(upstream)[-1].said[0].startswith(HEADING)  # the one before still stands


async def test_the_more_often_it_fails_the_later_it_is_asked_again(start: Start, model: Model):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    model.script = [sends(b"{}", status=500)] * 9
    asked = []
    for _ in range(9):
        await talk(sidecar, 3, 3)
        await over(sidecar, model)
        asked.append(len(model.asked))
    # At once, then after one request that passes, then after three.
    assert asked == [1, 2, 2, 3, 3, 3, 3, 4, 4]


async def test_the_cut_does_not_depend_on_whether_there_is_a_summary(
    start: Start, upstream: Upstream, model: Model
):
    sent: dict[str, list[list[str]]] = {}
    settings = {"trim": {"max_input_tokens": 1500}, "summary": {"model": "small", "max_tokens": 200}}
    for id in ("without", "with"):
        sidecar = await start(**settings)
        model.script = [sends(b"{}", status=500)] * 99 if id == "without" else []
        sent[id], summed, before = [], 0, len(model.asked)
        for at in range(1, 25):
            reply = await sidecar.ask(*turns(at, " word" * 80), id=id)
            await over(sidecar, model, before=before)
            sent[id].append([each for each in chats(upstream)[-1].said if HEADING not in each])
            summed += "X-Sidecar-Summary" in reply.headers
        assert (summed > 5) == (id == "with")
    assert sent["with"] == sent["without"]
    assert sent["with"][-1] != turns(24, " word" * 80)


async def test_the_tokens_of_a_long_summary_are_within_the_budget(
    start: Start, upstream: Upstream, model: Model
):
    sidecar = await start(trim={"max_input_tokens": 1500}, summary={"model": "small", "max_tokens": 200})
    model.script = [says("A long story. " * 66)] * 9
    for at in range(1, 30):
        reply = await sidecar.ask(*turns(at, " word" * 30), id="a")
        await over(sidecar, model)
        messages = chats(upstream)[-1].json["messages"]
        assert sum(estimate(json.dumps(each).encode()) for each in messages) <= 1500
    assert "X-Sidecar-Summary" in reply.headers
    assert messages[0]["content"].endswith("A long story. A long…")


async def test_where_there_is_no_room_for_a_summary_the_newest_question_goes_all_the_same(
    start: Start, upstream: Upstream, model: Model
):
    sidecar = await start(trim={"max_input_tokens": 400}, summary={"model": "small"})
    newest = "word"
    while estimate(json.dumps({"role": "user", "content": newest}).encode()) < 380:
        newest += " word"
    for _ in range(2):
        reply = await sidecar.ask("q1", " word" * 100, newest, id="a")
        assert chats(upstream)[-1].said == [newest]
        assert {"X-Sidecar-Over-Budget", "X-Sidecar-Summary"}.isdisjoint(reply.headers)


async def test_a_long_chat_at_first_sight_is_summed_up_in_pieces(
    start: Start, upstream: Upstream, model: Model
):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    text = " word" * 390  # with which six turns fill a question
    await sidecar.ask(*turns(70, text), id="a")
    await after(sidecar, made=8)
    assert all(len(each) < 4 * 3000 + 200 for each in model.told)
    assert all(f"Summary {at}." in told for at, told in enumerate(model.told[1:], 1))
    reply = await sidecar.ask(*turns(70, text), id="a")
    done = int(reply.headers["X-Sidecar-Summary"])
    assert 2 * 8 * 5 <= done < 2 * 68
    await after(sidecar, made=len(model.asked) if len(model.asked) > 8 else 12)
    assert f"q{done // 2 + 1} " in model.told[8]
    assert f"q{done // 2} " not in model.told[8]
    reply = await sidecar.ask(*turns(70, text), id="a")
    assert reply.headers["X-Sidecar-Summary"] == str(2 * 68)


async def test_a_question_that_is_too_long_for_the_model_is_shorter_the_next_time(
    start: Start, upstream: Upstream, model: Model
):
    sidecar = await start(**ONE_TURN_AT_A_TIME)
    refusal = {"error": {"code": "context_length_exceeded", "message": "too long"}}
    model.script = [sends(json.dumps(refusal).encode(), status=400)]
    await sidecar.ask(*turns(8, " word" * 390), id="a")
    await after(sidecar, failed=1)
    await sidecar.ask(*turns(8, " word" * 390), id="a")
    await eventually(lambda: len(model.asked) > 1)
    assert len(model.told[1]) < 0.6 * len(model.told[0])


class TestWhatIsAsked:
    async def test_it_is_a_question_of_the_sidecars_own(self, start: Start, model: Model):
        sidecar = await start(
            **{**ONE_TURN_AT_A_TIME, "summary": {"model": "small", "prompt": "Sum up!", "max_tokens": 300}}
        )
        headers = {
            "Authorization": "Bearer mine",
            "User-Agent": "client",
            "X-OpenWebUI-User-Id": "u",
            "Cookie": "c=1",
        }
        await talk(sidecar, 3, 3, headers=headers, stream=True, user="u")
        await after(sidecar, made=1)
        (asked,) = model.asked
        assert asked.headers["Authorization"] == "Bearer mine"
        assert asked.headers["User-Agent"] == f"conversation-sidecar/{__version__}"
        assert asked.headers["X-Sidecar-History"] == "off"
        assert {"X-Conversation-ID", "X-OpenWebUI-User-Id", "Cookie"}.isdisjoint(asked.headers)
        system, told = asked.json.pop("messages")
        assert system["content"].startswith("Sum up!")
        assert told["role"] == "user"
        body = {name: value for name, value in asked.json.items() if name != "messages"}
        assert body == {"model": "small", "max_tokens": 300, "stream": False}
        assert (await sidecar.only()).key == "a"

    @pytest.mark.parametrize("key", ["", "sk-own"])
    async def test_another_upstream_gets_its_own_key_and_never_the_clients(
        self, start: Start, upstream: Upstream, key: str
    ):
        other = Upstream()
        await other.start()
        try:
            model = Model(upstream, other)
            summary = {"model": "small", "upstream": other.url, "api_key": key}
            sidecar = await start(**{**ONE_TURN_AT_A_TIME, "summary": summary})
            await talk(sidecar, 3, 3, headers={"Authorization": "Bearer mine", "api-key": "mine"})
            await after(sidecar, made=1)
            (asked,) = other.requests
            assert asked.target == "/v1/chat/completions"
            assert asked.headers.get("Authorization") == (f"Bearer {key}" if key else None)
            assert "mine" not in str(asked.headers)
            assert model.asked == [asked]
        finally:
            await other.stop()

    async def test_a_key_goes_to_the_same_upstream_in_place_of_the_clients(
        self, start: Start, upstream: Upstream, model: Model
    ):
        summary = {"model": "small", "upstream": upstream.url + "/", "api_key": "sk-own"}
        sidecar = await start(**{**ONE_TURN_AT_A_TIME, "summary": summary})
        await talk(sidecar, 3, 3, headers={"Authorization": "Bearer mine", "api-key": "mine"})
        await after(sidecar, made=1)
        assert model.asked[0].headers["Authorization"] == "Bearer sk-own"
        assert "mine" not in str(model.asked[0].headers)


class TestWhereThereIsNone:
    async def test_it_is_off_by_default(
        self, start: Start, upstream: Upstream, model: Model, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.delattr(SQLiteStore, "find_summary")
        monkeypatch.setattr(SQLiteStore, "__abstractmethods__", frozenset())
        sidecar = await start(trim={"max_turns": 2, "step": 0.5})
        for at in range(1, 6):
            assert (await talk(sidecar, at, at)).status == 200
        await asyncio.sleep(0.05)
        assert (len(model.asked), await sidecar.metric("sidecar_store_failures_total")) == (0, 0)

    async def test_a_chat_that_fits_asks_for_none(
        self, start: Start, model: Model, monkeypatch: pytest.MonkeyPatch
    ):
        monkeypatch.delattr(SQLiteStore, "find_summary")
        monkeypatch.setattr(SQLiteStore, "__abstractmethods__", frozenset())
        sidecar = await start(**{**ONE_TURN_AT_A_TIME, "trim": {"max_turns": 9}})
        await talk(sidecar, 1, 5)
        await asyncio.sleep(0.05)
        assert (len(model.asked), await sidecar.metric("sidecar_store_failures_total")) == (0, 0)

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"X-Conversation-ID": "temporary:1"},
            {"X-Conversation-ID": "channel:1", "X-OpenWebUI-User-Id": "ada"},
            {"X-Conversation-ID": "a", "X-Task": "title_generation"},
            {"X-Conversation-ID": "a", "X-Sidecar-History": "off"},
        ],
        ids=["no id", "temporary", "channel", "task", "off"],
    )
    async def test_what_is_never_continued_from_the_store_has_none(
        self, start: Start, upstream: Upstream, model: Model, headers: dict[str, str]
    ):
        sidecar = await start(**ONE_TURN_AT_A_TIME)
        for at in (3, 4, 5):
            await sidecar.ask(*turns(at), headers=headers)
        await asyncio.sleep(0.05)
        assert model.asked == []
        assert HEADING not in str(chats(upstream)[-1].said)

    async def test_no_id_gets_none_of_a_chat_that_has_one(
        self, start: Start, upstream: Upstream, model: Model
    ):
        sidecar = await start(**ONE_TURN_AT_A_TIME)
        await talk(sidecar, 3, 3)
        await after(sidecar, made=1)
        reply = await sidecar.ask(*turns(3))
        assert chats(upstream)[-1].said == ["q2", "ok", "q3"]
        assert "X-Sidecar-Summary" not in reply.headers

    async def test_a_request_that_failed_has_none_made(self, start: Start, upstream: Upstream, model: Model):
        sidecar = await start(**ONE_TURN_AT_A_TIME)
        upstream.will(sends(b"{}", status=500))
        await talk(sidecar, 3, 3)
        await asyncio.sleep(0.05)
        assert model.asked == []


class TestTheStore:
    async def test_if_it_cannot_be_read_the_request_goes_without(
        self, start: Start, upstream: Upstream, model: Model, monkeypatch: pytest.MonkeyPatch
    ):
        sidecar = await start(**ONE_TURN_AT_A_TIME)
        await talk(sidecar, 3, 3)
        await after(sidecar, made=1)

        async def fails(*_: object) -> None:
            raise StoreUnavailable("gone")

        monkeypatch.setattr(SQLiteStore, "find_summary", fails)
        reply = await talk(sidecar, 4, 4)
        assert (reply.status, chats(upstream)[-1].said) == (200, ["q3", "ok", "q4"])
        assert await sidecar.metric('sidecar_store_failures_total{step="summary"}') == 1

    async def test_if_it_cannot_be_written_a_later_request_tries_again(
        self, start: Start, model: Model, monkeypatch: pytest.MonkeyPatch
    ):
        sidecar = await start(**ONE_TURN_AT_A_TIME)

        async def fails(*_: object) -> None:
            raise StoreUnavailable("full")

        with monkeypatch.context() as patched:
            patched.setattr(SQLiteStore, "add_summary", fails)
            assert (await talk(sidecar, 3, 3)).status == 200
            await after(sidecar, failed=1)
        assert await sidecar.metric('sidecar_store_failures_total{step="summary"}') == 1
        await talk(sidecar, 3, 3)
        await after(sidecar, made=1, failed=1)


async def test_the_end_of_the_process_does_not_wait_for_a_summary(start: Start, model: Model):
    sidecar = await start(timeouts={"shutdown": 30}, **ONE_TURN_AT_A_TIME)
    model.script = [waits(asyncio.Event(), says("never"))]
    async with running(sidecar.settings.model_copy(update={"store": "memory:"})) as url:
        await talk(Sidecar(url, sidecar.settings, sidecar.http), 3, 3)
        await eventually(lambda: model.asked)
        began = time.monotonic()
    assert time.monotonic() - began < 20
    assert model.asked[0].gone.is_set()
