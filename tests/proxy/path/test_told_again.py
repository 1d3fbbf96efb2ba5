"""Results that come with what led to their calls: clients tell some of it again, and it stands once."""

from __future__ import annotations

from typing import Any

import pytest

from tests.dialects.responses import call, chunk, output, piece, said, streamed
from tests.proxy.client import Reply, Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says, streams
from tests.proxy.path.test_responses import SHELL, TRANSLATED, ask, last

FIRST, SECOND = '{"a":  1}', '{"a":  2}'
ASKED = said("user", "Look.")


@pytest.fixture
async def sidecar(start: Start, upstream: Upstream) -> Sidecar:
    """Which says hello, calls a tool twice, each time behind some words, and then answers."""
    upstream.will(says("Hello."))
    for id, arguments in (("c1", FIRST), ("c2", SECOND)):
        words = chunk({"reasoning_content": "Hm.", "content": "Let me see."})
        upstream.will(streams(streamed(words, chunk(piece(0, id, "shell", arguments)), chunk(finish="stop"))))
    upstream.will(says("Done."), says("Yes."))
    return await start(responses=TRANSLATED)


def steps(id: str, arguments: str, result: str) -> list[dict[str, Any]]:
    """A call as clients spell it, with the words before it, and its result."""
    return [said("assistant", "Let me see."), call(id, "shell", arguments), output(id, result)]


async def look(sidecar: Sidecar, way: str) -> Reply:
    """A turn of two calls as this client asks it; returns what the answer came with."""
    first = last(await ask(sidecar, "hi", stream=True))

    async def next(items: list[Any], behind: dict[str, Any]) -> dict[str, Any]:
        asked = {"conversation": conversation} if way == "a conversation, with the question" else behind
        return last(await ask(sidecar, items, tools=[SHELL], stream=True, **asked))

    conversation = (await sidecar.only()).conversation["id"]
    one, two = steps("c1", '{"a": 1}', "one"), steps("c2", '{"a": 2}', "two")
    before = {"previous_response_id": first["id"]}
    called = await next([ASKED], before)
    if way == "the response before, with the calls":  # Open WebUI
        called = await next(one, {"previous_response_id": called["id"]})
        answer = await next(two, {"previous_response_id": called["id"]})
    elif way == "the response before, with the whole turn":
        called = await next(one, {"previous_response_id": called["id"]})
        answer = await next([ASKED, *one, *two], {"previous_response_id": called["id"]})
    elif way == "the response before the turn":  # the AI SDK
        await next([ASKED, *one], before)
        answer = await next([ASKED, *one, *two], before)
    else:  # the AI SDK
        await next([ASKED, one[-1]], before)
        answer = await next([ASKED, one[-1], two[-1]], before)
    return await ask(sidecar, "Sure?", previous_response_id=answer["id"], tools=[SHELL])


@pytest.mark.parametrize(
    "way",
    [
        "the response before, with the calls",
        "the response before, with the whole turn",
        "the response before the turn",
        "a conversation, with the question",
    ],
)
async def test_it_stands_once_and_goes_up_again_as_it_was_produced(
    sidecar: Sidecar, upstream: Upstream, way: str
):
    reply = await look(sidecar, way)
    assert reply.status == 200
    told = ["hi", "Hello.", "Look.", "Let me see.", "one", "Let me see.", "two", "Done.", "Sure?"]
    answered, sure = (each.json["messages"] for each in upstream.requests[-2:])
    assert [each["content"] for each in answered] == told[:-2]
    assert [each["content"] for each in sure] == told
    made = [each for each in answered if each.get("tool_calls")]
    assert [each["tool_calls"][0]["function"]["arguments"] for each in made] == [FIRST, SECOND]
    assert [each["reasoning_content"] for each in made] == ["Hm."] * 2
    assert (await sidecar.only()).branches == [[*told, "Yes."]]


async def test_an_answer_that_is_told_again_meets_itself_and_one_that_was_not_given_is_a_branch(
    start: Start, upstream: Upstream
):
    upstream.will(says("Hello."), says("It is."), says("Indeed."))
    sidecar = await start(responses=TRANSLATED)
    first = (await ask(sidecar, "hi")).json
    await ask(sidecar, "Is it?", previous_response_id=first["id"])
    asked = [said("user", "Is it?"), said("assistant", "It is."), said("user", "Really?")]
    await ask(sidecar, asked, previous_response_id=first["id"])
    assert upstream.last.said == ["hi", "Hello.", "Is it?", "It is.", "Really?"]
    asked[1] = said("assistant", "It is not.")
    await ask(sidecar, asked, previous_response_id=first["id"])
    assert upstream.last.said == ["hi", "Hello.", "Is it?", "It is not.", "Really?"]
    assert (await sidecar.only()).branches == [
        ["hi", "Hello.", "Is it?", "It is.", "Really?", "Indeed."],
        ["hi", "Hello.", "Is it?", "It is not.", "Really?", "ok"],
    ]
