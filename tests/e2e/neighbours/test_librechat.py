"""LibreChat: its own library for runs and titles, with the headers that its server makes of the templates."""

from __future__ import annotations

import json

import pytest

from tests.e2e.neighbours.libraries import Front, Libraries
from tests.e2e.neighbours.test_clients import told
from tests.e2e.stored import exported, tree
from tests.proxy.mock_upstream import Upstream, says

CHAT = "0b6d3c3e-2f0c-4f7e-9d5e-0a4a4b1d7c11"
#: What the templates of the guide become. A new chat has its id before its first request.
NAMED = {"X-Conversation-ID": CHAT, "X-User-ID": "65f0c0ffee", "X-Message-ID": "answer-1"}


async def test_a_chat_is_one_and_goes_on(libraries: Libraries, front: Front, upstream: Upstream):
    upstream.will(says("Hello Ada."), says("You are Ada."))
    chat = {"headers": NAMED, "say": ["I am Ada.", "Who am I?"], "title": None}
    got = await libraries.run("librechat.mjs", {"base_url": front.base_url, "chats": [chat]})
    assert [each["text"] for each in got] == ["Hello Ada.", "You are Ada."]
    assert told(upstream.last) == ["user: I am Ada.", "assistant: Hello Ada.", "user: Who am I?"]
    stored = await front.only()
    assert stored["conversation"]["key"] == CHAT
    assert tree(stored) == ["I am Ada.", "Hello Ada.", "Who am I?", "You are Ada."]


@pytest.mark.parametrize(
    ("method", "answer"),
    [("completion", "A Title"), ("structured", '{"language": "English", "title": "A Title"}')],
)
async def test_the_title_is_a_task_and_leaves_no_trace(
    libraries: Libraries, front: Front, upstream: Upstream, method: str, answer: str
):
    upstream.will(says("Hello Ada."), says(answer))
    chat = {"headers": NAMED, "say": ["I am Ada."], "title": method}
    (got,) = await libraries.run("librechat.mjs", {"base_url": front.base_url, "chats": [chat]})
    assert got == {"text": "Hello Ada.", "title": "A Title"}
    assert "X-Conversation-ID" not in upstream.last.headers
    assert tree(await front.only()) == ["I am Ada.", "Hello Ada."]


async def test_requests_for_which_it_fills_in_no_id_share_no_conversation(
    libraries: Libraries, front: Front, upstream: Upstream
):
    # Its memory agent is given the user and not the chat: the template stays as it stands in librechat.yaml.
    unfilled = {**NAMED, "X-Conversation-ID": "{{LIBRECHAT_BODY_CONVERSATIONID}}", "X-Message-ID": ""}
    chats = [{"headers": unfilled, "say": [text], "title": None} for text in ("Hers.", "His.")]
    await libraries.run("librechat.mjs", {"base_url": front.base_url, "chats": chats})
    assert told(upstream.last) == ["user: His."]
    assert len({each.headers["X-Conversation-ID"] for each in upstream.requests}) == 2
    assert [tree(each) for each in await exported(front.store)] == [["Hers.", "ok"], ["His.", "ok"]]
    assert "LIBRECHAT" not in json.dumps([dict(each.headers) for each in upstream.requests])
