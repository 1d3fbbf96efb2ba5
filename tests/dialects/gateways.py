"""More streams, as engines and gateways are known to send them: what is odd in each, and what it says."""

from __future__ import annotations

import json

from tests.dialects.transcripts import Transcript

__all__ = ["GATEWAYS"]


def _events(*payloads: str, done: bool = True) -> bytes:
    return "".join(f"data: {each}\n\n" for each in [*payloads, *(["[DONE]"] if done else [])]).encode()


def _chunk(delta: str, finish: str = "null", index: int = 0, more: str = "") -> str:
    return (
        f'{{"id":"c","object":"chat.completion.chunk","model":"m",'
        f'"choices":[{{"index":{index},"delta":{{{delta}}},"finish_reason":{finish}}}]{more}}}'
    )


def _call(fields: str, function: str) -> str:
    return f'"tool_calls":[{{{fields}"function":{{{function}}}}}]'


def _weather(id: str | None = "c1") -> dict[str, object]:
    function = {"name": "weather", "arguments": '{"city":"Oslo"}'}
    return {**({} if id is None else {"id": id}), "type": "function", "function": function}


_NAMED = r'"name":"weather","arguments":"{\"city\":\"Oslo\"}"'

_FIRST = '"index":0,"id":"c1","type":"function",'

GATEWAYS = [
    Transcript(
        name="gemini: no id, index 0",
        stream=_events(
            _chunk('"role":"assistant",' + _call('"index":0,"id":"","type":"function",', _NAMED), '"stop"'),
            done=True,
        ),
        messages=[("stop", {"role": "assistant", "tool_calls": [_weather("")]})],
        model="m",
    ),
    Transcript(
        name="gemini: a signature beside the call",
        stream=_events(
            _chunk(
                '"role":"assistant",'
                + _call(
                    '"extra_content":{"google":{"thought_signature":"c2ln"}},"id":"c1","type":"function",',
                    _NAMED,
                ),
                '"tool_calls"',
            )
        ),
        messages=[
            (
                "tool_calls",
                {
                    "role": "assistant",
                    "tool_calls": [
                        {**_weather(), "extra_content": {"google": {"thought_signature": "c2ln"}}}
                    ],
                },
            )
        ],
        model="m",
    ),
    Transcript(
        name="llama.cpp: an error as a field",
        stream=_events(_chunk('"role":"assistant","content":"Half"'), done=False)
        + b'error: {"code":500,"message":"boom","type":"server_error"}\n\n',
        messages=[(None, {"role": "assistant", "content": "Half"})],
        model="m",
        error='{"code":500,"message":"boom","type":"server_error"}',
        done=False,
    ),
    Transcript(
        name="llama.cpp: a call without an id",
        stream=_events(
            _chunk('"role":"assistant","content":null'),
            _chunk(_call('"index":0,"type":"function",', '"name":"weather","arguments":"{"')),
            _chunk(_call('"index":0,', r'"arguments":"\"city\":\"Oslo\"}"')),
            _chunk("", '"tool_calls"'),
        ),
        messages=[("tool_calls", {"role": "assistant", "content": None, "tool_calls": [_weather(None)]})],
        model="m",
    ),
    Transcript(
        name="vllm: no type, a new id with each piece",
        stream=_events(
            _chunk(_call('"index":0,"id":"c1",', '"name":"weather"')),
            _chunk(_call('"index":0,"id":"c2",', r'"arguments":"{\"city\":"')),
            _chunk(_call('"index":0,"id":"c3",', r'"arguments":"\"Oslo\"}"')),
            _chunk('"content":""', '"tool_calls"'),
        ),
        messages=[("tool_calls", {"role": "assistant", "tool_calls": [_weather()], "content": ""})],
        model="m",
    ),
    Transcript(
        name="sglang: the name behind the arguments",
        stream=_events(
            _chunk(
                '"role":"assistant",'
                + _call('"index":0,"id":"c1","type":"function",', r'"arguments":"{\"city\":"')
            ),
            _chunk(_call('"index":0,', r'"name":"weather","arguments":"\"Oslo\"}"'), '"tool_calls"'),
        ),
        messages=[("tool_calls", {"role": "assistant", "tool_calls": [_weather()]})],
        model="m",
    ),
    Transcript(
        name="deepseek: thinking, comments, keep-alive",
        stream=b": keep-alive\n\n"
        + _events(
            _chunk('"role":"assistant","content":null,"reasoning_content":"Hm"'),
            _chunk('"content":null,"reasoning_content":"."'),
            _chunk('"content":"Yes","reasoning_content":null'),
            _chunk('"content":""', '"stop"', more=',"usage":{"total_tokens":3}'),
        ),
        messages=[("stop", {"role": "assistant", "content": "Yes", "reasoning_content": "Hm."})],
        model="m",
        usage='{"total_tokens":3}',
    ),
    Transcript(
        name="deepseek: out of resources",
        stream=_events(
            _chunk('"role":"assistant","content":"Ha"'), _chunk("", '"insufficient_system_resource"')
        ),
        messages=[("insufficient_system_resource", {"role": "assistant", "content": "Ha"})],
        model="m",
    ),
    Transcript(
        name="mistral: thinking in parts",
        stream=_events(
            _chunk('"role":"assistant","content":""'),
            _chunk('"content":[{"type":"thinking","thinking":[{"type":"text","text":"Let"}]}]'),
            _chunk('"content":[{"type":"thinking","thinking":[{"type":"text","text":" me"}]}]'),
            _chunk('"content":"Ye"'),
            _chunk('"content":"s"', '"stop"'),
        ),
        messages=[
            (
                "stop",
                {
                    "role": "assistant",
                    "content": [
                        {"type": "thinking", "thinking": [{"type": "text", "text": "Let me"}]},
                        {"type": "text", "text": "Yes"},
                    ],
                },
            )
        ],
        model="m",
    ),
    Transcript(
        name="litellm: claude's thinking in blocks",
        stream=_events(
            _chunk(
                '"role":"assistant","thinking_blocks":[{"type":"thinking","thinking":"Let","signature":""}]'
            ),
            _chunk('"thinking_blocks":[{"type":"thinking","thinking":" me","signature":""}]'),
            _chunk('"thinking_blocks":[{"type":"thinking","thinking":"","signature":"c2ln"}]'),
            _chunk('"thinking_blocks":[{"type":"redacted_thinking","data":"eA=="}]'),
            _chunk('"content":"Yes"', '"stop"'),
        ),
        messages=[
            (
                "stop",
                {
                    "role": "assistant",
                    "thinking_blocks": [
                        {"type": "thinking", "thinking": "Let me", "signature": "c2ln"},
                        {"type": "redacted_thinking", "data": "eA=="},
                    ],
                    "content": "Yes",
                },
            )
        ],
        model="m",
    ),
    Transcript(
        name="copilot: text and calls in two choices",
        stream=_events(
            _chunk('"role":"assistant","content":"Look.","reasoning_text":"Hm","reasoning_opaque":"b3A="'),
            _chunk("", '"tool_calls"'),
            _chunk(
                '"content":null,' + _call('"index":0,"id":"c1","type":"function",', _NAMED), '"tool_calls"', 1
            ),
        ),
        messages=[
            (
                "tool_calls",
                {
                    "role": "assistant",
                    "content": "Look.",
                    "reasoning_text": "Hm",
                    "reasoning_opaque": "b3A=",
                    "tool_calls": [_weather()],
                },
            )
        ],
        model="m",
    ),
    Transcript(
        name="text-generation-inference: the index counts tokens",
        stream=_events(*(_chunk(f'"content":"{each}"', index=at) for at, each in enumerate("I'm", 1))),
        messages=[(None, {"role": "assistant", "content": "I'm"})],
        model="m",
    ),
    Transcript(
        name="lm studio: CR LF, arguments empty at first",
        stream=_events(
            _chunk(
                '"role":"assistant",'
                + _call('"index":0,"id":"c1","type":"function",', '"name":"weather","arguments":""')
            ),
            _chunk(_call('"index":0,"type":"function",', r'"arguments":"{\"city\":\"Oslo\"}"')),
            _chunk("", '"tool_calls"'),
        ).replace(b"\n", b"\r\n"),
        messages=[("tool_calls", {"role": "assistant", "tool_calls": [_weather()]})],
        model="m",
    ),
    Transcript(
        name="baseten: one line end between events",
        stream=_events(
            _chunk('"role":"assistant","content":"Ye"'), _chunk('"content":"s"', '"stop"')
        ).replace(b"\n\n", b"\n"),
        messages=[("stop", {"role": "assistant", "content": "Yes"})],
        model="m",
    ),
    Transcript(
        name="koboldcpp: the text null",
        stream=_events(_chunk('"content":"Ye"', '"null"'), _chunk('"content":"s"', '"stop"')),
        messages=[("stop", {"role": "assistant", "content": "Yes"})],
        model="m",
    ),
    Transcript(
        name="anthropic: an event called error",
        stream=_events(_chunk('"role":"assistant","content":"Ha"'), done=False)
        + b'event: error\ndata: {"type":"overloaded_error","message":"Overloaded"}\n\n',
        messages=[(None, {"role": "assistant", "content": "Ha"})],
        model="m",
        error='{"type":"overloaded_error","message":"Overloaded"}',
        done=False,
    ),
    Transcript(
        name="foundry local: a message beside each delta, an index that counts",
        stream=_events(
            *(
                f'{{"model":null,"choices":[{{"delta":{{{said}}},"message":{{{said}}},"index":{at},'
                f'"finish_reason":{finish}}}],"error":null,"Successful":true}}'
                for at, said, finish in (
                    (1, '"role":"assistant","content":"Ye","name":null,"tool_calls":[]', "null"),
                    (2, '"role":"assistant","content":"s","name":null,"tool_calls":[]', '"stop"'),
                )
            )
        ),
        messages=[("stop", {"role": "assistant", "content": "Yes"})],
        model=None,
    ),
    Transcript(
        name="minimax: an empty role with each piece",
        stream=_events(
            _chunk('"role":"assistant","content":""'),
            _chunk('"role":"","content":"Yes","reasoning_content":""'),
            _chunk('"role":"","content":""', '"stop"', more=',"base_resp":{"status_code":0}'),
        ),
        messages=[("stop", {"role": "assistant", "content": "Yes", "reasoning_content": ""})],
        model="m",
    ),
    Transcript(
        name="minimax: an error of its own",
        stream=_events(
            _chunk('"role":"assistant","content":"Ha"'),
            '{"choices":null,"usage":{"total_tokens":0},"base_resp":{"status_code":1008,"status_msg":"no"}}',
            done=False,
        ),
        messages=[(None, {"role": "assistant", "content": "Ha"})],
        model="m",
        usage='{"total_tokens":0}',
        error='{"status_code":1008,"status_msg":"no"}',
        done=False,
    ),
    Transcript(
        name="litellm: ollama's calls, objects at index 0",
        stream=_events(
            _chunk(_call('"index":0,"id":"c1",', '"name":"weather","arguments":{"city":"Oslo"}')),
            _chunk(_call('"index":0,"id":"c2",', '"name":"weather","arguments":{"city":"Oslo"}')),
            _chunk("", '"stop"'),
        ),
        messages=[("stop", {"role": "assistant", "tool_calls": [_weather(), _weather("c2")]})],
        model="m",
    ),
    Transcript(
        name="qianfan: the arguments so far with each piece",
        stream=_events(
            *(
                _chunk(
                    _call('"index":0,"id":"c1","type":"function",', f'"name":"weather","arguments":"{each}"')
                )
                for each in ("", r"{\"city\":", r"{\"city\":\"Os", r"{\"city\":\"Oslo\"}")
            ),
            _chunk("", '"tool_calls"'),
        ),
        messages=[("tool_calls", {"role": "assistant", "tool_calls": [_weather()]})],
        model="m",
    ),
    Transcript(
        name="glm: all arguments once more",
        stream=_events(
            _chunk(
                _call('"index":0,"id":"c1","type":"function",', r'"name":"weather","arguments":"{\"city\""')
            ),
            _chunk(_call('"index":0,', r'"arguments":":\"Oslo\"}"')),
            _chunk(_call('"index":0,', r'"arguments":"{\"city\":\"Oslo\"}"'), '"tool_calls"'),
        ),
        messages=[("tool_calls", {"role": "assistant", "tool_calls": [_weather()]})],
        model="m",
    ),
    Transcript(
        name="localai: one call at several indexes",
        stream=_events(
            _chunk(_call('"index":0,"id":"c1","type":"function",', '"name":"weather","arguments":""')),
            _chunk(_call('"index":1,"id":"c1","type":"function",', r'"arguments":"{\"city\":\"Oslo\"}"')),
            _chunk("", '"tool_calls"'),
        ),
        messages=[("tool_calls", {"role": "assistant", "tool_calls": [_weather()]})],
        model="m",
    ),
    Transcript(
        name="litellm in front of responses: a first index of 1",
        stream=_events(
            _chunk(_call('"index":1,"id":"c1","type":"function",', '"name":"weather","arguments":""')),
            _chunk(_call('"index":1,"id":null,', r'"name":null,"arguments":"{\"city\":\"Oslo\"}"')),
            _chunk("", '"tool_calls"'),
        ),
        messages=[("tool_calls", {"role": "assistant", "tool_calls": [_weather()]})],
        model="m",
    ),
    Transcript(
        name="copilot: each call in a choice of its own",
        stream=json.dumps(
            {
                "model": "m",
                "choices": [
                    {"message": {"role": "assistant", "content": "Look."}, "finish_reason": "tool_calls"},
                    *(
                        {
                            "index": at,
                            "message": {"role": "assistant", "tool_calls": [_weather(f"c{at}")]},
                            "finish_reason": "tool_calls",
                        }
                        for at in (1, 2)
                    ),
                ],
            }
        ).encode(),
        messages=[
            (
                "tool_calls",
                {"role": "assistant", "content": "Look.", "tool_calls": [_weather(), _weather("c2")]},
            )
        ],
        model="m",
        done=False,
    ),
    Transcript(
        name="lemonade: an error in a line of its own",
        stream=_events(_chunk('"role":"assistant","content":"Ha"'), done=False) + b'{"error":{"code":503}}\n',
        messages=[(None, {"role": "assistant", "content": "Ha"})],
        model="m",
        error='{"code":503}',
        done=False,
    ),
]
