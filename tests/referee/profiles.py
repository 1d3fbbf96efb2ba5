"""Which upstream has which rules, with the status of its refusals and the form of its errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.referee import demands, order, shape, templates
from tests.referee.reading import Rule, read

Wrap = Callable[[str], Any]


@dataclass(frozen=True)
class Refusal:
    """An error as the client gets it. `rule`: the name of the rule, for whoever reads a failing test."""

    status: int
    body: Any
    rule: str


@dataclass(frozen=True)
class Profile:
    """An upstream's rules; the first that is broken is what it says."""

    name: str
    rules: tuple[Rule, ...]
    status: int = 400
    wrap: Wrap = lambda told: {"error": {"message": told, "type": "invalid_request_error", "code": None}}


def refused(profile: Profile, body: bytes) -> Refusal | None:
    """The error with which this upstream refuses a request; None if it takes it."""
    request = read(body)
    if request is None or shape.is_a_request(request):
        return Refusal(400, profile.wrap("the body has no messages"), "is_a_request")
    for rule in profile.rules:
        if (told := rule(request)) is not None:
            return Refusal(profile.status, profile.wrap(told), rule.__qualname__.split(".")[0])
    return None


def _llama_cpp(told: str) -> Any:
    return {"error": {"code": 500, "message": told, "type": "server_error"}}


def _vllm(told: str) -> Any:
    return {"object": "error", "message": told, "type": "BadRequestError", "param": None, "code": 400}


def _mistral(told: str) -> Any:
    if told.startswith("Extra inputs"):
        detail = {"type": "extra_forbidden", "loc": ["body", *told.split(": ")[1].split(".")], "input": "…"}
        return {"detail": [{**detail, "msg": "Extra inputs are not permitted"}]}
    return {"object": "error", "message": told, "type": "invalid_request_message_order", "code": "3230"}


def _google(told: str) -> Any:
    return [{"error": {"code": 400, "message": told, "status": "INVALID_ARGUMENT"}}]


def _litellm(told: str) -> Any:
    inner = '{"type":"error","error":{"type":"invalid_request_error","message":"' + told + '"}}'
    message = f"litellm.BadRequestError: AnthropicException - {inner}"
    return {"error": {"message": message, "type": None, "param": None, "code": "400"}}


def _bedrock(told: str) -> Any:
    return {"message": f"The model returned the following errors: {told}"}


_USUAL = ("system", "user", "assistant", "tool")
_CALLS = (shape.calls_are_whole, shape.arguments_are_a_string, shape.function_has_a_name)
_OPENAI_PAIRS = (
    order.calls_have_results(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        " 'tool_call_id'. The following tool_call_ids did not have response messages: {id}"
    ),
    order.results_have_calls(
        "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with"
        " 'tool_calls'. (messages.[{at}].role)"
    ),
    order.one_result_per_call,
)

OPENAI = Profile(
    "openai",
    (
        order.roles_are((*_USUAL, "developer", "function"), "Invalid value: '{role}'."),
        shape.content_is_not_null,
        shape.content_is_no_empty_list,
        shape.images_are_the_users,
        shape.name_is_plain,
        shape.calls_are_not_empty,
        *_CALLS,
        shape.at_most_128,
        *_OPENAI_PAIRS,
    ),
)
GROQ = Profile(
    "groq",
    (
        shape.known_fields((), "'messages.{at}' : for 'role:assistant' property '{name}' is unsupported"),
        shape.calls_are_whole,
        shape.arguments_are_a_string,
        shape.at_most_128,
    ),
)
CEREBRAS = Profile(
    "cerebras",
    (
        order.roles_are(_USUAL, "Unsupported role: '{role}'"),
        shape.known_fields(("reasoning", "name"), "messages.{at}.{name}: property '{name}' is unsupported"),
        shape.calls_are_whole,
        shape.arguments_are_a_string,
    ),
    wrap=lambda told: {"message": told, "type": "invalid_request_error", "code": "wrong_api_format"},
)
MISTRAL = Profile(
    "mistral",
    (
        shape.known_fields(("prefix",), "Extra inputs are not permitted: messages.{at}.{name}"),
        order.roles_are(_USUAL, "Unexpected role '{role}'"),
        shape.text_or_calls,
        shape.calls_are_whole,
        shape.function_has_a_name,
        shape.nine_letters_per_id,
        order.results_have_calls("Unexpected role 'tool' after role 'user'"),
        order.as_many_results_as_calls("Not the same number of function calls and responses"),
        order.ids_are_unique_within_a_message,
        order.no_user_behind_a_result,
        order.no_system_behind_an_answer,
        order.a_turn_to_answer("Expected last role User or Tool (or Assistant with prefix True)"),
    ),
    status=422,
    wrap=_mistral,
)
_DEEPSEEK = (
    order.roles_are(_USUAL, "messages[0].role: unknown variant `{role}`, expected one of `system`, `user`"),
    shape.content_is_no_empty_list,
    shape.text_parts_only,
    shape.calls_are_whole,
    order.ids_are_unique,
    order.results_have_calls("Messages with role 'tool' must be a response to a preceding message"),
    order.calls_have_results(
        "An assistant message with 'tool_calls' must be followed by tool messages responding to each"
        " 'tool_call_id'. (insufficient tool messages following tool_calls message)"
    ),
)
DEEPSEEK = Profile("deepseek-v4", (*_DEEPSEEK, demands.deepseek_reasoning(takes_empty=True)))
DEEPSEEK_PRO = Profile(
    "deepseek-v4-pro", (*_DEEPSEEK, demands.deepseek_reasoning(takes_empty=False, every_answer=True))
)
KIMI = Profile(
    "kimi",
    (
        shape.content_is_not_empty("message at position {at} with role must not be empty"),
        *_CALLS,
        order.calls_have_results("tool_call_id {id} is not found"),
        demands.kimi_reasoning,
    ),
)
MINIMAX = Profile(
    "minimax",
    (
        order.system_is_first("invalid params, chat content has system message in the middle (2013)"),
        *_CALLS,
        order.results_have_calls("invalid params, tool result's tool id({id}) not found (2013)"),
        order.calls_have_results("invalid params, tool call result does not follow tool call (2013)"),
    ),
)
GEMINI = Profile(
    "gemini-3",
    (
        shape.known_top_level,
        shape.content_is_not_empty("Unable to submit request because it has an empty text parameter."),
        shape.arguments_are_an_object,
        order.results_are_declared,
        order.as_many_results_as_calls(
            "Please ensure that the number of function response parts is equal to the number of function"
            " call parts of the function call turn."
        ),
        order.ids_are_unique_within_a_message,
        order.calls_follow_a_turn,
        demands.gemini_signatures,
    ),
    wrap=_google,
)
_CLAUDE_PAIRS = (
    order.results_have_calls(
        "messages.{at}.content.0: unexpected `tool_use_id` found in `tool_result` blocks: {id}."
    ),
    order.calls_have_results(
        "`tool_use` ids were found without `tool_result` blocks immediately after: {id}."
    ),
)
CLAUDE = Profile(
    "claude-by-litellm",
    (
        shape.content_is_not_empty("messages: text content blocks must be non-empty", also_beside_calls=True),
        shape.calls_are_whole,
        shape.plain_ids,
        order.has_a_user("messages: at least one message is required"),
        order.calls_want_tools(
            "Anthropic expects the `tools=` param to be passed in: messages contain tool calls without it"
        ),
        *_CLAUDE_PAIRS,
        order.ids_are_unique,
        order.a_turn_to_answer("This model does not support assistant message prefill."),
        demands.claude_thinking,
    ),
    wrap=_litellm,
)
BEDROCK = Profile(
    "bedrock",
    (
        shape.content_is_not_empty("The text field in the ContentBlock object is blank."),
        order.has_a_user("A conversation must start with a user message."),
        order.calls_want_tools("The toolConfig field must be defined when using toolUse blocks."),
        order.never_twice_the_same(
            "user", "assistant", wording="A conversation must alternate between user and assistant roles."
        ),
        order.as_many_results_as_calls(
            "The number of toolResult blocks exceeds the number of toolUse blocks of previous turn."
        ),
        *_CLAUDE_PAIRS,
    ),
    wrap=_bedrock,
)


def _by_llama_cpp(name: str, *rules: Rule) -> Profile:
    raising = tuple(templates.raised(rule, templates.LLAMA_CPP) for rule in rules)
    own = (templates.something_said, templates.two_answers_last, shape.arguments_are_an_object)
    return Profile(f"{name}-by-llama.cpp", (*own, *raising), status=500, wrap=_llama_cpp)


def _by_vllm(name: str, *rules: Rule) -> Profile:
    raising = tuple(templates.raised(rule, templates.VLLM) for rule in rules)
    return Profile(f"{name}-by-vllm", (shape.arguments_are_an_object, *raising), wrap=_vllm)


_TEMPLATES: dict[str, Rule] = {
    "gemma-3": templates.gemma_alternation,
    "mistral-small": templates.mistral_alternation,
    "llama-3": templates.llama_single_calls,
    "qwen-3.5": templates.qwen_roles,
}
ENGINES = [make(name, rule) for name, rule in _TEMPLATES.items() for make in (_by_llama_cpp, _by_vllm)]
PROVIDERS = [OPENAI, GROQ, CEREBRAS, MISTRAL, DEEPSEEK, DEEPSEEK_PRO, KIMI, MINIMAX, GEMINI, CLAUDE, BEDROCK]
ALL = [*PROVIDERS, *ENGINES]
NAMED = {each.name: each for each in ALL}
