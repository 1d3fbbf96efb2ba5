"""The estimate learns with every reply, and yet a long chat's prompt goes on where the last one ended."""

from __future__ import annotations

from itertools import pairwise

import pytest

from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream
from tests.proxy.path.test_calibration import counts, tells, words

TURNS = 60


def unsteady(exchange: Exchange) -> int:
    """Counts that go up and down by a twentieth, as other tokens in other turns make them."""
    return round(counts(exchange) * (1 + 0.05 * (len(exchange.request.json["messages"]) % 3 - 1)))


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_between_two_steps_only_the_end_of_the_prompt_changes(
    start: Start, upstream: Upstream, elsewhere: bool
):
    upstream.otherwise = tells(unsteady)
    settings = {"trim": {"max_input_tokens": 1500}, "history": {"mode": "append"}}
    sidecar = await start(**settings)
    for turn in range(TURNS):
        await sidecar.ask(f"question {turn} {words(18)}", id="a")
        if elsewhere and turn % 7 == 6:  # a sidecar that knows only what is stored
            sidecar = await start(**settings)
    prompts = [each.said for each in upstream.requests]
    moved = sum(one != other[: len(one)] for one, other in pairwise(prompts))
    dropped = 2 * TURNS - 1 - len(prompts[-1])
    # A turn has some 60 tokens, so a step of half the budget is a dozen turns.
    assert dropped > 60
    assert moved <= 6
