"""What a front end's tasks, and other chats, do to what the engine has cached of a chat."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from pathlib import Path

import aiohttp

from tests.bench import played
from tests.bench.asking import Answer, ask, unkept
from tests.bench.clients import Full
from tests.bench.engine import engine
from tests.bench.scenes import table
from tests.bench.started import sidecar

__all__ = ["main", "title"]

_TITLE = "### Task:\nGenerate a concise title summarizing the chat history.\n### Chat History:\n"
_ELSEWHERE = "elsewhere"
_TASKS: tuple[tuple[str, bool, dict[str, object]], ...] = (
    ("one slot, no tasks", False, {}),
    ("one slot, a task after each turn", True, {}),
    ("the same, `tasks.max_input_tokens = 300`", True, {"tasks.max_input_tokens": 300}),
    ("the same, `tasks.upstream` elsewhere", True, {"tasks.upstream": _ELSEWHERE}),
)
_CHATS: tuple[tuple[str, int, bool, dict[str, object]], ...] = tuple(
    (
        f"two slots, {chats} chats{', tasks' if tasks else ''}{', `session.slots = 2`' if pinned else ''}",
        chats,
        tasks,
        {"session.slots": 2} if pinned else {},
    )
    for chats, tasks in ((2, False), (2, True), (4, False))
    for pinned in (False, True)
)
_HEAD = ("the chats' own turns, from the second on", "re-sent", "cached", "share", "lowest share")


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench slots", description=__doc__)
    parser.add_argument("--turns", type=int, default=8)
    parser.add_argument("--flags", default="", help="more flags of the engine, such as --cache-ram=0")
    given = parser.parse_args(arguments)
    flags = ["-c", "16384", *given.flags.split()]
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(unkept())
        elsewhere = await stack.enter_async_context(engine(folder, "-c", "8192", "-np", "1"))
        async with engine(folder, "-np", "1", *flags) as address:
            rows = [
                await _row(http, address, elsewhere, folder, name, settings, turns=given.turns, tasks=tasks)
                for name, tasks, settings in _TASKS
            ]
        async with engine(folder, "-np", "2", *flags) as address:
            rows += [
                await _row(
                    http,
                    address,
                    elsewhere,
                    folder,
                    name,
                    settings,
                    chats=chats,
                    tasks=tasks,
                    turns=given.turns,
                )
                for name, chats, tasks, settings in _CHATS
            ]
    print(f"\n{table(_HEAD, rows)}\n")


async def _row(
    http: aiohttp.ClientSession,
    address: str,
    elsewhere: str,
    folder: Path,
    name: str,
    settings: Mapping[str, object],
    *,
    turns: int,
    tasks: bool,
    chats: int = 1,
) -> list[str]:
    used = {key: f"{elsewhere}/v1" if value == _ELSEWHERE else value for key, value in settings.items()}
    used |= {"trim.max_input_tokens": "none", "secret": "the same for every measure"}
    async with sidecar(address, folder, used) as url:
        clients = [Full(http, url, played.system(name), id=f"chat {at}") for at in range(chats)]
        for turn in range(turns):
            for at, client in enumerate(clients):
                await client.say(played.question(100 * at + turn))
                if tasks:
                    await title(http, url, client)
    row = [name, *_found([each for client in clients for each in client.answers[1:]])]
    print(*row, sep="   ", flush=True)
    return row


async def title(http: aiohttp.ClientSession, url: str, client: Full) -> Answer:
    """Ask for a title of what was said, as front ends do behind a turn."""
    lines = [f"{each['role'].upper()}: {each['content']}" for each in client.held]
    text = "\n".join(lines)
    prompt = f"{_TITLE}<chat_history>\n{text}\n</chat_history>"
    headers = {"X-Conversation-ID": client.id, "X-Task": "title_generation"}
    return await ask(http, url, [{"role": "user", "content": prompt}], headers=headers)


def _found(answers: Sequence[Answer]) -> tuple[str, ...]:
    """Of what was re-sent: all of a prompt but its newest question, about 60 tokens."""
    resent = [each.prompt - 60 for each in answers]
    shares = [each.cached / sent for each, sent in zip(answers, resent, strict=True)]
    cached = sum(each.cached for each in answers)
    return f"{sum(resent):,}", f"{cached:,}", f"{cached / sum(resent):.0%}", f"{min(shares):.0%}"
