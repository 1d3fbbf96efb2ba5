"""Rules on what a model wants back of its own answers: reasoning, and signatures."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tests.referee.reading import Fields, Request, Rule, calls_of

#: What a signature of a real answer begins with in the tests; the two that Google documents for calls that
#: come from elsewhere: https://ai.google.dev/gemini-api/docs/thought-signatures
SIGNED = "signed-"
DUMMIES = frozenset(("skip_thought_signature_validator", "context_engineering_is_the_way_to_go"))


def deepseek_reasoning(*, takes_empty: bool, every_answer: bool = False) -> Rule:
    """DeepSeek V4 with thinking on (https://api-docs.deepseek.com, thinking mode; pi#3636, agenthub#212).

    Reports differ on an empty string (taken: llmgateway#2093; not: hermes#18263), and on answers without
    calls where the request has tools (newer documents, second-hand).
    """

    def check(request: Request) -> str | None:
        for _, each in request.of("assistant"):
            wanted = bool(calls_of(each)) or (every_answer and request.has_tools)
            if request.thinks and wanted and not _is_told(each, takes_empty):
                return "The `reasoning_content` in the thinking mode must be passed back to the API."
        return None

    return check


def kimi_reasoning(request: Request) -> str | None:
    """Kimi K2.5 and later; an empty string is as good as none (llmgateway#2093, pi#4178)."""
    for at, each in request.of("assistant"):
        if request.thinks and calls_of(each) and not _is_told(each, takes_empty=False):
            return (
                "thinking is enabled but reasoning_content is missing in assistant tool call message"
                f" at index {at}"
            )
    return None


def _is_told(message: Fields, takes_empty: bool) -> bool:
    told = message.get("reasoning_content")
    return isinstance(told, str) and (takes_empty or told != "")


def gemini_signatures(request: Request) -> str | None:
    """Gemini 3: the first call of each step since the last question (spring-ai#4977, pi#6733)."""
    questions = [at for at, _ in request.of("user")]
    for at, each in request.of("assistant"):
        calls = calls_of(each)
        if not calls or at < (questions[-1] if questions else 0):
            continue
        signature = _signature(calls[0])
        if signature is None:
            name = calls[0].get("function", {}).get("name")
            return (
                f"Function call is missing a thought_signature in functionCall parts. Additional data,"
                f" function call `default_api:{name}`, position {at}."
            )
        if signature not in DUMMIES and not str(signature).startswith(SIGNED):
            return "Corrupted thought signature."
    return None


def _signature(call: Fields) -> Any:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return google.get("thought_signature") if isinstance(google, dict) else None


def claude_thinking(request: Request) -> str | None:
    """Claude: signed blocks come back as they were, and in an open tool loop they must (opencode#3077).

    Blocks without a signature of its own are refused (litellm#18926). Thinking is on where it is asked for.
    """
    for at, each in request.of("assistant"):
        for block in each.get("thinking_blocks") or ():
            if not str(block.get("signature", "")).startswith(SIGNED):
                return f"messages.{at}.content.0: Invalid `signature` in `thinking` block"
    wants = request.fields.get("reasoning_effort") or request.fields.get("thinking")
    if wants and request.thinks:
        for at, each in _open_loop(request):
            if not each.get("thinking_blocks"):
                return (
                    f"messages.{at}.content.0.type: Expected `thinking` or `redacted_thinking`,"
                    " but found `tool_use`."
                )
    return None


def _open_loop(request: Request) -> Iterator[tuple[int, Fields]]:
    """The newest message with calls, if results are all that follows it."""
    made = [(at, each) for at, each in request.of("assistant") if calls_of(each)]
    if made and all(role == "tool" for role in request.roles[made[-1][0] + 1 :]):
        yield made[-1]
