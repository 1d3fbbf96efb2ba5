"""How much of a history goes upstream: budgets per model, and windows that somebody tells."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from tests.proxy import engine
from tests.proxy.client import Sidecar, eventually, settled
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import CUT, Answer, Exchange, Upstream, says, sends, streams, waits

ASKING = {"window_refresh": 3600}
KEY = {"Authorization": "Bearer mine", "Cookie": "theirs", "X-Conversation-ID": "a"}
NONE = b'{"object":"list","data":[{"id":"m","object":"model"}]}'
LLAMA = b'{"data":[{"id":"gemma","meta":{"n_ctx":2048,"n_ctx_train":32768}}]}'


def turns(count: int, size: int = 400) -> list[str]:
    """So many questions, each but the last with its answer: about a hundred tokens each."""
    return engine.turns(count, size)


def tells(upstream: Upstream, **lists: bytes | Answer) -> None:
    """Answers chats as ever, and lists of models (by the end of their path) as given; else 404."""

    async def answer(exchange: Exchange) -> None:
        target = exchange.request.target
        if target.endswith("/chat/completions"):
            await says()(exchange)
            return
        told = lists.get(target.rsplit("/", 2)[-1] if target != "/api/v0/models" else "v0")
        if told is None:
            await sends(b"no such page", status=404)(exchange)
        elif isinstance(told, bytes):
            await sends(told)(exchange)
        else:
            await told(exchange)

    upstream.otherwise = answer


def asked_of(upstream: Upstream) -> list[str]:
    return [each.target for each in upstream.requests if not each.target.endswith("/chat/completions")]


async def sent(sidecar: Sidecar, upstream: Upstream, **body: Any) -> int:
    """How many messages of a long chat are sent upstream."""
    await sidecar.ask(*turns(101), headers=KEY, **body)
    chats = [each for each in upstream.requests if each.target.endswith("/chat/completions")]
    return len(chats[-1].said)


async def listed(upstream: Upstream, *paths: str) -> None:
    """All these were asked for, and the answers have been read."""
    await eventually(lambda: asked_of(upstream) == list(paths))
    await settled()


async def test_auto_does_nothing_while_no_window_is_known(sidecar: Sidecar, upstream: Upstream):
    assert await sent(sidecar, upstream) == 201
    assert asked_of(upstream) == []


async def test_the_upstreams_list_is_asked_at_first_sight_and_serves_the_next_request(
    start: Start, upstream: Upstream
):
    sidecar = await start(trim=ASKING)
    gate = asyncio.Event()
    tells(upstream, models=waits(gate, sends(b'{"data":[{"id":"m","max_model_len":8000}]}')))
    assert await sent(sidecar, upstream) == 201
    gate.set()
    await listed(upstream, "/v1/models")
    assert 20 < await sent(sidecar, upstream) < 75
    request = next(each for each in upstream.requests if each.target == "/v1/models")
    assert (request.method, request.headers["Authorization"]) == ("GET", "Bearer mine")
    assert "Cookie" not in request.headers
    assert "X-Conversation-ID" not in request.headers
    assert asked_of(upstream) == ["/v1/models"]  # and not again with every request


async def test_llama_cpp_serves_its_model_under_any_name(start: Start, upstream: Upstream):
    sidecar = await start(trim=ASKING)
    tells(upstream, models=LLAMA)
    await sent(sidecar, upstream)
    await listed(upstream, "/v1/models")
    assert await sent(sidecar, upstream, model="whatever") < 20


@pytest.mark.parametrize(
    ("name", "told", "paths"),
    [
        ("v0", b'{"data":[{"id":"m","loaded_context_length":4096}]}', ["/api/v0/models"]),
        ("ps", b'{"models":[{"name":"m:latest","context_length":4096}]}', ["/api/v0/models", "/api/ps"]),
        ("show", b'{"parameters":"num_ctx 4096"}', ["/api/v0/models", "/api/ps", "/api/show"]),
    ],
)
async def test_where_that_list_tells_nothing_others_are_asked(
    start: Start, upstream: Upstream, name: str, told: bytes, paths: list[str]
):
    sidecar = await start(trim=ASKING)
    tells(upstream, **{"models": NONE, name: told})
    await sent(sidecar, upstream)
    await listed(upstream, "/v1/models", *paths)
    assert await sent(sidecar, upstream) < 40
    if name == "show":
        assert next(each for each in upstream.requests if each.target == "/api/show").json == {"model": "m"}


CATALOGUES = {
    "OpenRouter": {"models": b'{"data":[{"id":"m","context_length":4096}]}'},
    "Groq": {"models": b'{"data":[{"id":"m","context_window":4096}]}'},
    "LM Studio, not loaded": {"models": NONE, "v0": b'{"data":[{"id":"m","max_context_length":4096}]}'},
    "LiteLLM": {
        "models": NONE,
        "info": b'{"data":[{"model_name":"m","model_info":{"max_input_tokens":4096}}]}',
    },
}


@pytest.mark.parametrize("lists", CATALOGUES.values(), ids=CATALOGUES)
async def test_a_catalogue_cuts_nothing_before_a_refusal(start: Start, upstream: Upstream, lists: Any):
    sidecar = await start(trim=ASKING)
    tells(upstream, **lists)
    await sent(sidecar, upstream)
    last = "/v1/models" if len(lists) == 1 else "/api/v0/models" if "v0" in lists else "/model/info"
    await eventually(lambda: last in asked_of(upstream))
    await settled()
    assert await sent(sidecar, upstream) == 201
    upstream.will(sends(REFUSED, status=400))
    assert await sent(sidecar, upstream) < 40
    assert await sent(sidecar, upstream) < 40


@pytest.mark.parametrize(("tokens", "is_cut"), [(3000, False), (4200, False), (9000, True)])
async def test_an_engines_window_cuts_only_what_surely_exceeds_it(
    start: Start, upstream: Upstream, tokens: int, is_cut: bool
):
    sidecar = await start(trim=ASKING)
    tells(upstream, models=b'{"data":[{"id":"m","max_model_len":4000}]}')
    await sent(sidecar, upstream)
    await listed(upstream, "/v1/models")
    long = turns(tokens // 180)  # by the estimate
    for _ in range(2):
        reply = await sidecar.ask(*long, headers={**KEY, "X-Conversation-ID": "b"})
        assert ("X-Sidecar-Trimmed" in reply.headers) == is_cut
        said = [each for each in upstream.requests if each.target.endswith("/chat/completions")][-1].said
        assert (said != long) == is_cut


BAD: dict[str, bytes | Answer] = {
    "an error": sends(b"{}", status=500),
    "no JSON": b"<html>",
    "too large": streams(*[b" " * (1 << 20)] * 9, headers={}),
    "broken off": sends(b'{"data":', CUT, b"...."),
    "elsewhere": sends(b"", status=302, headers={"Location": "/v1/elsewhere"}),
}


@pytest.mark.parametrize("bad", BAD.values(), ids=BAD)
async def test_a_list_that_cannot_be_had_is_no_more_than_not_knowing(
    start: Start, upstream: Upstream, bad: bytes | Answer
):
    sidecar = await start(trim=ASKING)
    tells(upstream, models=bad)
    assert await sent(sidecar, upstream) == 201
    await listed(upstream, "/v1/models", "/api/v0/models", "/api/ps", "/api/show", "/model/info")
    assert await sent(sidecar, upstream) == 201
    assert len(asked_of(upstream)) == 5  # not again for a while


async def test_no_request_waits_for_a_list_nor_does_the_end(start: Start, upstream: Upstream):
    sidecar = await start(trim=ASKING, timeouts={"shutdown": 5})
    tells(upstream, models=waits(asyncio.Event(), sends(NONE)))
    assert await sent(sidecar, upstream) == 201
    assert await sent(sidecar, upstream) == 201
    assert asked_of(upstream) == ["/v1/models"]
    # The fixture ends the sidecar now, and the test's own limit of time tells if that hangs.


async def test_the_list_is_asked_for_again_when_it_is_old(start: Start, upstream: Upstream):
    sidecar = await start(trim={"window_refresh": 0.1})
    tells(upstream, models=b'{"data":[{"id":"m","max_model_len":8000}]}')
    await sent(sidecar, upstream)
    await listed(upstream, "/v1/models")
    await asyncio.sleep(0.1)
    tells(upstream, models=b'{"data":[{"id":"m","max_model_len":2000}]}')
    await sent(sidecar, upstream)
    await listed(upstream, "/v1/models", "/v1/models")
    assert await sent(sidecar, upstream) < 20


async def test_what_a_refusal_teaches_wins_over_a_list_that_says_more(start: Start, upstream: Upstream):
    sidecar = await start(trim=ASKING)
    tells(upstream, models=b'{"data":[{"id":"m","max_model_len":32000}]}')
    await sent(sidecar, upstream)
    await listed(upstream, "/v1/models")
    error = {"type": "exceed_context_size_error", "n_prompt_tokens": 20000, "n_ctx": 4000}
    upstream.will(sends(json.dumps({"error": error}).encode(), status=400))
    await sent(sidecar, upstream)
    assert await sent(sidecar, upstream) < 40
    assert await sent(sidecar, upstream, model="n") == 201


async def test_the_room_for_the_answer_is_what_is_asked_for_else_a_share_and_at_most_half(
    start: Start, upstream: Upstream
):
    sidecar = await start(trim={"models": [{"match": "*", "window": 10_000}], "step": 0.01})
    quarter = await sent(sidecar, upstream)
    small = await sent(sidecar, upstream, max_tokens=100)
    half = await sent(sidecar, upstream, max_completion_tokens=9000, max_tokens=5)
    assert await sent(sidecar, upstream, max_tokens=-1) == quarter
    assert await sent(sidecar, upstream, max_tokens="7") == quarter
    assert small > quarter > half
    assert half / small == pytest.approx(5000 / 9900, abs=0.05)
    assert quarter / small == pytest.approx(7500 / 9900, abs=0.05)


async def test_a_little_more_for_the_answer_moves_no_cut(start: Start, upstream: Upstream):
    sidecar = await start(trim={"models": [{"match": "*", "window": 10_000}], "step": 0.01})
    sizes = [await sent(sidecar, upstream, max_tokens=tokens) for tokens in (1260, 1400, 1870, 1880)]
    assert len(set(sizes[:3])) == 1
    assert sizes[3] < sizes[0]


async def test_the_share_can_be_set(start: Start, upstream: Upstream):
    rules = {"models": [{"match": "*", "window": 10_000}], "step": 0.01}
    tenth = await sent(await start(trim={**rules, "answer_share": 0.1}), upstream)
    half = await sent(await start(trim={**rules, "answer_share": 0.5}, store="memory:"), upstream)
    assert half / tenth == pytest.approx(5 / 9, abs=0.05)


async def test_the_first_pattern_that_fits_a_models_name_counts(start: Start, upstream: Upstream):
    rules = [
        {"match": "qwen3:4b", "max_messages": 3},
        {"match": "qwen*", "max_turns": 4},
        {"match": "gpt-?", "max_turns": "none", "max_messages": "none"},
        {"match": "*-mini", "max_input_tokens": 1000},
    ]
    sidecar = await start(trim={"models": rules, "max_turns": 8, "step": 0.01})
    for model, messages in (
        ("qwen3:4b", 3),
        ("qwen3:8b", 7),
        ("gpt-5", 201),
        ("llama", 15),
        ("Qwen3", 15),
    ):
        assert await sent(sidecar, upstream, model=model) == messages
    assert await sent(sidecar, upstream, model="o4-mini") < 12
    assert await sent(sidecar, upstream, model=None) == 15


async def test_a_number_and_none_are_not_auto(start: Start, upstream: Upstream):
    rules = [
        {"match": "a", "window": 2000, "max_input_tokens": "none"},
        {"match": "b", "window": 2000, "max_input_tokens": 5000},
        {"match": "c", "window": 2000},
    ]
    sidecar = await start(trim={"models": rules, "max_input_tokens": "none"})
    assert await sent(sidecar, upstream, model="a") == 201
    assert 20 < await sent(sidecar, upstream, model="b") < 60
    assert await sent(sidecar, upstream, model="c") == 201  # what is not said is as for all


async def test_none_and_a_refusal_heal_and_leave_the_next_request_whole(start: Start, upstream: Upstream):
    sidecar = await start(trim={"max_input_tokens": "none"})
    upstream.will(sends(b'{"error":"prompt is too long"}', status=400))
    assert await sent(sidecar, upstream) < 150
    assert await sent(sidecar, upstream) == 201


REFUSED = b'{"error":{"type":"exceed_context_size_error","n_prompt_tokens":20000,"n_ctx":4000}}'


async def test_what_a_refusal_taught_is_doubted_after_a_day(
    sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    upstream.will(sends(REFUSED, status=400))
    await sent(sidecar, upstream)
    assert await sent(sidecar, upstream) < 40
    monkeypatch.setattr("sidecar.background.model_windows._LEARNED_TTL", 0.0)
    assert await sent(sidecar, upstream) == 201


async def test_refusals_of_models_without_number_are_not_all_remembered(
    sidecar: Sidecar, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("sidecar.background.known_windows._MAX_LEARNED", 2)
    for model in ("a", "b", "c"):
        upstream.will(sends(REFUSED, status=400))
        await sent(sidecar, upstream, model=model)
    assert [await sent(sidecar, upstream, model=model) < 201 for model in ("a", "b", "c")] == [
        False,
        True,
        True,
    ]
