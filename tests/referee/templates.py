"""Rules of chat templates: what they raise, as llama.cpp (HTTP 500) and vLLM (HTTP 400) pass it on.

Written from the rules that the templates have, and none of them is a copy. Sources are the templates in the
models' repositories on Hugging Face: google/gemma-3-*, mistralai/Mistral-Small-3.1-*, meta-llama/Llama-3.x-*
and Qwen/Qwen3.5-*.
"""

from __future__ import annotations

from tests.referee.reading import Request, Rule, calls_of


def gemma_alternation(request: Request) -> str | None:
    """Gemma 3: behind a system message user and assistant in turn; a tool message is neither."""
    roles = request.roles[1:] if request.roles[:1] == ["system"] else request.roles
    for at, role in enumerate(roles):
        if (role == "user") != (at % 2 == 0):
            return "Conversation roles must alternate user/assistant/user/assistant/..."
    for each in request.messages:
        if not isinstance(each.get("content"), str | list):
            return "Invalid content type"
    return None


def mistral_alternation(request: Request) -> str | None:
    """Mistral Small 3.1: the same, but for results and messages with calls; ids of nine letters or more."""
    at = 0
    for place, each in enumerate(request.messages):
        role = each.get("role")
        if role == "system" and place == 0:
            continue
        if role == "user" or (role == "assistant" and not calls_of(each)):
            if (role == "user") != (at % 2 == 0):
                return (
                    "After the optional system message, conversation roles must alternate user and"
                    " assistant roles except for tool calls and results."
                )
            at += 1
        elif role not in ("assistant", "tool"):
            return "Only user, assistant and tool roles are supported, with the exception of an initial one"
    return _nine_or_more(request)


def _nine_or_more(request: Request) -> str | None:
    made = [str(call.get("id", "")) for _, call in request.calls]
    told = [str(each.get("tool_call_id", "")) for _, each in request.of("tool")]
    if any(len(each) < 9 for each in [*made, *told]):
        return "Tool call IDs should be alphanumeric strings with length >= 9!"
    return None


def llama_single_calls(request: Request) -> str | None:
    """Llama 3.x: where there is a list of calls, it holds one (vllm#13978)."""
    for each in request.messages:
        if "tool_calls" in each and len(each["tool_calls"] or ()) != 1:
            return "This model only supports single tool-calls at once!"
    return None


def qwen_roles(request: Request) -> str | None:
    """Qwen3.5: one system message, at the beginning; a user who asked; no other roles."""
    for at, role in enumerate(request.roles):
        if role == "system" and at > 0:
            return "System message must be at the beginning."
        if role not in ("system", "user", "assistant", "tool"):
            return "Unexpected message role."
    return None if "user" in request.roles else "No user query found in messages."


def raised(rule: Rule, wording: str) -> Rule:
    """What a template raises, in the words of the engine that applied it."""

    def check(request: Request) -> str | None:
        told = rule(request)
        return None if told is None else wording.format(told=told)

    return check


#: llama.cpp's server (common/chat.cpp): minja's words around what the template raised.
LLAMA_CPP = "Jinja Exception: {told} while executing CallExpression in the chat template"
#: vLLM's server: jinja2's words as they are.
VLLM = "{told} {told}"


def two_answers_last(request: Request) -> str | None:
    """llama.cpp's server: 'Cannot have 2 or more assistant messages at the end of the list.'"""
    if request.roles[-2:] == ["assistant", "assistant"]:
        return "Cannot have 2 or more assistant messages at the end of the list."
    return None


def something_said(request: Request) -> str | None:
    """llama.cpp's server: content or calls, as keys at least."""
    if any("content" not in each and "tool_calls" not in each for each in request.messages):
        return "Expected 'content' or 'tool_calls' in message (ref: messages)"
    return None
