"""How the pieces of one message join: a table for each kind of object, key -> rule.

What no table names follows OpenAI's SDKs (see `joining`). Null says nothing and never overwrites; nor does an
empty list or object at the top of a message. Upstreams put them into every delta, and some refuse them when
the message is sent back. Only `content` may be null, as it is beside tool calls.

The dialects that these rules, those of `tool_calls` and `parts` and those of `assembly` are there for:

    what is told                                       by whom, and where it was reported
    -------------------------------------------------  --------------------------------------------------
    whole calls, all with index 0 or with none         Ollama (ollama #15457, litellm #33678), Dynamo
                                                         (#4723); Gemini's OpenAI endpoint (openai-python
                                                         #2806)
    one call at several indexes, by its id             LocalAI (#9722)
    a first index that is not 0                        LiteLLM in front of Responses (pipecat #4987)
    calls with no id, or an empty one                  llama.cpp #11992; Gemini (openai-dotnet #428)
    calls with no type                                 vLLM #16340; Mistral on Azure (vercel/ai #12901)
    a new id with each piece of a call                 LiteLLM in front of OCI (litellm #28223), Poolside
                                                         (pool #9); older vLLM
    the name behind the arguments                      SGLang (vercel/ai #14760, #15879)
    the name in pieces, or once more with each piece   OpenAI's SDKs for Python and Node differ here
    arguments `{}` first, then the real ones           LiteLLM in front of Claude (litellm #4537), Kimi's
                                                         Anthropic endpoint (ccx #183)
    no arguments at all for a call that takes none     GitHub Copilot (Router-Maestro #162)
    arguments as an object                             LiteLLM in front of Ollama (litellm #37792)
    arguments so far, or all of them, once more        Baidu Qianfan (hermes-agent #35592), GLM (opencode
                                                         #12425); vercel/ai #12052
    text in one choice, calls in others                Claude behind GitHub Copilot (zeroclaw #2136, gptel
                                                         #1284)
    a token count as the choice's index                text-generation-inference #1648; Foundry Local (#144)
    a finish reason with every chunk                   Gemini behind LiteLLM (litellm #2195)
    the text "null" for none                           KoboldCpp (AIShell #350)
    a message beside each delta                        Foundry Local (#144); Perplexity, with all so far
    an empty role with each delta                      MiniMax (MiniMax-M2.5 #2)
    thinking as a list of parts, text as strings       Mistral's Magistral (litellm #16272)
    a block of thinking with each delta, the signature
      with the last                                    LiteLLM in front of Claude (litellm #29428)
    `reasoning_content`                                DeepSeek, llama.cpp, SGLang, Moonshot, Qwen, Z.ai, as
                                                         their documentation says
    `reasoning`                                        vLLM (#38488), Ollama (#18534), Groq, Cerebras,
                                                         OpenRouter
    `reasoning_details`                                OpenRouter and MiniMax, as their documentation says
    `reasoning_text`, `reasoning_opaque`               GitHub Copilot (opencode #4468)
    a signature beside a call, in `extra_content`      Gemini 3 (spring-ai #4977)
    halves of an emoji in two deltas                   servers that cut text by UTF-16 units (rakazo #416)
    an error in `base_resp`, with choices null         MiniMax (cherry-studio #11287)

Those of the stream itself are in `sse`, the reasons for an end that tell of failure in `reading`.
"""

from __future__ import annotations

from typing import Any

from sidecar.dialects.chat.joining import OBJECT, Rules, Text, encode, once, put
from sidecar.dialects.chat.parts import Details, blocks, content, details
from sidecar.dialects.chat.tool_calls import Calls, FunctionCall

__all__ = ["encode_message", "merge_message"]


def merge_message(message: dict[str, Any], delta: dict[str, Any]) -> None:
    """Add one delta to `message`, which afterwards owns the delta's lists and objects."""
    for key, value in delta.items():
        held = message.get(key)
        # Nearly every delta is one more piece of a text: it gets no further than here.
        if type(held) is Text and type(value) is str:
            held.pieces.append(value)
        elif value is None and key == "content":
            message.setdefault(key, None)
        else:
            put(message, key, value, _MESSAGE)


def encode_message(message: dict[str, Any], *, finished: bool = False) -> bytes:
    """JSON of a message that is made of deltas. The message stays as it is and may grow further.

    `finished`: nothing more will come. Only then a call that has no arguments yet has none at all.
    """
    said = {}
    for key, value in message.items():
        if isinstance(value, (Calls, FunctionCall)):
            value.finished = finished
            value = value.value()
        if value or not isinstance(value, _CONTAINERS):
            said[key] = value
    if said.get("role") != "assistant":  # whatever else it is called there
        said.pop("role", None)
        said = {"role": "assistant", **said}
    if said.get("content") is None and said.keys() <= {"role", "content"}:
        said["content"] = ""
    return encode(said)


def _tool_calls(held: Any, value: Any) -> Calls:
    calls = held if isinstance(held, Calls) else Calls()
    calls.add(value if isinstance(value, list) else [value])
    return calls


def _function_call(held: Any, value: Any) -> FunctionCall:
    call = held if isinstance(held, FunctionCall) else FunctionCall()
    call.add(value)
    return call


_CONTAINERS = (list, dict, Details)
_MESSAGE: Rules = {
    **OBJECT,
    "content": content,
    "tool_calls": _tool_calls,
    "function_call": _function_call,
    "reasoning_details": details,
    "reasoning_opaque": once,
    "phase": once,
    "thinking_blocks": blocks,
}
