"""OpenAI's Agents SDK on all that is kept: previous responses, a conversation, and its session class.

Reads {"base_url", "model"} and writes what it got, as JSON. Each of the three asks twice, and calls a tool.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from agents import (
    Agent,
    ModelSettings,
    OpenAIConversationsSession,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from openai import AsyncOpenAI


@function_tool
def temperature(city: str) -> str:
    """How warm it is somewhere.

    Args:
        city: where.
    """
    return f"21 in {city}"


async def talk(agent: Agent, **first: Any) -> list[str]:
    """Two turns, with what the first one is to have; `go_on` says what the second has in addition."""
    go_on = first.pop("go_on", lambda result: {})
    one = await Runner.run(agent, "How warm is it in Rome?", **first)
    two = await Runner.run(agent, "And you are?", **{**first, **go_on(one)})
    return [one.final_output, two.final_output]


async def converse(asked: dict[str, Any]) -> dict[str, Any]:
    client = AsyncOpenAI(base_url=asked["base_url"], api_key="sk-1", max_retries=0)
    model = OpenAIResponsesModel(asked["model"], client)
    agent = Agent(
        "ada", instructions="Be brief.", model=model, tools=[temperature], model_settings=ModelSettings()
    )
    made = await client.conversations.create()
    session = OpenAIConversationsSession(openai_client=client)
    told: dict[str, Any] = {
        "list": await talk(agent, go_on=lambda result: {}),
        "previous": await talk(agent, go_on=lambda one: {"previous_response_id": one.last_response_id}),
        "auto": await talk(agent, auto_previous_response_id=True),
        "conversation": await talk(agent, conversation_id=made.id),
        "session": await talk(agent, session=session),
    }
    told["items"] = [each.get("type") for each in await session.get_items()]
    await session.pop_item()
    told["popped"] = len(await session.get_items())
    told["listed"] = [each.type async for each in client.conversations.items.list(made.id, order="asc")]
    await session.clear_session()
    return told


def main() -> None:
    set_tracing_disabled(True)
    json.dump(asyncio.run(converse(json.load(sys.stdin))), sys.stdout)


if __name__ == "__main__":
    main()
