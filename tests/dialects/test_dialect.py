"""The seam behind which an API stands: each question is answered by the room that knows."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.dialects.base import FormRefusal, Overflow
from sidecar.dialects.chat.dialect import CHAT
from sidecar.dialects.served import DIALECTS, dialect_of
from sidecar.prompt.weights import estimate
from tests.conversation.build import CHAIN, message, request, says, user

ANSWER = b'{"choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}]}'


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/chat/completions", "/openai/v1/chat/completions"])
def test_a_path_belongs_to_the_api_whose_path_it_ends_with(path):
    assert dialect_of(path) is CHAT


@pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings", "/", "/v1/chat/completions/x"])
def test_any_other_path_belongs_to_none(path):
    assert dialect_of(path) is None


def test_each_api_has_a_path_of_its_own():
    assert len({each.path for each in DIALECTS}) == len(DIALECTS)


def whole(steps):
    """What a generator returns at its end."""
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


class TestChatCompletions:
    def test_a_request_is_read_with_the_help_of_the_one_before(self):
        body = json.dumps({"model": "m", "messages": [user("hi"), says("yes"), user("go on")]}).encode()
        before = request(user("hi"), model="m")
        read = whole(CHAT.parse(body, CHAIN, before, 10))
        assert (read.model, len(read.path)) == ("m", 3)
        assert read.path.hashes == whole(CHAT.parse(body, CHAIN, None, 10)).path.hashes

    def test_a_request_of_another_api_is_no_help(self):
        body = json.dumps({"model": "m", "messages": [user("hi")]}).encode()

        class Other:
            body = b""

        other: Any = Other()
        assert len(whole(CHAT.parse(body, CHAIN, other, 10)).path) == 1

    @pytest.mark.parametrize("messages", [40, 4_000])
    def test_a_large_request_is_read_in_steps_of_a_few_milliseconds(self, messages):
        said = [user("x" * (8_000_000 // messages)) for _ in range(messages)]
        body = json.dumps({"model": "m", "messages": said}).encode()
        steps = list(CHAT.parse(body, CHAIN, None, 20_000))
        assert len(steps) >= 10
        before = whole(CHAT.parse(body, CHAIN, None, 20_000))
        longer = body[:-2] + b"," + json.dumps(user("y")).encode() + b"]}"
        assert len(list(CHAT.parse(longer, CHAIN, before, 20_000))) <= 1, "what is known is not read again"
        assert len(before.path) == messages

    def test_a_task_is_known_and_shortened(self):
        lines = "\n".join(f"USER: line {at}" for at in range(200))
        asked = request(user(f"### Task:\nName it.\n<chat_history>\n{lines}\n</chat_history>"))
        assert CHAT.is_task("title", asked, ())
        assert not CHAT.is_task(None, asked, ())
        shorter = CHAT.shorter_task(asked, 100, estimate)
        assert shorter is not None
        assert sum(map(estimate, shorter)) <= 100

    def test_a_stream_begins_with_an_error_or_an_answer(self):
        assert CHAT.opening().feed(b'data: {"error":{"message":"no"}}\n\n') == "error"
        assert CHAT.opening().feed(b"data: " + ANSWER + b"\n\n") == "answer"

    def test_the_end_of_a_stream_is_held_back(self):
        for end in (CHAT.end(streamed=True), CHAT.end(streamed=False)):
            assert end.feed(b'data: {"x":1}\n\ndata: [DONE]\n\n') == b'data: {"x":1}\n\n'
            assert (end.done, end.held) == (True, b"data: [DONE]\n\n")

    def test_a_long_stream_is_kept_in_fewer_bytes_and_says_the_same(self):
        piece = b'data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
        kept = CHAT.compacted(piece * 50)
        assert len(kept) < len(piece) * 10
        assert CHAT.assembled(kept, 1).replies == CHAT.assembled(piece * 50, 1).replies

    def test_a_reply_is_assembled(self):
        (reply,) = CHAT.assembled(ANSWER, 1).replies
        assert json.loads(reply.message) == says("hi")

    def test_a_refusal_is_about_the_length_or_the_form(self):
        too_long = (
            b'{"error":{"code":"context_length_exceeded","message":"maximum context length is 4096 tokens"}}'
        )
        assert CHAT.overflow(400, too_long, b"") == Overflow(4096)
        assert CHAT.form_refusal(400, too_long) is None
        form = (
            b'{"error":{"message":"Unknown parameter: \'reasoning_content\'","type":"invalid_request_error"}}'
        )
        assert CHAT.overflow(400, form, b"") is None
        assert isinstance(CHAT.form_refusal(400, form), FormRefusal)


class TestPrefill:
    @pytest.mark.parametrize(
        ("before", "reply", "joined"),
        [
            ("Once", " upon a time", "Once upon a time"),
            ("Once", "Once upon a time", "Once upon a time"),  # Mistral, vLLM with `echo`
            ("Once ", "\nOnce upon a time", "\nOnce upon a time"),
            ("Once", None, "Once"),
            ("", "upon a time", "upon a time"),
        ],
    )
    def test_a_reply_goes_on_from_it(self, before, reply, joined):
        whole = CHAT.extended(message(says(before, prefix=True)), json.dumps(says(reply)).encode())
        assert json.loads(whole) == says(joined)
