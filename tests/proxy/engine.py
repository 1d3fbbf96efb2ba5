"""An upstream with a window: it counts tokens in a way of its own, and refuses in some engine's words."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.proxy.mock_upstream import EVENTS, JSON, Answer, Exchange, completion, event, says, sends, streams

_TEXT = "the river carried old letters past a quiet mill where nobody counted hours " * 6


def turns(count: int, size: int = 200) -> list[str]:
    """So many questions, each but the last with its answer, of so many characters each."""
    begun = (text for at in range(1, count + 1) for text in (f"q{at} ", f"a{at} "))
    return [text + _TEXT[: size - len(text)] for text in begun][:-1]


Words = Callable[[int, int, int], tuple[int, Any]]


def llama(window: int, sent: int, _answer: int) -> tuple[int, Any]:
    message = (
        f"request ({sent} tokens) exceeds the available context size ({window} tokens), try increasing it"
    )
    error = {"code": 400, "message": message, "type": "exceed_context_size_error"}
    return 400, {"error": {**error, "n_prompt_tokens": sent, "n_ctx": window}}


def vllm(window: int, sent: int, answer: int) -> tuple[int, Any]:
    message = (
        f"This model's maximum context length is {window} tokens. However, you requested {sent + answer}"
        f" tokens ({sent} in the messages, {answer} in the completion). Please reduce the length of the"
        " messages or completion."
    )
    return 400, {"object": "error", "message": message, "type": "BadRequestError", "param": None, "code": 400}


def vllm_at_least(window: int, sent: int, answer: int) -> tuple[int, Any]:
    message = (
        f"You passed {window - answer + 1} input tokens and requested {answer} output tokens. However, the"
        f" model's context length is only {window} tokens, resulting in a maximum input length of"
        f" {window - answer} tokens."
    )
    return 400, {
        "error": {"message": message, "type": "BadRequestError", "param": "input_tokens", "code": 400}
    }


def openai(window: int, sent: int, _answer: int) -> tuple[int, Any]:
    message = (
        f"This model's maximum context length is {window} tokens. However, your messages resulted in {sent}"
        " tokens. Please reduce the length of the messages."
    )
    kind = {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    return 400, {"error": {"message": message, **kind}}


def groq(_window: int, _sent: int, _answer: int) -> tuple[int, Any]:
    message = "Please reduce the length of the messages or completion."
    kind = {"type": "invalid_request_error", "param": "messages", "code": "context_length_exceeded"}
    return 400, {"error": {"message": message, **kind}}


def ollama(_window: int, _sent: int, _answer: int) -> tuple[int, Any]:
    return 400, {"error": "the input length exceeds the context length"}


def lm_studio(window: int, sent: int, _answer: int) -> tuple[int, Any]:
    message = (
        "The number of tokens to keep from the initial prompt is greater than the context length (n_keep:"
        f" {sent}>= n_ctx: {window}). Try to load the model with a larger context length, or provide a"
        " shorter input."
    )
    return 400, {"error": message}


def litellm(window: int, sent: int, answer: int) -> tuple[int, Any]:
    _, error = vllm(window, sent, answer)
    message = (
        "litellm.ContextWindowExceededError: litellm.BadRequestError: ContextWindowExceededError:"
        f" OpenAIException - {error['message']}. Received Model Group=m"
    )
    return 500, {"error": {"message": message, "type": None, "param": None, "code": "400"}}


#: Those that count the tokens that are asked for as well.
WITH_ANSWER = (vllm, vllm_at_least, litellm)


@dataclass
class Engine:
    """Answers what fits its window. `per_character` are its tokens; `in_stream`: errors come as events;
    `counts`: an answer tells how many tokens its prompt had."""

    window: int
    words: Words = llama
    per_character: float = 0.3
    in_stream: bool = False
    counts: bool = False
    #: Whether the tokens that are asked for count, if not by its words.
    counts_answer: bool = False

    def tokens(self, body: Any) -> int:
        return int(sum(len(json.dumps(each)) for each in body["messages"]) * self.per_character)

    async def __call__(self, exchange: Exchange) -> None:
        body = exchange.request.json
        sent, answer = self.tokens(body), body.get("max_tokens", 0)
        if sent + answer * (self.counts_answer or self.words in WITH_ANSWER) <= self.window:
            told = {**json.loads(completion("fits")), "usage": {"prompt_tokens": sent}}
            await (sends(json.dumps(told).encode()) if self.counts else says("fits"))(exchange)
            return
        await self.refusal(sent, answer, streamed=exchange.request.wants_stream)(exchange)

    def refusal(self, sent: int, answer: int, *, streamed: bool) -> Answer:
        status, error = self.words(self.window, sent, answer)
        data = json.dumps(error).encode()
        if self.in_stream and streamed:
            role = event({"role": "assistant", "content": ""})
            return streams(b": ok\n\n", role, b"event: error\ndata: " + data + b"\n\n", headers=EVENTS)
        return sends(data, status=status, headers={**JSON, "X-Engine": "itself"})
