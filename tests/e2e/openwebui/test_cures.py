"""Open WebUI in front of providers that refuse what it drops, directly and through the sidecar.

`-rP` prints the table.
"""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from tests.e2e.openwebui.conftest import House
from tests.referee.profiles import NAMED

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.parametrize("running", ["chat id only"], indirect=True),
]

#: Open WebUI drops reasoning and signatures. What it sends back MiniMax, Groq and Mistral take: they demand
#: nothing, and it adds no field of its own.
REFUSED = {
    "deepseek-v4": True,
    "kimi": True,
    "gemini-3": True,
    "minimax": False,
    "groq": False,
    "mistral": False,
}
QUESTIONS = ("What time is it?", "And now?")


@pytest.mark.parametrize("name", REFUSED)
async def test_what_a_provider_refuses_of_it_is_taken_through_the_sidecar(name: str, house: House):
    async with house.connected_to(f"http://127.0.0.1:{house.model.port}/v1"):
        await _talk(house, name, QUESTIONS[:1])
    assert bool(house.model.refusals) == REFUSED[name]
    shown = await _talk(house, name, QUESTIONS)
    directly = "refused" if REFUSED[name] else "answered"
    upstream = f"upstream {len(house.model.turns)} of {2 * len(QUESTIONS)}"
    print(f"Open WebUI  {name:12} direct: {directly:8} through: {shown[-1][-40:]!r} {upstream}")
    assert shown[1].endswith(f"Answer 2 by {name}.")
    assert shown[3].endswith(f"Answer 4 by {name}.")
    assert len(house.model.turns) - len(house.model.refusals) == 2 * len(QUESTIONS)
    assert len(house.model.refusals) <= 1


async def _talk(house: House, name: str, questions: Iterable[str]) -> list[str]:
    house.model.clear()
    house.model.names, house.model.provider = [name], NAMED[name]
    chat = await house.chat(name)
    for question in questions:
        await chat.send(question)
    return await chat.shown()
