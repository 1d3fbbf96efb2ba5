"""What the upstream counts is learned, model by model, kept, and never at the cost of a reply."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest

from sidecar.background.calibration import TokenCalibration
from sidecar.conversation.measure import Measure, measure, total
from sidecar.conversation.tree import Chain
from sidecar.errors import StoreUnavailable
from sidecar.metrics import Metrics
from sidecar.prompt.calibration import START, Learning
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.weights import DEFAULT_WEIGHTS, NEUTRAL, Weights
from sidecar.store import MemoryStore, make_store
from tests.proxy.client import Sidecar, chat
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import (
    DONE,
    Answer,
    Exchange,
    Upstream,
    completion,
    event,
    says,
    sends,
    streams,
)

PROMPT = Measure(messages=20, lower=16_000)
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]


def counts(exchange: Exchange) -> int:
    """A tokenizer: three letters each, and five for a message."""
    messages = exchange.request.json["messages"]
    return sum(5 + len(each["content"]) // 3 for each in messages)


def tells(count: Callable[[Exchange], Any] = counts, **usage: Any) -> Answer:
    """A reply with its usage."""

    async def answer(exchange: Exchange) -> None:
        told = {"prompt_tokens": count(exchange), "completion_tokens": 1, **usage}
        if exchange.request.wants_stream:
            end = {"object": "chat.completion.chunk", "choices": [], "usage": told}
            last = b"data: " + json.dumps(end).encode() + b"\n\n"
            await streams(event({"content": "so"}, finish="stop"), last, DONE)(exchange)
        else:
            await sends(json.dumps({**json.loads(completion("so")), "usage": told}).encode())(exchange)

    return answer


def words(count: int) -> str:
    return "abcde " * count


async def kept(sidecar: Sidecar) -> dict[str, bytes]:
    store = make_store(sidecar.settings.store_path)
    await store.open()
    try:
        return await store.load_learned()
    finally:
        await store.close()


async def learned_of(sidecar: Sidecar, model: str, reports: int) -> Weights:
    """The model's weights, as soon as so many reports were learned from and kept."""
    async with asyncio.timeout(5):
        while True:
            value = (await kept(sidecar)).get(f"tokens:{model}")
            state = Learning.decoded(value) if value else START
            assert state is not None
            if state.reports >= reports:
                return state.weights
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stream", [False, True])
async def test_a_reply_with_its_usage_teaches(start: Start, upstream: Upstream, stream: bool):
    upstream.otherwise = tells()
    sidecar = await start()
    await sidecar.ask(words(300), "so", words(100), id="a", stream=stream)

    weights = await learned_of(sidecar, "m", 1)

    sent = total(measure(json.dumps(each).encode()) for each in chat(words(300), "so", words(100)))
    assert weights.tokens(sent) == pytest.approx(815, rel=0.1)
    assert DEFAULT_WEIGHTS.tokens(sent) < 600


async def test_system_messages_and_what_was_restored_and_tools_count(start: Start, upstream: Upstream):
    seen: list[Measure] = []
    sidecar = await start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(
            TokenCalibration, "observe", lambda _self, _model, prompt, _tokens: seen.append(prompt)
        )
        upstream.will(tells(), tells())
        await sidecar.ask(
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": "q1"}, id="a"
        )
        await sidecar.ask("q2", id="a", tools=TOOLS)
        async with asyncio.timeout(5):
            while len(seen) < 2:
                await asyncio.sleep(0.01)

    assert [each.messages for each in seen] == [2, len(upstream.last.json["messages"])]
    assert seen[0].tools == 0
    assert seen[1].tools == len(json.dumps(TOOLS, separators=(",", ":")))


@pytest.mark.parametrize(
    "answer",
    [
        says("so"),
        tells(prompt_tokens=None),
        tells(prompt_tokens="815"),
        tells(prompt_tokens=True),
        tells(prompt_tokens=0),
        streams(
            event({"content": "so"}), b'data: {"error":{"message":"no"},"usage":{"prompt_tokens":9}}\n\n'
        ),
    ],
)
async def test_what_tells_no_count_teaches_nothing(start: Start, upstream: Upstream, answer: Answer):
    sidecar = await start()
    upstream.will(answer)
    await sidecar.ask(words(300), id="a", stream=True)
    upstream.will(tells())
    await sidecar.ask(words(300), id="b", model="other")
    await learned_of(sidecar, "other", 1)

    assert list(await kept(sidecar)) == ["tokens:other"]


async def test_usage_that_is_no_object_teaches_nothing(start: Start, upstream: Upstream):
    sidecar = await start()
    upstream.will(sends(json.dumps({**json.loads(completion("so")), "usage": 7}).encode()), tells())
    await sidecar.ask(words(300), id="a")
    await sidecar.ask(words(300), id="b", model="other")
    await learned_of(sidecar, "other", 1)

    assert list(await kept(sidecar)) == ["tokens:other"]


async def test_a_task_teaches_nothing(start: Start, upstream: Upstream):
    upstream.otherwise = tells()
    sidecar = await start()
    await sidecar.ask(words(300), id="a", headers={"X-Task": "title_generation"})
    await sidecar.ask(words(300), id="b", model="other")
    await learned_of(sidecar, "other", 1)

    assert "tokens:m" not in await kept(sidecar)


async def test_what_was_learned_is_there_after_a_restart():
    store = MemoryStore()
    first = Services(store)
    first.learned.observe("m", PROMPT, 3000)
    await first.end()
    second = Services(store)
    await store.save_learned("window:m", b"8192")
    await store.save_learned("tokens:odd", b"{}")
    await second.learned.load()

    assert second.learned.weights("m").values == pytest.approx(first.learned.weights("m").values, rel=1e-4)
    assert second.learned.weights("odd") == second.learned.weights(None) == DEFAULT_WEIGHTS


class Services:
    """What `Learned` needs of the proxy's."""

    def __init__(self, store: MemoryStore) -> None:
        self.store = store
        self.metrics = Metrics()
        self.failures: list[str] = []
        self.tasks: set[asyncio.Task[None]] = set()
        self.learned = TokenCalibration(store, self.metrics, self.spawn, self.failed)

    def spawn(self, work: Any) -> asyncio.Task[None]:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)
        return task

    def failed(self, step: str, error: Exception) -> None:
        self.failures.append(f"{step}: {error}")

    async def end(self) -> None:
        self.learned.stop()
        async with asyncio.timeout(2):
            await asyncio.gather(*self.tasks)


class Writes(MemoryStore):
    """Counts, and fails when told to."""

    def __init__(self) -> None:
        super().__init__()
        self.written: list[str] = []
        self.fails = False

    async def save_learned(self, name: str, value: bytes) -> None:
        if self.fails:
            raise StoreUnavailable("no room")
        self.written.append(name)
        await super().save_learned(name, value)


async def test_it_is_written_once_in_a_while_and_at_the_end():
    store = Writes()
    context = Services(store)
    for _ in range(5):
        context.learned.observe("m", PROMPT, 2500)
        await asyncio.sleep(0.01)
    assert store.written == ["tokens:m"]

    await context.end()

    assert store.written == ["tokens:m", "tokens:m"]
    state = Learning.decoded((await store.load_learned())["tokens:m"])
    assert state is not None
    assert state.reports == 5


async def test_a_store_that_fails_is_tried_again_at_the_next_report():
    store = Writes()
    store.fails = True
    context = Services(store)
    context.learned.observe("m", PROMPT, 2500)
    await context.end()
    [failure] = context.failures
    assert failure.startswith("write: ")
    assert "no room" in failure

    store.fails = False
    context.learned.observe("n", PROMPT, 2500)
    await context.end()
    assert store.written == ["tokens:m", "tokens:n"]


async def test_what_is_not_learned_is_not_written_either():
    store = Writes()
    context = Services(store)
    context.learned.observe("m", PROMPT, 100_000)
    await context.end()

    assert store.written == []


async def test_a_model_that_counts_otherwise_from_now_on_is_learned_anew(caplog):
    caplog.set_level("INFO", "sidecar.proxy")
    context = Services(MemoryStore())
    prompts = [scaled(PROMPT, 1 + at / 10) for at in range(9)]
    for each in prompts * 2:  # by a tokenizer that makes twice as many
        context.learned.observe("m", each, 2 * NEUTRAL.tokens(each))
    assert context.learned.weights("m").tokens(PROMPT) == pytest.approx(2 * NEUTRAL.tokens(PROMPT), rel=0.03)
    for each in prompts * 3:
        context.learned.observe("m", each, NEUTRAL.tokens(each))
    assert context.learned.weights("m").tokens(PROMPT) == pytest.approx(NEUTRAL.tokens(PROMPT), rel=0.03)
    assert caplog.messages.count("a model counts otherwise than before, and is learned anew") == 1
    context.learned.stop()


def scaled(measure: Measure, factor: float) -> Measure:
    return Measure(*(int(each * factor) for each in measure))


async def test_models_without_end_do_not_fill_the_memory():
    context = Services(MemoryStore())
    context.learned.stop()
    for number in range(510):
        context.learned.observe(f"m{number}", PROMPT, 2500)
    await context.end()

    assert context.learned.weights("m0") == context.learned.weights("m9") == DEFAULT_WEIGHTS
    assert context.learned.weights("m10") != DEFAULT_WEIGHTS


async def test_of_a_model_that_is_known_well_one_report_a_second_is_read():
    context = Services(MemoryStore())
    message = Outgoing("user", json.dumps({"role": "user", "content": words(300)}).encode())
    for _ in range(60):
        context.learned.observe("known", message.measure, 500)
    for model in ("known", "new"):
        for _ in range(9):
            context.learned.report(model, [message], b"", 500, 2000)
    await context.end()

    assert await reports(context, "known") == 61
    assert await reports(context, "new") == 9


async def test_of_reports_that_wait_the_newest_are_read_within_a_bound_of_bytes():
    context = Services(MemoryStore())
    message = Outgoing("user", json.dumps({"role": "user", "content": words(300)}).encode())
    for number in range(20):
        context.learned.report(f"m{number}", [message], b"", 500, 8 << 20)
    await context.end()
    assert list(await context.store.load_learned()) == [f"tokens:m{number}" for number in range(16, 20)]

    context.learned.report("small", [message], b"", 500, 2000)
    context.learned.report("large", [message], b"", 500, 64 << 20)
    await context.end()
    assert "tokens:large" in await context.store.load_learned()
    assert "tokens:small" not in await context.store.load_learned()


async def reports(context: Services, model: str) -> int:
    state = Learning.decoded((await context.store.load_learned())[f"tokens:{model}"])
    assert state is not None
    return state.reports


async def test_a_refusals_count_raises_an_estimate_and_never_lowers_it():
    context = Services(MemoryStore())
    before = context.learned.weights("m").tokens(PROMPT)
    context.learned.refused("m", PROMPT, before - 1)
    context.learned.refused("m" * 300, PROMPT, 3 * before)
    assert context.learned.weights("m") == context.learned.weights("m" * 300) == DEFAULT_WEIGHTS
    context.learned.refused("m", PROMPT, 3 * before)
    assert context.learned.weights("m").tokens(PROMPT) == pytest.approx(3 * before, rel=0.1)
    await context.end()


async def test_a_name_too_long_for_a_model_is_not_kept():
    context = Services(MemoryStore())
    message = Outgoing("user", b'{"role":"user","content":"hi"}')
    context.learned.report("m" * 300, [message], b"", 9, 2000)

    assert context.tasks == set()


async def test_a_message_is_measured_after_the_report_and_not_for_it():
    context = Services(MemoryStore())
    message = Chain(b"t" * 16).message(b'{"role":"user","content":"hello there"}')
    context.learned.report(None, [Outgoing("user", message.raw, message=message)], b"", 9, 2000)
    assert context.learned.weights(None) == DEFAULT_WEIGHTS

    await asyncio.sleep(0)
    await context.end()

    assert context.learned.weights(None) != DEFAULT_WEIGHTS


class TestSilentCuts:
    def cut(self, context: Services) -> float:
        line = next(
            (each for each in context.metrics.text().decode().splitlines() if each.startswith(_CUT)), "0"
        )
        return float(line.split()[-1])

    async def test_a_prompt_that_counts_far_too_little_is_said_once_an_hour_and_not_learned(
        self, caplog: pytest.LogCaptureFixture
    ):
        context = Services(MemoryStore())
        for _ in range(5):
            context.learned.observe("m", PROMPT, 2500)
        before = context.learned.weights("m")
        with caplog.at_level(logging.WARNING):
            for _ in range(3):
                context.learned.observe("m", PROMPT, 1200)
        await context.end()

        assert context.learned.weights("m") == before
        assert self.cut(context) == 3
        (line,) = caplog.records
        assert "num_ctx" in line.getMessage()
        assert "trim.max_input_tokens" in line.getMessage()
        about = vars(line)
        assert (about["model"], about["counted"]) == ("m", 1200)
        assert about["estimated"] == pytest.approx(2500, rel=0.02)

    async def test_a_ceiling_under_growing_prompts_is_said_and_not_learned(self):
        context = Services(MemoryStore())
        for grown in range(10):
            prompt = Measure(messages=20, lower=16_000 + grown * 800)
            context.learned.observe("m", prompt, min(2048, 1900 + grown * 100))
        await context.end()

        assert self.cut(context) == 6
        assert context.learned.weights("m").tokens(Measure(messages=20, lower=32_000)) > 3400

    async def test_as_much_as_was_expected_is_no_cut(self):
        context = Services(MemoryStore())
        for grown in range(20):
            context.learned.observe("m", Measure(messages=20, lower=8000 * (grown + 1)), 1200 * (grown + 1))
        await context.end()

        assert self.cut(context) == 0


_CUT = "sidecar_silently_cut_total "
