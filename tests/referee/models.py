"""What models behind the profiles answer: a question with a call, a result with words, with their extras."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count
from typing import Any

from tests.proxy.mock_upstream import Exchange, says
from tests.referee import profiles
from tests.referee.profiles import Profile
from tests.referee.strict import Strict
from tests.referee.talk import Fields, call, signed

THOUGHT = {"reasoning_content": "The user wants to know."}


def model(profile: Profile, *, steps: int = 1, make: Callable[[str], Fields] = call) -> Strict:
    """A strict upstream whose model calls a tool so often before it answers a question in words.

    `make`: an id -> the call.
    """
    numbers = count(1)

    async def answer(exchange: Exchange) -> None:
        messages = exchange.request.json["messages"]
        done = _results_behind_the_question(messages)
        if exchange.request.json.get("tools") and done < steps:
            made = extras(profile, make(f"callno{next(numbers):03}"))
            await says("Let me see.", finish="tool_calls", **made)(exchange)
        else:
            await says(f"answer {next(numbers)}", **_thoughts(profile))(exchange)

    return Strict(profile, answer)


def extras(profile: Profile, made: Fields) -> dict[str, Any]:
    """A call as the model makes it, and what stands beside it."""
    calls = signed(made) if profile is profiles.GEMINI else [made]
    return {"tool_calls": calls, **_thoughts(profile)}


def _thoughts(profile: Profile) -> dict[str, Any]:
    if profile is profiles.CLAUDE:
        block = {"type": "thinking", "thinking": "So.", "signature": "signed-block"}
        return {"thinking_blocks": [block], **THOUGHT}
    if profile in (profiles.GROQ, profiles.CEREBRAS):
        return {"reasoning": "The user wants to know."}
    return {} if profile in (profiles.GEMINI, profiles.OPENAI, profiles.MISTRAL) else THOUGHT


def _results_behind_the_question(messages: list[Fields]) -> int:
    done = 0
    for each in reversed(messages):
        if each["role"] == "user":
            break
        done += each["role"] == "tool"
    return done
