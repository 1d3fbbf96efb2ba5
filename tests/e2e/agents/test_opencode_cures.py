"""opencode in front of providers that refuse what it drops, directly and through the sidecar.

`-rP` prints the table.
"""

from __future__ import annotations

from pathlib import Path

from tests.e2e.agents.opencode import Opencode, opencode
from tests.proxy.mock_upstream import Exchange, Upstream
from tests.proxy.process import serving
from tests.referee.models import model
from tests.referee.profiles import NAMED
from tests.referee.talk import Fields, call

QUESTIONS = ("Say it in the shell.", "Say it again.")
#: A question and the result of the call that it brings about; the title.
REQUESTS = 2 * len(QUESTIONS) + 1
#: Which of them refuse what it sends by itself: its signatures are lost, and reasoning goes back to those who
#: refuse it.
REFUSED = {"deepseek-v4": False, "kimi": False, "gemini-3": True, "groq": True, "mistral": False}


class Providers:
    """An upstream with all of them: the model of a request names the one that it is for."""

    def __init__(self) -> None:
        self.models = {name: model(NAMED[name], make=_in_the_shell) for name in REFUSED}

    async def __call__(self, exchange: Exchange) -> None:
        await self.models[exchange.request.json["model"]](exchange)


def _in_the_shell(id: str) -> Fields:
    return {"index": 0, **call(id, '{"command":  "echo said", "description": "Says it"}', "bash")}


async def test_what_providers_refuse_of_it_they_take_through_the_sidecar(tmp_path: Path):
    alone, behind = (
        Upstream(otherwise=(directly := Providers())),
        Upstream(otherwise=(through := Providers())),
    )
    await alone.start()
    await behind.start()
    try:
        async with (
            serving("--upstream", behind.url, folder=tmp_path) as sidecar,
            opencode(tmp_path, {"alone": alone.url, "sidecar": f"{sidecar.url}/v1"}, list(REFUSED)) as agent,
        ):
            for name, refused in REFUSED.items():
                await _talk(agent, "alone", name)
                answer = await _talk(agent, "sidecar", name)
                taken, refusals = through.models[name].taken, through.models[name].refusals
                rules = ", ".join(dict.fromkeys(each.rule for each in directly.models[name].refusals))
                print(
                    f"opencode {name:12} direct: {rules or 'answered':16} through: {answer}"
                    f" upstream {len(taken) + len(refusals)} of {REQUESTS}"
                )
                assert bool(directly.models[name].refusals) == refused
                assert answer.startswith("answer")
                # Once it was refused, its further requests are right at the first try.
                assert len(refusals) <= 3 * refused
                assert len(taken) == REQUESTS
    finally:
        await alone.stop()
        await behind.stop()


async def _talk(agent: Opencode, by: str, name: str) -> str:
    """What it answers to the last question."""
    chat = await agent.begin()
    said = ""
    for question in QUESTIONS:
        said = await agent.say(chat, question, by=by, model=name)
    return said
