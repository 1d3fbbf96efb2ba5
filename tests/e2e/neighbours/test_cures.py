"""Client libraries in front of providers that refuse what these clients drop, or send back.

The same talk with tools goes to each provider directly and through the sidecar; the providers are the
profiles of `tests/referee`, which refuse as their documents and reports say. `-rP` prints the table.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.neighbours.libraries import Front, Libraries, conversation, say
from tests.proxy.mock_upstream import Exchange, Upstream
from tests.referee.models import model
from tests.referee.profiles import NAMED
from tests.referee.talk import Fields, call

STEPS = (
    say("How warm is it in Rome?", tool=True),
    say("And in Oslo?", tool=True, stream=True),
    say("And in Bonn?", tool=True),
)
#: A question, and the result of the call that it brings about.
REQUESTS = 2 * len(STEPS)
PROVIDERS = ("deepseek-v4", "deepseek-v4-pro", "kimi", "minimax", "gemini-3", "groq", "mistral")
DEMANDING = ("deepseek-v4", "deepseek-v4-pro", "kimi", "gemini-3")
#: Who refuses a library's own requests. LangChain drops reasoning and signatures. The AI SDK sends reasoning
#: back as `reasoning_content`, under whatever name it came, and no signature. LiteLLM does the same, and adds
#: `provider_specific_fields`. OpenAI's SDK sends all that came; of a stream also `parsed` and `refusal`.
#: MiniMax demands nothing: without its reasoning it answers worse, and says nothing.
REFUSED = {
    "langchain_openai.py": DEMANDING,
    "ai_sdk.mjs": ("gemini-3", "groq"),
    "litellm_library.py": ("gemini-3", "groq", "mistral"),
    "openai_sdk.py": ("groq", "mistral"),
}


class Providers:
    """An upstream with all of them: the model of a request names the one that it is for."""

    def __init__(self) -> None:
        self.models = {name: model(NAMED[name], make=_weather) for name in PROVIDERS}

    async def __call__(self, exchange: Exchange) -> None:
        await self.models[exchange.request.json["model"]](exchange)

    def requests(self, name: str) -> int:
        return len(self.models[name].taken) + len(self.models[name].refusals)


def _weather(id: str) -> Fields:
    return {"index": 0, **call(id, '{"city":  "Rome"}', "weather")}


@pytest.fixture
async def direct() -> AsyncIterator[Upstream]:
    server = Upstream(only_chats=True)
    await server.start()
    yield server
    await server.stop()


@pytest.mark.parametrize("library", REFUSED)
async def test_what_providers_refuse_of_a_library_they_take_through_the_sidecar(
    library: str, libraries: Libraries, front: Front, upstream: Upstream, direct: Upstream
):
    direct.otherwise = alone = Providers()
    upstream.otherwise = behind = Providers()
    talks = [conversation(direct.url, *STEPS, model=name) for name in PROVIDERS]
    for name in PROVIDERS:
        named = {"X-Conversation-ID": name}
        talks.append(conversation(front.base_url, *STEPS, model=name, headers=named))
    got = await libraries.converse_in_turn(library, talks)
    for name, directly, through in zip(PROVIDERS, got, got[len(PROVIDERS) :], strict=False):
        rules = ", ".join(dict.fromkeys(each.rule for each in behind.models[name].refusals))
        print(
            f"{library:20} {name:16} direct: {_told(directly):8} through: {_told(through):8}"
            f" upstream {behind.requests(name)} of {REQUESTS} {rules}"
        )
    refused = [
        name for name, told in zip(PROVIDERS, got, strict=False) if any("error" in each for each in told)
    ]
    assert tuple(refused) == REFUSED[library]
    for name, told in zip(PROVIDERS, got[len(PROVIDERS) :], strict=True):
        assert all(each.get("text", "").startswith("answer") for each in told), (name, told)
        # Once a conversation was refused, its further requests are right at the first try.
        assert behind.requests(name) <= REQUESTS + (3 if name in refused else 0)
        assert alone.requests(name) <= REQUESTS


def _told(steps: list[dict[str, Any]]) -> str:
    return "refused" if any("error" in each for each in steps) else "answered"
