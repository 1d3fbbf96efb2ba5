"""An upstream that cuts prompts without saying so: the client is told, or spared if that is wanted."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

import pytest

from sidecar.store import make_store
from tests.proxy.client import Sidecar, settled
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Answer, Exchange, Upstream, completion, sends
from tests.proxy.path.test_calibration import counts, tells, words

WINDOW = 1200
HEADER = "X-Sidecar-Silent-Cut"
KEY = {"Authorization": "Bearer mine"}


def cuts(exchange: Exchange) -> int:
    """What an engine counts that drops the rest, as Ollama does."""
    return min(counts(exchange), WINDOW)


async def taught(sidecar: Sidecar, upstream: Upstream) -> None:
    """The estimate has learned from prompts that fit."""
    upstream.otherwise = tells(cuts)
    for at in range(4):
        await sidecar.ask(words(300 + at), headers={**KEY, "X-Conversation-ID": f"short {at}"})
        await settled()  # what was counted is read a moment later


def long(turns: int = 12) -> list[str]:
    return [text for at in range(turns) for text in (f"q{at} {words(100)}", f"a{at}")][:-1]


@pytest.mark.parametrize("stream", [False, True])
async def test_the_next_response_says_it_with_the_cure(start: Start, upstream: Upstream, stream: bool):
    sidecar = await start()
    await taught(sidecar, upstream)
    about = {**KEY, "X-Conversation-ID": "a"}
    first = await sidecar.ask(*long(), headers=about, stream=stream)
    second = await sidecar.ask(*long(), headers=about, stream=stream)
    assert HEADER not in first.headers  # what was counted is known at the end
    said = second.headers[HEADER]
    assert said.startswith(f"the upstream counted {WINDOW} of some ")
    assert "OLLAMA_CONTEXT_LENGTH" in said
    assert "trim.on_silent_cut" in said
    assert upstream.last.said == long()  # nothing is cut for it
    assert "X-Sidecar-Trimmed" not in second.headers
    assert HEADER not in (await sidecar.ask("hi", headers={**KEY, "X-Conversation-ID": "b"})).headers
    other = {"Authorization": "Bearer another", "X-Conversation-ID": "c"}
    assert HEADER not in (await sidecar.ask(*long(), headers=other)).headers


async def test_once_more_is_counted_nothing_is_said_any_more(start: Start, upstream: Upstream):
    sidecar = await start()
    await taught(sidecar, upstream)
    about = {**KEY, "X-Conversation-ID": "a"}
    await sidecar.ask(*long(), headers=about)
    upstream.otherwise = tells(counts)
    assert HEADER in (await sidecar.ask(*long(), headers=about)).headers
    assert HEADER not in (await sidecar.ask(*long(), headers=about)).headers


async def test_the_next_prompts_are_fitted_to_what_was_counted_if_that_is_wanted(
    start: Start, upstream: Upstream
):
    sidecar = await start(trim={"on_silent_cut": "trim"})
    await taught(sidecar, upstream)
    about = {**KEY, "X-Conversation-ID": "a"}
    await sidecar.ask(*long(), headers=about)
    assert upstream.last.said == long()
    reply = await sidecar.ask(*long(), headers=about)
    assert int(reply.headers["X-Sidecar-Trimmed"]) > 0
    assert counts_of(upstream) < WINDOW
    assert HEADER not in reply.headers
    other = {"Authorization": "Bearer another", "X-Conversation-ID": "c"}
    await sidecar.ask(*long(), headers=other)
    assert upstream.last.said == long()


async def test_a_count_that_is_no_window_fits_nothing(start: Start, upstream: Upstream):
    sidecar = await start(trim={"on_silent_cut": "trim"})
    await taught(sidecar, upstream)
    upstream.otherwise = tells(lambda _exchange: 7)  # as where only what was not cached is counted
    about = {**KEY, "X-Conversation-ID": "a"}
    await sidecar.ask(*long(), headers=about)
    await sidecar.ask(*long(), headers=about)
    assert upstream.last.said == long()


def counts_of(upstream: Upstream) -> int:
    return sum(5 + len(each) // 3 for each in upstream.last.said)


def size(message: dict[str, Any]) -> int:
    content = message["content"]
    text = content if isinstance(content, str) else content[0]["text"]
    return 5 + len(text) // 3


def drops(exchange: Exchange) -> int:
    """What an engine counts that drops whole messages, the oldest first."""
    sizes = list(map(size, exchange.request.json["messages"]))
    while sum(sizes) > WINDOW:
        del sizes[0]
    return sum(sizes)


async def marks(sidecar: Sidecar, id: str) -> list[bool]:
    """Which exchanges of this chat are marked as cut, the oldest first."""
    store = make_store(sidecar.settings.store_path)
    await store.open()
    try:
        about = await store.overview(id)
        assert about is not None
        found = await store.exchanges(about.tenant, about.id)
        return [each.detail.silent_cut for each in reversed(found)]
    finally:
        await store.close()


async def grows(
    sidecar: Sidecar, id: str, *turns: int, before: Sequence[str | dict[str, Any]] = (), **about: Any
) -> list[bool]:
    """Whether the header says of each turn of so many words that its prompt is likely to be cut."""
    said, told = [*before], []
    for at, number in enumerate(turns):
        said.append(f"q{at} {words(number)}")
        reply = await sidecar.ask(*said, headers={**KEY, "X-Conversation-ID": id}, **about)
        told.append(HEADER in reply.headers)
        said.append("so")
    return told


async def test_once_one_was_found_what_is_a_fifth_less_than_estimated_is_marked_as_the_header_says(
    start: Start, upstream: Upstream
):
    sidecar = await start()
    await taught(sidecar, upstream)
    upstream.otherwise = tells(drops)
    # The first is far too small; the next are not by the estimate alone, and have other counts.
    assert await grows(sidecar, "a", 100, 250, 400, 150) == [False, False, False, True]
    assert await marks(sidecar, "a") == [False, False, True, True]
    assert await grows(sidecar, "b", 150, 380, 80) == [False, False, True]
    assert await marks(sidecar, "b") == [False, False, True]
    assert await sidecar.metric("sidecar_silently_cut_total") >= 2
    report = (await sidecar.send("GET", "/-/doctor")).json
    assert report["silently_cut"]["m"]["requests"] == 3
    (found,) = [each for each in report["findings"] if each["code"] == "upstream_cuts_silently"]
    assert found["level"] == "change"
    assert found["found"].startswith("The upstream seems to cut long prompts without a word, for m (")
    assert "3 times" in found["found"]
    assert "OLLAMA_CONTEXT_LENGTH" in found["cure"]
    assert "SIDECAR_TRIM__ON_SILENT_CUT" in found["cure"]


async def test_of_the_newest_requests_only_their_own_cuts_are_told(start: Start, upstream: Upstream):
    sidecar = await start()
    await taught(sidecar, upstream)
    upstream.otherwise = tells(drops)
    await grows(sidecar, "a", 100, 250, 400, 150)

    async def times(query: str) -> int:
        report = (await sidecar.send("GET", f"/-/doctor{query}")).json
        told = any(each["code"] == "upstream_cuts_silently" for each in report["findings"])
        assert told == bool(report["silently_cut"])
        return sum(each["requests"] for each in report["silently_cut"].values())

    assert (await times(""), await times("?last=2"), await times("?last=1")) == (2, 2, 1)
    await grows(sidecar, "b", 10)  # too short to be cut, as what is asked after a cure may be
    assert (await times("?last=2"), await times("?last=1"), await times("")) == (1, 0, 2)


async def test_a_larger_count_near_the_estimate_takes_it_back_from_the_doctor_too(
    start: Start, upstream: Upstream
):
    sidecar = await start()
    await taught(sidecar, upstream)
    upstream.otherwise = tells(drops)
    await grows(sidecar, "a", 100, 250, 400)
    assert (await sidecar.send("GET", "/-/doctor")).json["silently_cut"]
    upstream.otherwise = tells(counts)
    await grows(sidecar, "b", 700)
    assert await marks(sidecar, "b") == [False]
    assert (await sidecar.send("GET", "/-/doctor")).json["silently_cut"] == {}


async def test_what_is_cut_is_not_learned_from(start: Start, upstream: Upstream):
    sidecar = await start()
    await taught(sidecar, upstream)
    upstream.otherwise = tells(drops)
    await grows(sidecar, "a", 100, 250, 400)
    for at in range(20):  # more than make it believe in another model
        await sidecar.ask(words(150), "so", words(500), headers={**KEY, "X-Conversation-ID": f"b{at}"})
        await asyncio.sleep(0.06)  # until it would have been read
    assert [await marks(sidecar, f"b{at}") for at in range(20)] == [[True]] * 20


TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object"}}}]
PICTURE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
THOUGHT = {"role": "assistant", "content": "so", "reasoning_content": "hm"}


@pytest.mark.parametrize(
    ("about", "is_cut"),
    [
        ({}, True),
        ({"before": ["hi", "I think a < b"]}, True),
        ({"before": ["hi", THOUGHT]}, False),
        ({"before": ["hi", "<think>hm</think>so"]}, False),
        ({"before": [{"role": "user", "content": [{"type": "text", "text": "hi"}, PICTURE]}, "so"]}, False),
        ({"tools": TOOLS}, False),
    ],
)
async def test_a_prompt_that_goes_on_and_counts_fewer_was_cut_unless_something_may_count_less_by_itself(
    start: Start, upstream: Upstream, about: dict[str, Any], is_cut: bool
):
    sidecar = await start()  # of whose model nothing has been learned
    upstream.otherwise = tells(lambda exchange: drops(exchange) // 4)  # only what was not cached
    await grows(sidecar, "b", 300, 215, 110, **about)
    assert await marks(sidecar, "b") == [False] * 3
    upstream.otherwise = tells(drops)
    await grows(sidecar, "a", 300, 215, 110, 20, **about)
    # The last one counts more than the one before it, and fewer than the one before that.
    assert await marks(sidecar, "a") == [False, False, is_cut, is_cut]


@pytest.mark.parametrize(("second", "is_cut"), [("one", True), ("two", False)])
async def test_another_model_that_answers_under_one_name_counts_otherwise(
    start: Start, upstream: Upstream, second: str, is_cut: bool
):
    def answers(model: str, tokens: int) -> Answer:
        usage = {"prompt_tokens": tokens, "completion_tokens": 1}
        return sends(json.dumps({**json.loads(completion("so")), "model": model, "usage": usage}).encode())

    sidecar = await start()
    upstream.will(answers("one", 1500), answers(second, 1200))
    await grows(sidecar, "a", 750, 20)
    assert await marks(sidecar, "a") == [False, is_cut]


async def test_the_most_that_was_counted_of_a_cut_prompt_is_what_it_is_known_to_hold(
    start: Start, upstream: Upstream
):
    sidecar = await start()
    await taught(sidecar, upstream)
    upstream.otherwise = tells(drops)
    await grows(sidecar, "a", 100, 250, 400, 150, 50)  # the last one counts fewest
    assert await grows(sidecar, "b", 400) == [False]
    assert await marks(sidecar, "a") == [False, False, True, True, True]
