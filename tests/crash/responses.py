"""Clients of the Responses API, in each of their ways: they take an answer for seen at `response.completed`.

What was seen so has to be told again by its id, byte for byte: see `told_again`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import msgspec
from aiohttp import ClientError, ClientSession

from tests.crash.clients import Client, Message, Refused
from tests.crash.ledger import Fault, Seen

__all__ = ["WAYS", "ResponsesClient", "told_again"]

#: All that was said each time; from the response before; in a conversation.
WAYS = ("whole", "previous", "conversation")
_TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}


class ResponsesClient(Client):
    """A client in one of the `WAYS`."""

    def __init__(self, key: str, way: str, *, chance: random.Random, notify: Callable[[Seen], None]) -> None:
        super().__init__(key, full=way == "whole", chance=chance, notify=notify)
        self._way = way
        self._last: str | None = None
        self._answered: tuple[str, bytes] | None = None

    async def _ask(self, http: ClientSession, base: str, messages: list[Message]) -> Message | None:
        streamed = self._chance.random() < 0.6
        body: dict[str, Any] = {
            "model": "m",
            "stream": streamed,
            "tools": [_TOOL],
            "input": list(_items(messages)),
        }
        headers = {"X-Conversation-ID": self._key}
        if self._way == "whole":
            headers["X-Sidecar-History"] = "full"
        elif self._way == "conversation" and self._last is not None:
            body["conversation"], headers = self._key, {}
        elif self._last is not None:
            body["previous_response_id"] = self._last
        else:
            headers["X-Sidecar-History"] = "append"
        data = b""
        try:
            async with http.post(f"{base}/v1/responses", json=body, headers=headers) as response:
                async for chunk in response.content.iter_any():
                    data += chunk
                if response.status != 200:
                    raise Refused(f"{response.status} {data[:300]!r}")
        except (ClientError, OSError):
            pass  # what came before may have been all of it
        told = _completed(data) if streamed else data
        return self._message(told) if told is not None else None

    def _message(self, told: bytes) -> Message | None:
        try:
            response = msgspec.json.decode(told)
        except ValueError:
            return None
        if response["status"] != "completed":  # its upstream broke off
            return None
        self._last = response["id"]
        self._answered = response["id"], told
        return _message_of(response["output"])

    def _seen(self, before: Sequence[Message], reply: Message) -> Seen:
        return replace(super()._seen(before, reply), response=self._answered)


async def told_again(http: ClientSession, base: str, seen: Sequence[Seen]) -> list[Fault]:
    """What of the responses that were seen is not told again as it was."""
    found = []
    for each in seen:
        if each.response is None:
            continue
        id, told = each.response
        async with http.get(f"{base}/v1/responses/{id}") as response:
            again = await response.read()
        if response.status != 200:
            found.append(Fault("missing", f"{each.key}: {id} is answered with {response.status}"))
        elif again != told:
            found.append(Fault("broken", f"{each.key}: {id} is told otherwise: {again!r} was {told!r}"))
    return found


def _completed(data: bytes) -> bytes | None:
    """The response within the event of its end, as it was sent; None where there is none."""
    for event in data.split(b"\n\n")[:-1]:
        name, _, payload = event.partition(b"\ndata: ")
        if name == b"event: response.completed":
            return bytes(msgspec.json.decode(payload, type=dict[str, msgspec.Raw])["response"])
    return None


def _message_of(output: list[Message]) -> Message:
    """An answer as a message of a chat, for the ledger, and its items as its client sends them back."""
    message: Message = {"role": "assistant", "content": None, "items": output}
    for item in output:
        if item["type"] == "message":
            message["content"] = (message["content"] or "") + "".join(
                each["text"] for each in item["content"]
            )
        elif item["type"] == "reasoning":
            message["reasoning_content"] = "".join(each["text"] for each in item["summary"])
        else:
            function = {"name": item["name"], "arguments": item["arguments"]}
            made = {"id": item["call_id"], "type": "function", "function": function}
            message.setdefault("tool_calls", []).append(made)
    return message


def _items(messages: Sequence[Message]) -> Iterator[Message]:
    for each in messages:
        content = each["content"]
        if each["role"] == "assistant":
            yield from each["items"]
        elif each["role"] == "tool":
            yield {"type": "function_call_output", "call_id": each["tool_call_id"], "output": content}
        else:
            yield {"role": "user", "content": content if isinstance(content, str) else list(_parts(content))}


def _parts(content: Sequence[Message]) -> Iterator[Message]:
    for part in content:
        if part["type"] == "text":
            yield {"type": "input_text", "text": part["text"]}
        else:
            yield {"type": "input_image", "image_url": part["image_url"]["url"]}
