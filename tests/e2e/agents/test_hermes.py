"""A real hermes-agent behind the sidecar: one session for each chat, and no task in it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from aiohttp import ClientSession

from tests.e2e.agents.chat import Chat, ask
from tests.e2e.agents.conftest import Front
from tests.e2e.agents.hermes import KEY, Hermes, hermes
from tests.e2e.checked import checked
from tests.proxy.mock_upstream import Received
from tests.proxy.process import Process

pytestmark = pytest.mark.asyncio(loop_scope="module")

SETTINGS = {"SIDECAR_SESSION__PROFILE": "hermes"}
DOCUMENT = "### Task:\nRespond to the user query using the provided context\n<context>x</context>\n\n"
TITLE = "### Task:\nGenerate a concise title summarizing the chat history."


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def agent(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Hermes]:
    async with hermes(tmp_path_factory.mktemp("hermes")) as running:
        yield running


class Watched:
    """The sessions that hermes has made since the test began."""

    def __init__(self, agent: Hermes, known: set[str]) -> None:
        self._agent, self._known = agent, known

    async def __call__(self) -> dict[str, list[str]]:
        return {id: said for id, said in (await self._agent.sessions()).items() if id not in self._known}


@pytest_asyncio.fixture(loop_scope="module")
async def sessions(agent: Hermes) -> Watched:
    return Watched(agent, set(await agent.sessions()))


@pytest_asyncio.fixture(loop_scope="module")
async def sidecar(agent: Hermes, front: Front) -> Process:
    return await front(f"{agent.url}/v1", **SETTINGS)


def prompt_of(request: Received) -> list[str]:
    """What the model was told, without hermes's own system prompt."""
    return [each["content"] for each in request.json["messages"] if each["role"] != "system"]


async def test_a_chat_is_one_session_over_turns_and_regenerates_and_with_an_id_over_edits(
    agent: Hermes, sidecar: Process, sessions: Watched, chat_of: Callable[..., Chat]
):
    chat = chat_of(sidecar, "a chat", key=KEY)
    first = await chat.ask("First?")
    await chat.ask("Second?")
    again = await chat.regenerate()
    edited = await chat.edit("Second, in other words?")
    last = await chat.ask("Third?")

    held = await sessions()
    assert all(id.startswith("conv_") for id in held)
    if chat.has_id:
        (said,) = held.values()
    else:  # somebody else behind the same key may have begun alike: what is edited has a session of its own
        before, said = sorted(held.values(), key=lambda told: edited in told)
        assert before[:2] == ["First?", first]
        assert again in before
        assert said[0] == "Second, in other words?"
    assert ("First?" in said, again in said) == (chat.has_id, chat.has_id)
    assert said[-2:] == ["Third?", last]
    assert edited in said
    assert prompt_of(agent.thought[-1]) == [*said[:-1]]


async def test_documents_that_go_away_after_their_turn_leave_it_one_session(
    sidecar: Process, sessions: Watched, chat_of: Callable[..., Chat]
):
    chat = chat_of(sidecar, "documents", key=KEY)
    for question in ("What is it?", "And why?", "Since when?"):
        await chat.ask(question, context=DOCUMENT)
    await chat.regenerate()

    ((_, said),) = (await sessions()).items()
    assert said[::2] == [DOCUMENT + each for each in ("What is it?", "And why?", "Since when?")] + [
        "Since when?"
    ]


async def test_two_chats_that_begin_alike_are_two_sessions(
    sidecar: Process, sessions: Watched, chat_of: Callable[..., Chat]
):
    one, other = (chat_of(sidecar, name, key=KEY) for name in ("one", "other"))
    for question in ("Hi", "More"):
        for chat in (one, other):
            await chat.ask(question)
    await one.regenerate()

    held = sorted((await sessions()).values(), key=len)
    assert [said[::2] for said in held] == [["Hi", "More"], ["Hi", "More", "More"]]


async def test_two_users_with_one_key_and_the_same_words_are_two_sessions(
    sidecar: Process, sessions: Watched, chat_of: Callable[..., Chat]
):
    chats = [chat_of(sidecar, "the same id", key=KEY, X_User_ID=user) for user in ("ada", "bob")]
    for question in ("Hi", "More"):
        for chat in chats:
            await chat.ask(question)

    assert [said[::2] for said in (await sessions()).values()] == [["Hi", "More"]] * 2


@pytest.mark.parametrize("mark", [{"X_Task": "title_generation"}, {}], ids=["by header", "by its opening"])
async def test_a_task_is_in_no_session_of_a_chat(
    agent: Hermes, sidecar: Process, sessions: Watched, chat_of: Callable[..., Chat], mark: dict[str, str]
):
    chat = chat_of(sidecar, f"tasks {mark}", key=KEY)
    await chat.task(TITLE, **mark)
    first = await chat.ask("A question")
    await chat.task(TITLE, **mark)
    second = await chat.ask("Another")

    (of_chat,) = [said for id, said in (await sessions()).items() if id.startswith("conv_")]
    assert of_chat == ["A question", first, "Another", second]
    assert prompt_of(agent.thought[-1]) == ["A question", first, "Another"]


async def test_nobody_can_guess_a_session_or_choose_one(
    agent: Hermes, front: Front, sessions: Watched, chat_of: Callable[..., Chat]
):
    """The same chat id, key and words through a sidecar with another secret: another session."""
    for store in ("one.db", "other.db"):
        sidecar = await front(f"{agent.url}/v1", store=store, **SETTINGS)
        chat = chat_of(sidecar, "guess-me", key=KEY, X_Hermes_Session_Id="my-own-choice")
        await chat.ask("Hi")
        await chat.ask("More")

    made = await sessions()
    assert len(made) == 2
    assert not [id for id in made if "guess-me" in id or "my-own-choice" in id]


async def test_a_chat_goes_on_in_its_session_after_a_restart_of_the_sidecar(
    agent: Hermes, front: Front, sessions: Watched, chat_of: Callable[..., Chat], http: ClientSession
):
    sidecar = await front(f"{agent.url}/v1", **SETTINGS)
    chat = chat_of(sidecar, "restart", key=KEY)
    await chat.ask("Before")
    sidecar.running.terminate()
    await sidecar.running.wait()
    again = await front(f"{agent.url}/v1", **SETTINGS)
    messages = [*chat.messages, {"role": "user", "content": "After"}]
    _, headers = await ask(http, again.url, messages, chat.headers)

    ((id, said),) = (await sessions()).items()
    assert said[::2] == ["Before", "After"]
    assert headers["X-Hermes-Session-Id"] == id


async def test_what_hermes_remembers_after_a_regenerate_is_both_answers(
    agent: Hermes, sidecar: Process, sessions: Watched, chat_of: Callable[..., Chat]
):
    """It takes only the newest message from its client, so nobody can take anything back."""
    chat = chat_of(sidecar, "again", key=KEY)
    first = await chat.ask("First?")
    old = await chat.ask("Second?")
    new = await chat.regenerate()

    ((_, said),) = (await sessions()).items()
    assert said == ["First?", first, "Second?", old, "Second?", new]


async def test_without_the_setting_hermes_takes_two_chats_that_begin_alike_for_one(
    agent: Hermes, front: Front, sessions: Watched, chat_of: Callable[..., Chat]
):
    """Why the setting: it makes an id of the first words, the same for everybody, and to be guessed."""
    sidecar, words = await front(f"{agent.url}/v1"), f"Hello there, {len(agent.thought)}"
    for name in ("one", "other"):
        await chat_of(sidecar, name, key=KEY).ask(words)

    ((id, _),) = (await sessions()).items()
    assert id.startswith("api-")


async def test_check_knows_it_and_says_what_it_takes(agent: Hermes, tmp_path: Path):
    key = json.dumps({"Authorization": f"Bearer {KEY}"})  # as a header, since it has spaces
    said = await checked(f"{agent.url}/v1", tmp_path, SIDECAR_TARGET__HEADERS=key)
    assert "hermes-agent, with `API_SERVER_KEY` set, by its answer" in said
    assert 'set session.profile = "hermes"' in said
