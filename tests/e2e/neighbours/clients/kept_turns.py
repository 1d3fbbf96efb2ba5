"""Single turns of chats that are kept, each begun by another process and gone on from in another one again.

Reads {"base_url", "model", "turns": [{"way", "say", "left"}]}, with what the turn before has left, or null,
and writes [{"text", "left"}], as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from typing import Any

from agents import Agent, OpenAIConversationsSession, OpenAIResponsesModel, Runner, set_tracing_disabled
from openai import AsyncOpenAI

from tests.e2e.neighbours.clients.kept_agents import temperature

Turn = Callable[["House", str, Any], Awaitable[tuple[str, Any]]]


class House:
    """One client, and the agent of all turns that have one."""

    def __init__(self, asked: dict[str, Any]) -> None:
        self.client = AsyncOpenAI(base_url=asked["base_url"], api_key="sk-1", max_retries=0)
        self.model = asked["model"]
        model = OpenAIResponsesModel(asked["model"], self.client)
        self.agent = Agent("ada", instructions="Be brief.", model=model, tools=[temperature])


async def openai_previous(house: House, say: str, left: Any) -> tuple[str, Any]:
    """From the response before."""
    behind = {"previous_response_id": left} if left else {}
    response = await house.client.responses.create(model=house.model, input=say, **behind)
    return response.output_text, response.id


async def openai_streamed(house: House, say: str, left: Any) -> tuple[str, Any]:
    """The same, streamed, and looked up again by its id."""
    behind = {"previous_response_id": left} if left else {}
    async with house.client.responses.stream(model=house.model, input=say, **behind) as stream:
        response = await stream.get_final_response()
    again = await house.client.responses.retrieve(response.id)
    assert again.output_text == response.output_text
    return again.output_text, again.id


async def openai_conversation(house: House, say: str, left: Any) -> tuple[str, Any]:
    """In a conversation."""
    id = left or (await house.client.conversations.create()).id
    response = await house.client.responses.create(model=house.model, input=say, conversation=id)
    return response.output_text, id


async def agents_list(house: House, say: str, left: Any) -> tuple[str, Any]:
    """With all that was said."""
    result = await Runner.run(house.agent, [*(left or []), {"role": "user", "content": say}])
    return str(result.final_output), result.to_input_list()


async def agents_previous(house: House, say: str, left: Any) -> tuple[str, Any]:
    """From the response before, within a turn as well."""
    result = await Runner.run(
        house.agent, say, previous_response_id=left, auto_previous_response_id=left is None
    )
    return str(result.final_output), result.last_response_id


async def agents_conversation(house: House, say: str, left: Any) -> tuple[str, Any]:
    """In a conversation."""
    id = left or (await house.client.conversations.create()).id
    result = await Runner.run(house.agent, say, conversation_id=id)
    return str(result.final_output), id


async def agents_session(house: House, say: str, left: Any) -> tuple[str, Any]:
    """In a conversation to which the session adds all items by itself."""
    session = OpenAIConversationsSession(conversation_id=left, openai_client=house.client)
    result = await Runner.run(house.agent, say, session=session)
    return str(result.final_output), session.session_id


WAYS: dict[str, Turn] = {
    each.__name__: each
    for each in (
        openai_previous,
        openai_streamed,
        openai_conversation,
        agents_list,
        agents_previous,
        agents_conversation,
        agents_session,
    )
}


async def converse(asked: dict[str, Any]) -> list[dict[str, Any]]:
    house = House(asked)
    told = []
    for turn in asked["turns"]:
        text, left = await WAYS[turn["way"]](house, turn["say"], turn["left"])
        told.append({"text": text, "left": left})
    return told


def main() -> None:
    set_tracing_disabled(True)
    json.dump(asyncio.run(converse(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
