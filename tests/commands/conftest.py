"""A store that a real sidecar has filled, and the command line."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from aiohttp import ClientSession

from sidecar.cli import main
from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.proxy.client import chat


@pytest.fixture(autouse=True)
def _always(undisturbed):
    """Commands read the environment, and set logging up."""


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sidecar.db"


@pytest.fixture
def run(file, capsys):
    """Run a command on the store; returns its exit code and what it printed."""

    def run(*arguments, store=file):
        capsys.readouterr()
        flags = ("--store", f"sqlite:///{store}") if store else ()
        code = main([*arguments, *flags])
        return (code, *capsys.readouterr())

    return run


def talk(file, *said: tuple[str | None, str | Sequence[str], Mapping[str, str]], **settings):
    """Ask a sidecar with the demo upstream all of this: (conversation, question, headers). In place of a
    question there may be a history, of user and assistant in turn."""

    async def ask():
        given = Settings.model_validate({"store": f"sqlite:///{file}", "listen": "127.0.0.1:0", **settings})
        async with running(given) as url, ClientSession() as http:
            for id, text, headers in said:
                named = {"X-Conversation-ID": id, **headers} if id else headers
                told = [text] if isinstance(text, str) else text
                body = {"model": "demo", "messages": chat(*told)}
                path = f"{url}/v1/chat/completions"
                async with http.post(path, json=body, headers=named) as response:
                    assert response.status == 200, await response.text()
                    await response.read()

    asyncio.run(ask())
