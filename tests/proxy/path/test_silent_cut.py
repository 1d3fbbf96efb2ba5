"""An upstream that cuts prompts without saying so: the client is told, or spared if that is wanted."""

from __future__ import annotations

import pytest

from tests.proxy.client import Sidecar, settled
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream
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
