"""The README and the guides in `config/guides`: their blocks, for tests that do what they say."""

from __future__ import annotations

import asyncio
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import aiohttp

__all__ = [
    "FOLDER",
    "GUIDES",
    "SIDECAR",
    "blocks",
    "commands",
    "curls",
    "delete_old_chats",
    "only",
    "run_curl",
    "text_of",
]

FOLDER = Path(__file__).parents[1] / "config" / "guides"
#: Those for one client each, in front of a local llama.cpp.
GUIDES = ("agents-sdk", "ai-sdk", "codex", "openwebui-responses")
#: Where they have the sidecar serve.
SIDECAR = "http://127.0.0.1:8790"

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text_of(guide: str) -> str:
    return (FOLDER / f"{guide}.md").read_text("utf-8")


def blocks(guide: str, language: str) -> list[str]:
    """Its blocks in this language, in their order."""
    return [text for name, text in _BLOCK.findall(text_of(guide)) if name == language]


def only(guide: str, language: str, address: str = SIDECAR, model: str = "m") -> str:
    """Its one block in this language, with the address of a sidecar and a model's name put in."""
    (text,) = blocks(guide, language)
    assert SIDECAR in text
    return text.replace(SIDECAR, address).replace('"MODEL"', f'"{model}"')


def commands(guide: str) -> list[tuple[dict[str, str], list[str]]]:
    """What it has a shell do: the variables set for a command, and the command."""
    found = []
    exported: dict[str, str] = {}
    for line in "".join(blocks(guide, "sh")).splitlines():
        words = shlex.split(line)
        if words[0] == "export":
            exported |= dict(each.split("=", 1) for each in words[1:])
            continue
        count = next(at for at, each in enumerate(words) if not re.match(r"[A-Z_]+=", each))
        own = dict(each.split("=", 1) for each in words[:count])
        found.append(({**exported, **own}, words[count:]))
    return found


def curls(text: str) -> list[list[str]]:
    """The arguments of every curl command of a document."""
    lines = text.replace("\\\n", " ").splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith("curl ")]


async def run_curl(arguments: list[str], address: str) -> dict[str, Any]:
    """What such a command gets of a sidecar at this address: its answer and its headers."""
    url = arguments[0].replace(SIDECAR, address)
    if "-d" not in arguments:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return {"answer": await response.json(), "headers": response.headers}
    name, value = arguments[arguments.index("-H") + 1].split(": ")
    body = arguments[arguments.index("-d") + 1]
    # curl calls a body given with -d a form, whatever is in it.
    headers = {"Content-Type": "application/x-www-form-urlencoded", name: value}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        return {"answer": await response.json(), "headers": response.headers}


async def delete_old_chats(folder: Path, url: str, key: str, days: str) -> list[str]:
    """What the program of the guide to Open WebUI prints that deletes old chats there."""
    (program,) = blocks("openwebui", "python")
    (folder / "delete_old_chats.py").write_text(program)
    done = await asyncio.to_thread(
        subprocess.run,
        (sys.executable, "delete_old_chats.py", url, days),
        cwd=folder,
        env={"OPEN_WEBUI_KEY": key},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()
