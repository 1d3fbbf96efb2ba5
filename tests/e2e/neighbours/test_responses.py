"""Libraries that speak Responses, in front of an upstream that speaks chat completions alone."""

from __future__ import annotations

import json

import pytest

from tests.e2e.neighbours.libraries import Front, Libraries, say
from tests.e2e.neighbours.test_clients import OSLO, ROME, STEPS, TOLD, TOLD_WITHOUT_TOOLS, TREE, script, told
from tests.e2e.stored import exported, tree
from tests.proxy.mock_upstream import Upstream, sends

NAMES = (
    "responses_openai.py",
    "responses_connect.py",
    "responses_langchain.py",
    "responses_node.mjs",
    "responses_ai_sdk.mjs",
)
every_library = pytest.mark.parametrize("library", NAMES)
ANSWERS = ["Hello Ada.", "Warm.", "Warm too.", "You are Ada."]


@every_library
async def test_a_client_that_sends_everything_has_its_chat(
    library: str, front: Front, upstream: Upstream, libraries: Libraries
):
    script(upstream)
    answers = await libraries.converse(library, front.base_url, *STEPS, headers={"X-Conversation-ID": "ada"})
    assert [each["text"] for each in answers] == ANSWERS
    assert [json.loads(each) if isinstance(each, str) else each for each in answers[1]["called"]] == [
        json.loads(ROME)
    ]
    assert [json.loads(each) if isinstance(each, str) else each for each in answers[2]["called"]] == [
        json.loads(OSLO)
    ]
    assert told(upstream.last) == TOLD
    assert tree(await front.only()) == TREE


@every_library
async def test_a_client_may_send_what_is_new_alone(
    library: str, front: Front, upstream: Upstream, libraries: Libraries
):
    script(upstream)
    answers = await libraries.converse(library, front.base_url, *STEPS, thin=True)
    assert [each["text"] for each in answers] == ANSWERS
    if library == "responses_connect.py":  # it sends `store: false`, and the connection holds it
        assert told(upstream.last) == TOLD
        assert await exported(front.store) == []
    else:
        assert told(upstream.last) == TOLD_WITHOUT_TOOLS
        assert tree(await front.only()) == TREE


@every_library
async def test_a_refusal_is_the_librarys_own_error(
    library: str, front: Front, upstream: Upstream, libraries: Libraries
):
    upstream.will(sends(b'{"error":{"message":"no more","type":"t","code":"c"}}', status=429))
    (answer,) = await libraries.converse(library, front.base_url, say("hi", stream=True))
    assert answer["error"]["status"] == 429
    assert "no more" in answer["error"]["message"]
