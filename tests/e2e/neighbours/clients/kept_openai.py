"""The OpenAI SDK for Python on all that is kept: responses and conversations by their ids.

Reads {"base_url", "model"} and writes what it got, as JSON.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import openai


def responses(client: openai.OpenAI, model: str) -> dict[str, Any]:
    """A response from its beginning to its deletion."""
    first = client.responses.create(model=model, input="1", metadata={"a": "b"}, instructions="Be brief.")
    with client.responses.stream(model=model, input="2", previous_response_id=first.id) as stream:
        second = stream.until_done().get_final_response()
    again = [client.responses.retrieve(each.id).output_text == each.output_text for each in (first, second)]
    listed = client.responses.input_items.list(second.id, order="asc", limit=1)
    items = [each.to_dict() for each in listed]
    client.responses.delete(first.id)
    gone = failure(lambda: client.responses.retrieve(first.id))
    return {
        "same": again,
        "texts": [text_of(each) for each in items],
        "ids": [items[1]["id"] == first.output[0].id],
        "gone": gone,
        "behind": failure(
            lambda: client.responses.create(model=model, input="3", previous_response_id=first.id)
        ),
    }


def background(client: openai.OpenAI, model: str) -> dict[str, Any]:
    """A response that is made without its client: asked for, followed, and another one cancelled."""
    first = client.responses.create(model=model, input="1", background=True)
    with client.responses.retrieve(first.id, stream=True) as stream:
        events = [each.to_dict() for each in stream]
    with client.responses.retrieve(first.id, stream=True, starting_after=3) as stream:
        rest = [each.to_dict() for each in stream]
    over = client.responses.retrieve(first.id)
    with client.responses.create(model=model, input="2", background=True, stream=True) as stream:
        second: Any = next(iter(stream)).to_dict()["response"]
    cancelled = client.responses.cancel(second["id"])
    return {
        "begun": [first.status, first.background],
        "kinds": [each["type"] for each in (*events[:3], events[-1])],
        "numbers": [each["sequence_number"] for each in events] == list(range(len(events))),
        "rest": rest == events[4:],
        "over": [over.status, over.output_text],
        "told": events[-1]["response"] == over.to_dict(),
        "cancelled": [cancelled.status, client.responses.retrieve(second["id"]).status],
        "again": client.responses.cancel(first.id).status,
    }


def conversations(client: openai.OpenAI, model: str) -> dict[str, Any]:
    """A conversation from its beginning to its deletion."""
    made = client.conversations.create(metadata={"a": "b"}, items=[{"role": "user", "content": "0"}])
    changed = client.conversations.update(made.id, metadata={"c": "d"})
    told = client.conversations.retrieve(made.id)
    added = client.conversations.items.create(made.id, items=[{"role": "assistant", "content": "zero"}])
    answered = client.responses.create(model=model, input="1", conversation=made.id)
    items = [each.to_dict() for each in client.conversations.items.list(made.id, order="asc", limit=2)]
    one = client.conversations.items.retrieve(items[0]["id"], conversation_id=made.id)
    client.conversations.items.delete(items[0]["id"], conversation_id=made.id)
    left = [text_of(each.to_dict()) for each in client.conversations.items.list(made.id)]
    deleted = client.conversations.delete(made.id)
    return {
        "metadata": [made.metadata, changed.metadata, told.metadata],
        "added": [text_of(each.to_dict()) for each in added.data],
        "answer": [
            answered.output_text,
            answered.conversation is not None and answered.conversation.id == made.id,
        ],
        "texts": [text_of(each) for each in items],
        "one": one.to_dict() == items[0],
        "left": left,
        "deleted": deleted.deleted,
        "gone": failure(lambda: client.conversations.retrieve(made.id)),
    }


def text_of(item: dict[str, Any]) -> str:
    text: str = item["content"][0]["text"]
    return text


def failure(call: Any) -> list[Any]:
    """Status and code of the error that a call raises."""
    try:
        call()
    except openai.APIStatusError as error:
        return [error.status_code, error.code]
    return []


def main() -> None:
    asked = json.load(sys.stdin)
    client = openai.OpenAI(base_url=asked["base_url"], api_key="sk-1", max_retries=0)
    told = {
        "responses": responses(client, asked["model"]),
        "conversations": conversations(client, asked["model"]),
        "background": background(client, asked["model"]),
    }
    json.dump(told, sys.stdout)


if __name__ == "__main__":
    main()
