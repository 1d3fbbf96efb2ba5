"""Streams as these servers send them, shortened, and what each of them says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

__all__ = ["TRANSCRIPTS", "Transcript"]


@dataclass(frozen=True)
class Transcript:
    """`messages` are the (finish reason, message) of each choice; `usage` and `error` are JSON."""

    name: str
    stream: bytes
    messages: list[tuple[str | None, dict[str, Any]]]
    model: str | None
    usage: str | None = None
    error: str | None = None
    done: bool = True
    ignored: int = 0
    choices: int = 1


def _events(head: str, *bodies: str, end: str = "\n\n", last: str = "[DONE]") -> bytes:
    """Events whose payload is `{head,body}`, and the last one."""
    payloads = ["{" + ",".join(filter(None, (head, body))) + "}" for body in bodies]
    return "".join(f"data: {payload}{end}" for payload in [*payloads, last] if payload).encode()


def _choice(delta: str, finish_reason: str = "null", index: int = 0, more: str = "") -> str:
    return f'"choices":[{{"index":{index},"delta":{{{delta}}}{more},"finish_reason":{finish_reason}}}]'


_OPENAI = (
    '"id":"chatcmpl-B9","object":"chat.completion.chunk","created":1741570283,"model":"gpt-4o-2024-08-06",'
    '"service_tier":"default","system_fingerprint":"fp_fc9f1d7035"'
)
_LLAMA = '"created":1741570283,"id":"chatcmpl-iW","model":"gemma-3","system_fingerprint":"b4900","object":"x"'
_VLLM = '"id":"chat-1","object":"chat.completion.chunk","created":1741570283,"model":"Qwen/Qwen3-8B"'
_OLLAMA = '"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"llama3.2"'
_ROUTER = (
    '"id":"gen-1","provider":"Anthropic","model":"anthropic/claude-sonnet-4","object":"chat.completion.chunk"'
)
_DETAIL = '"type":"reasoning.text","format":"anthropic-claude-v1","index":0'

TRANSCRIPTS = [
    Transcript(
        name="openai",
        stream=_events(
            _OPENAI,
            _choice('"role":"assistant","content":"","refusal":null', more=',"logprobs":null')
            + ',"usage":null',
            _choice('"content":"Hello"', more=',"logprobs":null') + ',"usage":null',
            _choice('"content":" 🌍"', more=',"logprobs":null') + ',"usage":null,"obfuscation":"x7Kf"',
            _choice("", '"stop"', more=',"logprobs":null') + ',"usage":null',
            '"choices":[],"usage":{"prompt_tokens":19,"completion_tokens":3,"total_tokens":22}',
        ),
        messages=[("stop", {"role": "assistant", "content": "Hello 🌍"})],
        model="gpt-4o-2024-08-06",
        usage='{"prompt_tokens":19,"completion_tokens":3,"total_tokens":22}',
    ),
    Transcript(
        name="openai-parallel-tools",
        stream=_events(
            _OPENAI,
            _choice('"role":"assistant","content":null'),
            _choice(
                '"tool_calls":[{"index":0,"id":"call_a","type":"function",'
                '"function":{"name":"weather","arguments":""}}]'
            ),
            _choice('"tool_calls":[{"index":0,"function":{"arguments":"{\\"city\\":"}}]'),
            _choice('"tool_calls":[{"index":0,"function":{"arguments":" \\"Köln\\"}"}}]'),
            _choice(
                '"tool_calls":[{"index":1,"id":"call_b","type":"function",'
                '"function":{"name":"clock","arguments":""}}]'
            ),
            _choice('"tool_calls":[{"index":1,"function":{"arguments":"{}"}}]'),
            _choice("", '"tool_calls"'),
        ),
        messages=[
            (
                "tool_calls",
                {
                    "role": "assistant",
                    "content": None,
                    "tool_calls": [
                        {
                            "id": "call_a",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city": "Köln"}'},
                        },
                        {
                            "id": "call_b",
                            "type": "function",
                            "function": {"name": "clock", "arguments": "{}"},
                        },
                    ],
                },
            )
        ],
        model="gpt-4o-2024-08-06",
    ),
    Transcript(
        name="openai-n-2",
        stream=_events(
            _OPENAI,
            _choice('"role":"assistant","content":""', index=0),
            _choice('"role":"assistant","content":""', index=1),
            _choice('"content":"Heads"', index=1),
            _choice('"content":"Tails"', index=0),
            _choice("", '"length"', index=1),
            _choice("", '"stop"', index=0),
        ),
        messages=[
            ("stop", {"role": "assistant", "content": "Tails"}),
            ("length", {"role": "assistant", "content": "Heads"}),
        ],
        model="gpt-4o-2024-08-06",
        choices=2,
    ),
    Transcript(
        name="openai-audio",
        stream=_events(
            _OPENAI,
            _choice('"role":"assistant","refusal":null,"audio":{"id":"audio_1","transcript":"Hel"}'),
            _choice('"audio":{"data":"UklG","transcript":"lo"}'),
            _choice('"audio":{"data":"RkZF"}'),
            _choice('"audio":{"expires_at":1741573883}'),
            _choice("", '"stop"'),
        ),
        messages=[
            (
                "stop",
                {
                    "role": "assistant",
                    "audio": {
                        "id": "audio_1",
                        "transcript": "Hello",
                        "data": "UklGRkZF",
                        "expires_at": 1741573883,
                    },
                },
            )
        ],
        model="gpt-4o-2024-08-06",
    ),
    Transcript(
        name="llama.cpp",
        stream=_events(
            "",
            '"choices":[{"finish_reason":null,"index":0,"delta":{"role":"assistant","content":null}}],'
            + _LLAMA,
            '"choices":[{"finish_reason":null,"index":0,"delta":{"content":"Hi"}}],' + _LLAMA,
            '"choices":[{"finish_reason":"stop","index":0,"delta":{}}],' + _LLAMA,
            '"choices":[],'
            + _LLAMA
            + ',"usage":{"completion_tokens":2,"prompt_tokens":11,"total_tokens":13},'
            '"timings":{"cache_n":9,"prompt_n":2,"predicted_ms":4.25}',
        ),
        messages=[("stop", {"role": "assistant", "content": "Hi"})],
        model="gemma-3",
        usage='{"completion_tokens":2,"prompt_tokens":11,"total_tokens":13}',
    ),
    Transcript(
        name="vllm-reasoning",
        stream=_events(
            _VLLM,
            _choice('"role":"assistant","content":""', more=',"logprobs":null'),
            _choice('"reasoning_content":"Okay"', more=',"logprobs":null'),
            _choice('"reasoning_content":",\\n"', more=',"logprobs":null'),
            _choice('"content":"42"', more=',"logprobs":null'),
            _choice('"content":""', '"stop"', more=',"logprobs":null,"stop_reason":null'),
            '"choices":[],"usage":{"prompt_tokens":7,"total_tokens":12,"completion_tokens":5}',
        ),
        messages=[("stop", {"role": "assistant", "content": "42", "reasoning_content": "Okay,\n"})],
        model="Qwen/Qwen3-8B",
        usage='{"prompt_tokens":7,"total_tokens":12,"completion_tokens":5}',
    ),
    Transcript(
        name="ollama-tools",
        stream=_events(
            _OLLAMA,
            _choice(
                '"role":"assistant","content":"","tool_calls":[{"id":"call_1","index":0,"type":"function",'
                '"function":{"name":"weather","arguments":"{\\"city\\":\\"Oslo\\"}"}}]'
            ),
            _choice(
                '"role":"assistant","content":"","tool_calls":[{"id":"call_2","index":0,"type":"function",'
                '"function":{"name":"weather","arguments":"{\\"city\\":\\"Rome\\"}"}}]'
            ),
            _choice('"role":"assistant","content":""', '"tool_calls"'),
        ),
        messages=[
            (
                "tool_calls",
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [
                        {
                            "id": "call_1",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Oslo"}'},
                        },
                        {
                            "id": "call_2",
                            "type": "function",
                            "function": {"name": "weather", "arguments": '{"city":"Rome"}'},
                        },
                    ],
                },
            )
        ],
        model="llama3.2",
    ),
    Transcript(
        name="azure",
        stream=_events(
            "",
            '"choices":[],"created":0,"id":"","model":"","object":"","prompt_filter_results":'
            '[{"prompt_index":0,"content_filter_results":{"hate":{"filtered":false,"severity":"safe"}}}]',
            _choice('"role":"assistant","content":"","refusal":null', more=',"content_filter_results":{}')
            + ',"model":"gpt-4o"',
            _choice('"content":"Hi"', more=',"content_filter_results":{"hate":{"filtered":false}}')
            + ',"model":"gpt-4o"',
            _choice("", '"stop"', more=',"content_filter_results":{}') + ',"model":"gpt-4o"',
            '"choices":[{"content_filter_offsets":{"check_offset":44,"start_offset":44,"end_offset":46},'
            '"content_filter_results":{},"finish_reason":null,"index":0}],"created":0,"id":"","model":""',
        ),
        messages=[("stop", {"role": "assistant", "content": "Hi"})],
        model="gpt-4o",
    ),
    Transcript(
        name="openrouter",
        stream=b": OPENROUTER PROCESSING\n\n: OPENROUTER PROCESSING\n\n"
        + _events(
            _ROUTER,
            _choice(
                '"role":"assistant","content":"","reasoning":"Let",'
                f'"reasoning_details":[{{{_DETAIL},"text":"Let"}}]',
                more=',"native_finish_reason":null',
            ),
            _choice(
                '"role":"assistant","content":"","reasoning":" me",'
                f'"reasoning_details":[{{{_DETAIL},"text":" me"}}]'
            ),
            _choice(
                '"role":"assistant","content":"","reasoning":null,'
                f'"reasoning_details":[{{{_DETAIL},"signature":"RXJ"}}]'
            ),
            _choice('"role":"assistant","content":"Yes"'),
            _choice('"role":"assistant","content":""', '"stop"', more=',"native_finish_reason":"end_turn"'),
            _choice('"role":"assistant","content":""') + ',"usage":{"prompt_tokens":5,"cost":0.000210}',
        ),
        messages=[
            (
                "stop",
                {
                    "role": "assistant",
                    "content": "Yes",
                    "reasoning": "Let me",
                    "reasoning_details": [
                        {
                            "type": "reasoning.text",
                            "format": "anthropic-claude-v1",
                            "index": 0,
                            "text": "Let me",
                            "signature": "RXJ",
                        }
                    ],
                },
            )
        ],
        model="anthropic/claude-sonnet-4",
        usage='{"prompt_tokens":5,"cost":0.000210}',
    ),
    Transcript(
        name="an error in the middle",
        stream=_events(
            _ROUTER,
            _choice('"role":"assistant","content":"Once"'),
            '"error":{"code":502,"message":"Provider disconnected"},' + _choice('"content":""', '"error"'),
            last="",
        ),
        messages=[("error", {"role": "assistant", "content": "Once"})],
        model="anthropic/claude-sonnet-4",
        error='{"code":502,"message":"Provider disconnected"}',
        done=False,
    ),
    Transcript(
        name="CR LF, an event name and no [DONE]",
        stream=b"event: message\r\n"
        + _events(_VLLM, _choice('"content":"Hi"'), _choice("", '"stop"'), end="\r\n\r\n", last=""),
        messages=[("stop", {"role": "assistant", "content": "Hi"})],
        model="Qwen/Qwen3-8B",
        done=False,
    ),
    Transcript(
        name="cut in the middle of a character",
        stream=_events(_VLLM, _choice('"content":"Hi"'), _choice('"content":"🌍'), last="").partition(
            b"\x8c"
        )[0],
        messages=[(None, {"role": "assistant", "content": "Hi"})],
        model="Qwen/Qwen3-8B",
        done=False,
        ignored=1,
    ),
]
