"""Requests and answers of the Responses API to talk about."""

from __future__ import annotations

import json

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.responses.body import translated
from sidecar.dialects.responses.translation import About, Events, Whole

EXCHANGE = bytes(range(10))


def chat(input="hi", **body):
    """What goes upstream of a request, and what is left to know."""
    if input is not None:
        body["input"] = input
    apart = bool(body.get("background"))
    data, asked = translated(
        json.dumps({"model": "m", **body}).encode(), "max_completion_tokens", apart=apart
    )
    return json.loads(data), asked


def messages(*items, **body):
    return chat(list(items), **body)[0]["messages"]


def asked(**body):
    return chat(**body)[1]


def about(most=1 << 20, **body):
    """What the answer to a request is told with."""
    return About(asked(**body), Reference("", EXCHANGE), 100, lambda: 105.9, most)


def said(role, *texts):
    kind = "output_text" if role == "assistant" else "input_text"
    content = [{"type": kind, "text": text} for text in texts]
    return {"type": "message", "role": role, "content": content}


def call(id, name="look", arguments='{"a": 2}', **more):
    return {"type": "function_call", "call_id": id, "name": name, "arguments": arguments, **more}


def output(id, output="found", kind="function_call_output"):
    return {"type": kind, "call_id": id, "output": output}


def thought(*summary, **more):
    return {
        "type": "reasoning",
        "id": "rs_1",
        "summary": [{"type": "summary_text", "text": text} for text in summary],
        **more,
    }


def chunk(delta=None, finish=None, **more):
    """One payload of a chat completion that is streamed."""
    choice = {"index": 0, "delta": delta or {}, "finish_reason": finish}
    return json.dumps({"object": "chat.completion.chunk", "choices": [choice], **more}).encode()


def piece(index=None, id=None, name=None, arguments=None):
    """One piece of a tool call."""
    function = {"name": name, "arguments": arguments}
    fields = {"index": index, "id": id, "function": {k: v for k, v in function.items() if v is not None}}
    return {"tool_calls": [{k: v for k, v in fields.items() if v is not None}]}


def streamed(*payloads, done=True):
    ends = [b"data: [DONE]\n\n"] if done else []
    return b"".join([b"data: %b\n\n" % each for each in payloads] + ends)


def events_in(data):
    """The events of a stream, each held to the rules that all of them keep."""
    *blocks, rest = data.decode().split("\n\n")
    assert rest == ""
    events = []
    for block in blocks:
        if block == "data: [DONE]":
            continue
        name, line = block.split("\n")
        event = json.loads(line.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert list(event)[:2] == ["type", "sequence_number"]
        events.append(event)
    assert [each["sequence_number"] for each in events] == list(range(len(events)))
    return events


def told(*payloads, done=True, **body):
    """The events of an answer that was streamed in these payloads."""
    events = Events(about(stream=True, **body))
    ready = events.feed(streamed(*payloads, done=done)) + events.close()
    assert events.done
    assert events.held.endswith(b"data: [DONE]\n\n")
    return events_in(ready + events.held)


def answered(*payloads, **body):
    """The one object that an answer is for whoever asked for no stream."""
    whole = Whole(about(**body))
    for each in payloads:
        assert whole.feed(each) == b""
    assert (whole.close(), whole.done, whole.alive()) == (b"", True, b"")
    return json.loads(whole.held)


def completion(message, finish="stop", **more):
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return json.dumps({"object": "chat.completion", "choices": [choice], **more}).encode()
