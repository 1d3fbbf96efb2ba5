"""The referee refuses what its profiles say, and takes what real upstreams take."""

from __future__ import annotations

from typing import Any

import pytest

from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Upstream
from tests.referee import profiles
from tests.referee.profiles import ALL, NAMED, refused
from tests.referee.strict import Strict
from tests.referee.talk import SYSTEM, body, call, calls, result, says, signed, user

LOOP = [user(), calls(reasoning_content="so"), result()]
SIGNED_LOOP = [user(), calls(*signed(call())), result()]
SECOND = [user(), calls(call(), call("callabc02")), result(), result("callabc02")]
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}

# What is refused, by whom, and a word of what is said of it.
CASES: list[tuple[str, bytes, str]] = [
    ("openai", body(user(), says(None), user()), "expected a string, got null"),
    ("openai", body(user([])), "empty array"),
    ("openai", body(user(), says([IMAGE]), user()), "Image URLs"),
    ("openai", body(user(name="a b")), "does not match pattern"),
    ("openai", body(user(), says(tool_calls=[]), user()), "tool_calls': empty array"),
    ("openai", body({"role": "critic", "content": "no"}), "'critic'"),
    ("openai", body(user(), calls(call("")), result("")), "missing field `id`"),
    ("openai", body(user(), calls(), {"role": "tool", "content": "42"}), "tool_call_id"),
    ("openai", body(user(), calls(call(arguments={})), result()), "got an object"),
    ("openai", body(user(), calls(call(name="a.b")), result()), "does not match pattern"),
    ("openai", body(user(), tools=[{"type": "function"}] * 129), "array too long"),
    ("openai", body(user(), result()), "preceeding message"),
    ("openai", body(user(), calls(), user()), "did not have response messages: callabc01"),
    ("openai", body(user(), calls(), user(), result()), "did not have response messages"),
    ("openai", body(*SECOND[:3]), "callabc02"),
    ("openai", body(*LOOP, result()), "Duplicate value"),
    ("openai", b'{"messages":[]}', "no messages"),
    ("openai", b'{"messages":["hi"]}', "no messages"),
    ("openai", b"hi", "no messages"),
    ("groq", body(*LOOP), "property 'reasoning_content' is unsupported"),
    ("groq", body(user(name="eve")), "property 'name' is unsupported"),
    ("groq", body(*SIGNED_LOOP), "property 'extra_content' is unsupported"),
    ("cerebras", body(*LOOP), "property 'reasoning_content' is unsupported"),
    ("cerebras", body({"role": "developer", "content": "no"}, user()), "developer"),
    ("mistral", body(*LOOP), "Extra inputs are not permitted"),
    ("mistral", body(*SIGNED_LOOP), "Extra inputs are not permitted"),
    ("mistral", body({"role": "developer", "content": "no"}, user()), "developer"),
    ("mistral", body(user(), says(""), user()), "content or tool_calls"),
    ("mistral", body(user(), calls(call("call_1")), result("call_1")), "length of 9"),
    ("mistral", body(user(), calls(), result(), user()), "Unexpected role 'user'"),
    ("mistral", body(user(), result()), "Unexpected role 'tool'"),
    ("mistral", body(*SECOND[:3]), "same number"),
    ("mistral", body(user(), calls(call(), call()), result(), result()), "Duplicate"),
    ("mistral", body(user(), says(), SYSTEM, user()), "Unexpected role 'system'"),
    ("mistral", body(user(), says()), "Expected last role"),
    ("deepseek-v4", body(user(), calls(), result()), "must be passed back"),
    ("deepseek-v4", body(user([IMAGE])), "expected `text`"),
    ("deepseek-v4", body(user(), *LOOP, *LOOP[1:]), "Duplicate tool call id"),
    ("deepseek-v4", body(user(), result()), "must be a response"),
    ("deepseek-v4", body(user(), calls(reasoning_content="so")), "insufficient tool messages"),
    ("deepseek-v4", body({"role": "developer", "content": "no"}, user()), "developer"),
    ("deepseek-v4", body(user([])), "empty array"),
    ("deepseek-v4-pro", body(user(), calls(reasoning_content=""), result()), "must be passed back"),
    ("deepseek-v4-pro", body(user(), says(), user()), "must be passed back"),
    ("kimi", body(user(), calls(reasoning_content=""), result()), "message at index 1"),
    ("kimi", body(user(), says(""), user()), "must not be empty"),
    ("kimi", body(user(), calls(reasoning_content="so"), user()), "is not found"),
    ("minimax", body(user(), says(), SYSTEM, user()), "system message in the middle"),
    ("minimax", body(user(), result()), "not found"),
    ("minimax", body(user(), calls(), user()), "does not follow"),
    ("gemini-3", body(user(), calls(), result()), "missing a thought_signature"),
    (
        "gemini-3",
        body(
            user(),
            calls(call(extra_content={"google": {"thought_signature": "made up"}})),
            result(),
        ),
        "Corrupted",
    ),
    ("gemini-3", body(user(), calls(call(arguments="[]")), result()), "JSON object"),
    ("gemini-3", body(user(), says(""), user()), "empty text"),
    ("gemini-3", body(user(), prompt_cache_key="k"), 'Unknown name "prompt_cache_key"'),
    ("gemini-3", body(user(), calls(*signed(call(name="lost"))), result()), "not declared"),
    ("gemini-3", body(user(), says(), calls(*signed(call())), result()), "immediately after a user turn"),
    ("gemini-3", body(*SECOND[:3]), "number of function response parts"),
    ("gemini-3", body(user(), calls(*signed(call(), call())), result(), result()), "Duplicate"),
    ("claude-by-litellm", body(user(), says(" "), user()), "must be non-empty"),
    ("claude-by-litellm", body(user(), calls(text=""), result()), "must be non-empty"),
    ("claude-by-litellm", body(user(), calls(call("a:1")), result("a:1")), "should match pattern"),
    ("claude-by-litellm", body(says(), SYSTEM), "at least one message"),
    ("claude-by-litellm", body(*LOOP, tools=None), "`tools=` param"),
    ("claude-by-litellm", body(user(), result()), "unexpected `tool_use_id`"),
    ("claude-by-litellm", body(user(), calls(), user()), "without `tool_result` blocks"),
    ("claude-by-litellm", body(*LOOP, *LOOP), "Duplicate tool call id"),
    ("claude-by-litellm", body(user(), says()), "prefill"),
    ("claude-by-litellm", body(*LOOP, reasoning_effort="low"), "Expected `thinking`"),
    (
        "claude-by-litellm",
        body(user(), says(thinking_blocks=[{"type": "thinking", "signature": "made up"}]), user()),
        "Invalid `signature`",
    ),
    ("bedrock", body(*LOOP, tools=None), "toolConfig"),
    ("bedrock", body(user(), user()), "must alternate"),
    ("bedrock", body(user(" ")), "is blank"),
    ("bedrock", body(says()), "start with a user message"),
    ("bedrock", body(*SECOND[:3]), "number of toolResult blocks"),
    ("gemma-3-by-vllm", body(*LOOP), "must alternate"),
    ("gemma-3-by-vllm", body(SYSTEM, user(), user()), "must alternate"),
    ("gemma-3-by-llama.cpp", body(user(), says(None)), "Invalid content type"),
    ("mistral-small-by-vllm", body(SYSTEM, says()), "must alternate"),
    ("mistral-small-by-vllm", body(user(), SYSTEM), "are supported"),
    ("mistral-small-by-llama.cpp", body(user(), calls(call("c")), result("c")), ">= 9"),
    ("llama-3-by-vllm", body(*SECOND), "single tool-calls"),
    ("llama-3-by-llama.cpp", body(user(), says(tool_calls=[]), user()), "single tool-calls"),
    ("qwen-3.5-by-vllm", body(user(), says(), SYSTEM, user()), "at the beginning"),
    ("qwen-3.5-by-vllm", body(SYSTEM), "No user query"),
    ("qwen-3.5-by-vllm", body({"role": "developer", "content": "no"}, user()), "Unexpected message role"),
    ("qwen-3.5-by-llama.cpp", body(user(), {"role": "assistant"}), "Expected 'content'"),
    ("qwen-3.5-by-llama.cpp", body(user(), says(), says()), "2 or more assistant"),
    ("qwen-3.5-by-llama.cpp", body(user(), calls(call(arguments='{"a":')), result()), "Failed to parse"),
]


@pytest.mark.parametrize(("name", "sent", "told"), CASES)
def test_a_profile_refuses_in_the_words_of_its_upstream(name: str, sent: bytes, told: str):
    refusal = refused(NAMED[name], sent)
    assert refusal is not None
    assert told in str(refusal.body)


def test_every_rule_of_every_profile_refuses_something():
    sent = [each for _, each, _ in CASES]
    for profile in ALL:
        for rule in profile.rules:
            only = profiles.Profile(profile.name, (rule,))
            assert any(refused(only, each) for each in sent), (profile.name, rule.__qualname__)


@pytest.mark.parametrize("profile", ALL, ids=lambda each: each.name)
def test_a_plain_talk_is_taken_by_all(profile: profiles.Profile):
    thought = {"reasoning_content": "so"} if profile is profiles.DEEPSEEK_PRO else {}
    assert refused(profile, body(SYSTEM, user(), says(**thought), user(), stream=True)) is None


TAKEN: dict[str, list[Any]] = {
    "openai": [body(*LOOP), body(user(), calls(text=None), result(), user())],
    "groq": [body(user(), calls(), result(), user())],
    "cerebras": [body(user(), calls(reasoning="so"), result())],
    "mistral": [body(user(), calls(), result()), body(user(), says(prefix=True))],
    "deepseek-v4": [
        body(*LOOP),
        body(user(), calls(reasoning_content=""), result()),
        body(user(), calls(), result(), thinking={"type": "disabled"}),
        body(user(), says(), user()),
    ],
    "kimi": [body(*LOOP), body(user(), calls(reasoning_content=" "), result())],
    "gemini-3": [body(*SIGNED_LOOP), body(user(), calls(), result(), says(), user())],
    "claude-by-litellm": [body(*LOOP)],
    "bedrock": [body(*LOOP)],
    "mistral-small-by-vllm": [body(*LOOP, says(), user())],
    "llama-3-by-vllm": [body(*LOOP)],
    "qwen-3.5-by-vllm": [body(*LOOP), body(user(), calls(), result(), says(), user())],
}


@pytest.mark.parametrize(("name", "sent"), [(name, each) for name, them in TAKEN.items() for each in them])
def test_a_profile_takes_what_its_upstream_takes(name: str, sent: bytes):
    assert refused(NAMED[name], sent) is None


@pytest.mark.parametrize("in_stream", [False, True])
async def test_a_strict_upstream_refuses_by_its_profile_and_answers_all_else(
    upstream: Upstream, sidecar: Sidecar, in_stream: bool
):
    upstream.otherwise = strict = Strict(profiles.OPENAI, in_stream=in_stream)
    taken = await sidecar.ask("hi", id="a")
    assert (taken.status, taken.json["choices"][0]["message"]["content"]) == (200, "ok")
    refusal = await sidecar.ask(user(), result(), id="b")
    assert refusal.status == (200 if in_stream else 400)
    assert b"preceeding message" in refusal.body
    assert [each.rule for each in strict.refusals] == ["results_have_calls"]
    assert len(strict.taken) == 1
