"""Rules on the fields of a message, on its content and on the shape of its calls."""

from __future__ import annotations

import json
import re
from collections.abc import Collection

from tests.referee.reading import Fields, Request, Rule, calls_of, function_of

_NAME = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_USUAL = frozenset(("role", "content", "tool_calls", "tool_call_id"))
_OF_A_CALL = frozenset(("id", "type", "function"))


def is_a_request(request: Request) -> str | None:
    """OpenAI's API reference: `messages` is a list of at least one object with a role."""
    if not request.messages or len(request.messages) != len(request.fields["messages"]):
        return "Invalid type for 'messages': expected an array of objects with at least one of them."
    return None


def known_fields(also: Collection[str], wording: str) -> Rule:
    """Only the usual fields on messages and calls, and these. `wording` has a place {at} and a field {name}.

    Groq (freellmapi#1070), Cerebras (kilocode#10375), Mistral (mistralai_client_dart#44, zeroclaw#2693: also
    inside of calls, also null), Fireworks (pi#4514, hermes#38543).
    """

    def check(request: Request) -> str | None:
        for at, each in enumerate(request.messages):
            for name in each:
                if name not in _USUAL and name not in also:
                    return wording.format(at=at, name=name)
            for call in calls_of(each):
                for name in call:
                    if name not in _OF_A_CALL:
                        return wording.format(at=f"{at}.tool_calls", name=name)
        return None

    return check


def known_top_level(request: Request) -> str | None:
    """Gemini's OpenAI endpoint: 'Invalid JSON payload received. Unknown name "x": Cannot find field.'"""
    for name in request.fields:
        if name not in _TOP_LEVEL:
            return f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
    return None


_TOP_LEVEL = frozenset(
    (
        *("model", "messages", "tools", "tool_choice", "stream", "stream_options", "max_tokens", "n"),
        *("max_completion_tokens", "temperature", "top_p", "stop", "seed", "user", "response_format"),
        *("reasoning_effort", "parallel_tool_calls", "extra_body", "modalities", "audio", "thinking"),
    )
)


def content_is_not_null(request: Request) -> str | None:
    """OpenAI: null only beside calls (llama_index#17555)."""
    for at, each in enumerate(request.messages):
        if each.get("content") is None and not calls_of(each):
            return f"Invalid value for 'content': expected a string, got null. (messages.[{at}].content)"
    return None


def content_beside_calls(request: Request) -> str | None:
    """xAI (langchain#34140), LM Studio (lmstudio-bug-tracker#261): a call wants content as well."""
    if any(each.get("content") is None for _, each in request.of("assistant")):
        return "Each message must have at least one content element."
    return None


def content_is_no_empty_list(request: Request) -> str | None:
    """OpenAI's API reference: `minItems: 1`; xAI (AstrBot#6447)."""
    for at, each in enumerate(request.messages):
        if each.get("content") == []:
            return f"Invalid 'messages[{at}].content': empty array. Expected an array with minimum length 1."
    return None


def content_is_not_empty(wording: str, *, also_beside_calls: bool = False) -> Rule:
    """Anthropic and Bedrock (hermes-agent#55092), Moonshot (kimi-code#1985), Gemini (CLIProxyAPI#1292)."""

    def check(request: Request) -> str | None:
        for at, each in enumerate(request.messages):
            if _is_blank(each) and (also_beside_calls or not calls_of(each)):
                return wording.format(at=at)
        return None

    return check


def _is_blank(message: Fields) -> bool:
    """Text without a word; null beside calls is no text at all."""
    content = message.get("content")
    if isinstance(content, list):
        texts = [part.get("text", "") for part in content if part.get("type") == "text"]
        return not content or any(not text.strip() for text in texts)
    return (content is None and not calls_of(message)) or (isinstance(content, str) and not content.strip())


def text_or_calls(request: Request) -> str | None:
    """OpenAI, Mistral (OpenHands#8685); llama.cpp's server where both keys are absent."""
    for at, each in request.of("assistant"):
        if not each.get("content") and not each.get("tool_calls"):
            return f"Assistant message must have either content or tool_calls, but not none. (messages[{at}])"
    return None


def images_are_the_users(request: Request) -> str | None:
    """OpenAI (OpenHands#7700)."""
    for at, each in enumerate(request.messages):
        if each.get("role") != "user" and "image_url" in _kinds(each):
            return f"Invalid 'messages[{at}]'. Image URLs are only allowed for messages with role 'user'."
    return None


def text_parts_only(request: Request) -> str | None:
    """DeepSeek (jetbrains-cc-gui#591)."""
    for at, each in enumerate(request.messages):
        for kind in _kinds(each) - {"text"}:
            return f"messages[{at}]: unknown variant `{kind}`, expected `text`"
    return None


def _kinds(message: Fields) -> set[str]:
    content = message.get("content")
    return {part.get("type", "") for part in content} if isinstance(content, list) else set()


def name_is_the_users(request: Request) -> str | None:
    """xAI (litellm#9720)."""
    if any("name" in each for each in request.messages if each.get("role") != "user"):
        return "Only messages of role 'user' can have a name."
    return None


def name_is_plain(request: Request) -> str | None:
    """OpenAI (autogen#4157)."""
    for at, each in enumerate(request.messages):
        if "name" in each and not _NAME.fullmatch(str(each["name"])):
            return f"Invalid 'messages[{at}].name': string does not match pattern '^[a-zA-Z0-9_-]+$'."
    return None


def calls_are_not_empty(request: Request) -> str | None:
    """OpenAI `empty_array` (openai-node#1341)."""
    for at, each in enumerate(request.messages):
        if each.get("tool_calls") == []:
            return f"Invalid 'messages[{at}].tool_calls': empty array. Expected a minimum length of 1."
    return None


def calls_are_whole(request: Request) -> str | None:
    """OpenAI's API reference; DeepSeek (DeepSeek-Reasonix#713), Text Generation Inference (422)."""
    for at, call in request.calls:
        for name in ("id", "type", "function"):
            if not call.get(name):
                return f"messages[{at}].tool_calls: missing field `{name}`"
        for name in ("name", "arguments"):
            if name not in function_of(call):
                return f"messages[{at}].tool_calls[0].function: missing field `{name}`"
    for at, each in request.of("tool"):
        if not each.get("tool_call_id"):
            return f"Missing required parameter: 'messages[{at}].tool_call_id'."
    return None


def arguments_are_a_string(request: Request) -> str | None:
    """OpenAI (goose-mobile#20), Ollama, SGLang."""
    for at, call in request.calls:
        if not isinstance(function_of(call).get("arguments"), str):
            return (
                f"Invalid type for 'messages[{at}].tool_calls[0].function.arguments':"
                " expected a string, but got an object instead."
            )
    return None


def arguments_are_an_object(request: Request) -> str | None:
    """SGLang (sglang#28035), DashScope (nanobot#1487), xAI on "" (spiceai#4734), Ollama, llama.cpp."""
    for _, call in request.calls:
        arguments = function_of(call).get("arguments")
        try:
            told = json.loads(arguments) if isinstance(arguments, str) else arguments
        except ValueError:
            told = None
        if not isinstance(told, dict):
            return "Failed to parse tool call arguments as JSON: they must be a JSON object."
    return None


def function_has_a_name(request: Request) -> str | None:
    """OpenAI (mcp-use#90, continue#11645); mistral-common."""
    for at, call in request.calls:
        if not _NAME.fullmatch(str(function_of(call).get("name"))):
            return f"Invalid 'messages[{at}].tool_calls[0].function.name': string does not match pattern."
    return None


def nine_letters_per_id(request: Request) -> str | None:
    """Mistral, code 3280 (gptel#1203); mistral-common from v3 on."""
    for given in _ids(request):
        if not re.fullmatch(r"[a-zA-Z0-9]{9}", given):
            return f"Tool call id was {given} but must be a-z, A-Z, 0-9, with a length of 9."
    return None


def plain_ids(request: Request) -> str | None:
    """Anthropic (ClawRouter#17)."""
    for given in _ids(request):
        if not re.fullmatch(r"[a-zA-Z0-9_-]+", given):
            return "tool_use.id: String should match pattern '^[a-zA-Z0-9_-]+$'"
    return None


def _ids(request: Request) -> list[str]:
    made = [str(call.get("id")) for _, call in request.calls]
    return [*made, *(str(each.get("tool_call_id")) for _, each in request.of("tool"))]


def at_most_128(request: Request) -> str | None:
    """OpenAI, Groq: tools and calls of a message (openai-dotnet#317)."""
    longest = max((len(calls_of(each)) for each in request.messages), default=0)
    if max(longest, len(request.fields.get("tools") or ())) > 128:
        return "Invalid 'tools': array too long. Expected an array with maximum length 128."
    return None
