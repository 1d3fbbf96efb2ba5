"""What is recorded of a reply is what the client's own library made of it, field by field.

The replies are those that servers are known to send (`tests/dialects`): streamed, in one body, and streamed
and packed with gzip. A library that reads one otherwise is listed with what it does; the record has then what
a person would read.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.dialects.gateways import GATEWAYS
from tests.dialects.transcripts import TRANSCRIPTS, Transcript
from tests.e2e.neighbours.libraries import Front, Libraries
from tests.e2e.stored import exported
from tests.proxy.mock_upstream import EVENTS, Answer, Upstream, sends, streams

WHOLE = [
    each
    for each in (*TRANSCRIPTS, *GATEWAYS)
    if each.choices == 1 and each.error is None and not each.stream.startswith(b"{")
]
TOOLS = [
    {"type": "function", "function": {"name": name, "description": name, "parameters": {"type": "object"}}}
    for name in ("weather", "clock")
]

#: What a library reads otherwise, and why.
PYTHON = {
    "ollama-tools": "two calls of one index are one to it",
    "openrouter": "puts the format of reasoning together as if it were a text",
    "vllm: no type, a new id with each piece": "puts the ids together",
    "mistral: thinking in parts": "drops parts before a text",
    "copilot: text and calls in two choices": "its user reads the first choice",
    "llama.cpp": "asserts the first event's `object`",
    "azure": "asserts the first event's `object`",
    "gemini: a signature beside the call": "needs an index",
    "litellm: claude's thinking in blocks": "needs an index in every list",
    "text-generation-inference: the index counts tokens": "needs choices from 0 on",
    "baseten: one line end between events": "reads two events as one",
    "cut in the middle of a character": "needs whole characters",
    "foundry local: a message beside each delta, an index that counts": "asserts the event's `object`",
    "litellm: ollama's calls, objects at index 0": "two calls of one index are one to it",
    "qianfan: the arguments so far with each piece": "puts all that is told together",
    "glm: all arguments once more": "puts all that is told together",
    "localai: one call at several indexes": "goes by the index alone",
    "litellm in front of responses: a first index of 1": "needs indexes from 0 on",
}
AI_SDK = {
    "text-generation-inference: the index counts tokens": "needs a finish reason",
    "baseten: one line end between events": "reads two events as one",
    "cut in the middle of a character": "needs a finish reason",
    "foundry local: a message beside each delta, an index that counts": "takes an error of null for one",
    "litellm: ollama's calls, objects at index 0": "needs arguments as a text",
    "qianfan: the arguments so far with each piece": "puts all that is told together",
    "glm: all arguments once more": "puts all that is told together",
    "deepseek: out of resources": "has no word for that end",
}


def body(transcript: Transcript) -> bytes:
    """The same reply in one piece."""
    ((finish, message),) = transcript.messages
    choice = {"index": 0, "message": message, "finish_reason": finish}
    usage = {} if transcript.usage is None else {"usage": json.loads(transcript.usage)}
    about = {"id": "c", "object": "chat.completion", "created": 1, "model": transcript.model}
    return json.dumps({**about, "choices": [choice], **usage}).encode()


def packed(transcript: Transcript) -> Answer:
    data = gzip.compress(transcript.stream)
    pieces = [data[at : at + 50] for at in range(0, len(data), 50)]
    return streams(*pieces, headers={**EVENTS, "Content-Encoding": "gzip"})


SENT: dict[str, Callable[[Transcript], Answer]] = {
    "streamed": lambda each: streams(each.stream),
    "in one body": lambda each: sends(body(each)),
    "packed": packed,
}


async def kept_and_assembled(
    program: str, how: str, libraries: Libraries, front: Front, upstream: Upstream
) -> dict[str, tuple[dict[str, Any], dict[str, Any]]]:
    """By the transcript's name: the record, and what the library made of it."""
    upstream.only_chats = True
    upstream.will(*map(SENT[how], WHOLE))
    ask = {"stream": how != "in one body", "messages": [{"role": "user", "content": "hi"}], "tools": TOOLS}
    asks = [{"id": f"chat-{at}", **ask} for at in range(len(WHOLE))]
    got = await libraries.run(program, {"base_url": front.base_url, "asks": asks})
    stored = {each["conversation"]["key"]: each for each in await exported(front.store)}
    return {transcript.name: (recorded(stored[f"chat-{at}"]), got[at]) for at, transcript in enumerate(WHOLE)}


def recorded(conversation: dict[str, Any]) -> dict[str, Any]:
    (exchange,) = conversation["exchanges"]
    return {
        "message": conversation["messages"][-1]["message"],
        "finish": exchange["finish"],
        "model": exchange["answered_by"],
        "tokens": [exchange["input_tokens"], exchange["output_tokens"]],
    }


def plain(message: dict[str, Any]) -> dict[str, Any]:
    """A message without what says nothing, and what only pieces have."""
    said = {name: value for name, value in message.items() if value is not None and name != "parsed"}
    said["role"] = "assistant"  # told with each piece, or not at all
    for call in said.get("tool_calls", []):
        call.pop("index", None)
        call["function"].pop("parsed_arguments", None)
        for name in [name for name, value in call.items() if value is None]:
            del call[name]
    return said


def of_python(got: dict[str, Any]) -> dict[str, Any]:
    usage = got.pop("usage") or {}
    tokens = [usage.get("prompt_tokens"), usage.get("completion_tokens")]
    return {**got, "message": plain(got["message"]), "tokens": tokens}


def seen(record: dict[str, Any]) -> dict[str, Any]:
    """A record as the AI SDK tells it."""
    message = record["message"]
    content = message.get("content") or ""
    parts: list[Any] = [{"type": "text", "text": content}] if isinstance(content, str) else content
    thought = [inner["text"] for part in parts if part["type"] == "thinking" for inner in part["thinking"]]
    return {
        "text": "".join(part["text"] for part in parts if part["type"] == "text"),
        "reasoning": message.get("reasoning_content") or message.get("reasoning") or "".join(thought),
        "calls": [
            {
                "id": call.get("id") or "",
                "name": call["function"]["name"],
                "input": json.loads(call["function"]["arguments"]),
            }
            for call in message.get("tool_calls") or ()
        ],
        "finish": (record["finish"] or "other").replace("_", "-"),
        "tokens": record["tokens"],
    }


def of_ai_sdk(got: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    for call, kept in zip(got["calls"], record["message"].get("tool_calls") or (), strict=False):
        if not kept.get("id"):
            call["id"] = ""  # it makes one up
    usage = got.pop("usage")
    raw = usage.get("raw") or {}
    return {**got, "tokens": [raw.get("prompt_tokens"), raw.get("completion_tokens")]}


def otherwise(pairs: dict[str, tuple[Any, Any]], as_told: Callable[[Any, Any], tuple[Any, Any]]) -> Any:
    """What a library reads otherwise: (recorded, assembled) by name."""
    found = {}
    for name, (record, got) in pairs.items():
        if "error" in got:
            found[name] = record, got
            continue
        one, other = as_told(record, got)
        if one != other:
            found[name] = one, other
    return found


@pytest.mark.parametrize("how", SENT)
async def test_the_record_is_what_the_openai_sdk_assembled(
    how: str, libraries: Libraries, front: Front, upstream: Upstream
):
    pairs = await kept_and_assembled("assembled.py", how, libraries, front, upstream)
    found = otherwise(
        pairs,
        lambda record, got: ({**record, "message": plain(record["message"])}, of_python(got)),
    )
    assert {name: found[name] for name in found.keys() - PYTHON.keys()} == {}
    assert how == "in one body" or found.keys() == PYTHON.keys()


@pytest.mark.parametrize("how", SENT)
async def test_it_is_what_the_ai_sdk_assembled(
    how: str, libraries: Libraries, front: Front, upstream: Upstream
):
    pairs = await kept_and_assembled("assembled.mjs", how, libraries, front, upstream)
    found = otherwise(pairs, lambda record, got: (seen(record), of_ai_sdk(got, record)))
    assert {name: found[name] for name in found.keys() - AI_SDK.keys()} == {}
    assert how == "in one body" or found.keys() == AI_SDK.keys()
