"""Rules on roles and their order, and on pairs of calls and results."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from tests.referee.reading import Request, Rule, calls_of, function_of, results_behind


def roles_are(known: Collection[str], wording: str) -> Rule:
    """Only these. `developer`: DeepSeek (pi#1048), Cerebras, mistral-common, Qwen3.5's template."""

    def check(request: Request) -> str | None:
        unknown = [role for role in request.roles if role not in known]
        return wording.format(role=unknown[0]) if unknown else None

    return check


def results_have_calls(wording: str) -> Rule:
    """OpenAI (morphic#136), DeepSeek, DashScope, Anthropic (langchain#31657), Mistral 3230 (crush#279)."""

    def check(request: Request) -> str | None:
        open_calls: set[object] = set()
        for at, each in enumerate(request.messages):
            if each.get("role") != "tool":
                open_calls = {call.get("id") for call in calls_of(each)}
            elif each.get("tool_call_id") not in open_calls:
                return wording.format(at=at, id=each.get("tool_call_id"))
        return None

    return check


def calls_have_results(wording: str) -> Rule:
    """OpenAI (sdcb/chats#132, copilot-sdk#1922), DeepSeek (goose#11893), Moonshot, DashScope, Anthropic."""

    def check(request: Request) -> str | None:
        for at, each in request.of("assistant"):
            told = {result.get("tool_call_id") for result in results_behind(request.messages, at)}
            missing = [call.get("id") for call in calls_of(each) if call.get("id") not in told]
            if missing:
                return wording.format(id=missing[0])
        return None

    return check


def as_many_results_as_calls(wording: str) -> Rule:
    """Mistral ("Not the same number of function calls and responses"), Gemini (vscode#299295)."""

    def check(request: Request) -> str | None:
        for at, each in request.of("assistant"):
            if calls_of(each) and len(calls_of(each)) != len(results_behind(request.messages, at)):
                return wording
        return None

    return check


def one_result_per_call(request: Request) -> str | None:
    """OpenAI (agno#5116)."""
    for at, _ in request.of("assistant"):
        told = Counter(each.get("tool_call_id") for each in results_behind(request.messages, at))
        for given, times in told.items():
            if times > 1:
                return f"Duplicate value for 'tool_call_id' of '{given}' in the messages."
    return None


def ids_are_unique(request: Request) -> str | None:
    """DeepSeek: in the whole request (craft-agents-oss#630); Anthropic alike."""
    made = Counter(call.get("id") for _, call in request.calls)
    for given, times in made.items():
        if times > 1:
            return f"Duplicate tool call id: {given}"
    return None


def ids_are_unique_within_a_message(request: Request) -> str | None:
    """mistral-common from v11 on; Gemini (watt-mind/coach#280)."""
    for _, each in request.of("assistant"):
        ids = [call.get("id") for call in calls_of(each)]
        if len(set(ids)) < len(ids):
            return "Duplicate tool call id in assistant message"
    return None


def no_user_behind_a_result(request: Request) -> str | None:
    """Mistral 3230 (avante.nvim#2562); hosts still refuse it (hermes-agent#20154)."""
    for before, role in zip(request.roles, request.roles[1:], strict=False):
        if (before, role) == ("tool", "user"):
            return "Unexpected role 'user' after role 'tool'"
    return None


def never_twice_the_same(*roles: str, wording: str) -> Rule:
    """Bedrock Converse (Portkey-AI/gateway#748), deepseek-reasoner of 2025 (bolt.diy#1235)."""

    def check(request: Request) -> str | None:
        for before, role in zip(request.roles, request.roles[1:], strict=False):
            if before == role and role in roles:
                return wording
        return None

    return check


def system_is_first(wording: str, *, only_one: bool = True) -> Rule:
    """Qwen3.5's template (litellm#39852), MiniMax (oh-my-pi#954), mistral-common behind an answer."""

    def check(request: Request) -> str | None:
        begun = 1 if only_one else request.roles.count("system")
        late = [role for role in request.roles[begun:] if role == "system"]
        return wording if late or (request.roles[:1] != ["system"] and "system" in request.roles) else None

    return check


def no_system_behind_an_answer(request: Request) -> str | None:
    """mistral-common; Mistral's API says 'Unexpected role system after role assistant'."""
    for before, role in zip(request.roles, request.roles[1:], strict=False):
        if role == "system" and before in ("assistant", "tool"):
            return f"Unexpected role 'system' after role '{before}'"
    return None


def has_a_user(wording: str) -> Rule:
    """DashScope (agentscope-java#613), Anthropic, Bedrock."""

    def check(request: Request) -> str | None:
        return None if "user" in request.roles else wording

    return check


def a_turn_to_answer(wording: str) -> Rule:
    """The last message is nobody's answer, unless it says that it is to be gone on with (`prefix`).

    Mistral, deepseek-reasoner (dify#16860), Claude since 4.6, Gemini (crewAI#6973).
    """

    def check(request: Request) -> str | None:
        last = request.messages[-1] if request.messages else {}
        return wording if last.get("role") == "assistant" and not last.get("prefix") else None

    return check


def calls_follow_a_turn(request: Request) -> str | None:
    """Gemini (lobehub#10049)."""
    for at, each in request.of("assistant"):
        if calls_of(each) and (at == 0 or request.roles[at - 1] not in ("user", "tool")):
            return (
                "Please ensure that function call turn comes immediately after a user turn"
                " or after a function response turn."
            )
    return None


def calls_want_tools(wording: str) -> Rule:
    """Bedrock (zot#18), LiteLLM in front of Anthropic (owl#532)."""

    def check(request: Request) -> str | None:
        is_about_tools = "tool" in request.roles or any(True for _ in request.calls)
        return wording if is_about_tools and not request.has_tools else None

    return check


def results_are_declared(request: Request) -> str | None:
    """Gemini: the function of a result is among the tools (watt-mind/coach#280)."""
    tools = [tool.get("function", {}).get("name") for tool in request.fields.get("tools") or ()]
    for _, call in request.calls:
        if tools and function_of(call).get("name") not in tools:
            return f"Function {function_of(call).get('name')} is not declared in tools."
    return None
