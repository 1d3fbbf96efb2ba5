"""Two agents of smolagents, one that calls tools and one that writes code, with two tasks each.

In, on standard input: `{"base_url", "headers": {"tools": {…}, "code": {…}}}`. Out: the answers by agent.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent, tool

AGENTS = {"tools": ToolCallingAgent, "code": CodeAgent}


@tool
def look(place: str) -> str:
    """Looks at a place.

    Args:
        place: where to look.
    """
    return f"seen at {place}"


def answers(kind: str, asked: dict[str, Any]) -> list[Any]:
    client = {"default_headers": asked["headers"][kind], "max_retries": 0}
    model = OpenAIModel("m", api_base=asked["base_url"], api_key="k", client_kwargs=client)
    agent = AGENTS[kind](tools=[look], model=model, max_steps=4, verbosity_level=0)
    return [agent.run("Look at Rome."), agent.run("And at Malta.", reset=False)]


if __name__ == "__main__":
    asked = json.load(sys.stdin)
    print(json.dumps({kind: answers(kind, asked) for kind in AGENTS}))
