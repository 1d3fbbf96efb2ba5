"""A real opencode, served without a screen: each of its chats talks to the provider that a test chooses.

It names its chats by itself (`X-Session-Affinity`, `X-Session-Id`), asks for a title in the same moment as
for the first answer, and compacts a chat when it is told to.
"""

from __future__ import annotations

import json
import platform
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.e2e.install import node_packages
from tests.e2e.program import Program, free_ports

__all__ = ["Opencode", "opencode"]

VERSION = "1.18.33"
MODEL = "m"


@dataclass
class Opencode:
    """The running server."""

    http: ClientSession
    url: str

    async def begin(self) -> str:
        """A new chat; returns its id."""
        id: str = (await self._post("/session", {}))["id"]
        return id

    async def say(self, chat: str, text: str, *, by: str, model: str = MODEL) -> str:
        """Say this in the chat, to this model of a provider; returns what it answers in the end."""
        asked = {"model": {"providerID": by, "modelID": model}, "parts": [{"type": "text", "text": text}]}
        answer = await self._post(f"/session/{chat}/message", asked)
        return "".join(part["text"] for part in answer["parts"] if part["type"] == "text")

    async def compact(self, chat: str, *, by: str) -> None:
        """Have the chat summed up, as its users do with /compact."""
        await self._post(f"/session/{chat}/summarize", {"providerID": by, "modelID": MODEL})

    async def _post(self, path: str, body: Any) -> Any:
        async with self.http.post(self.url + path, json=body) as response:
            assert response.status == 200, await response.text()
            return await response.json()


@asynccontextmanager
async def opencode(
    folder: Path, providers: Mapping[str, str], models: Sequence[str] = (MODEL,)
) -> AsyncIterator[Opencode]:
    """`providers`: a base URL by its name; each has all of the models."""
    # The package of that name picks one of these by a script of its installation, which is not run.
    package = f"opencode-linux-{'arm64' if platform.machine() == 'aarch64' else 'x64-baseline'}"
    command = node_packages("opencode", {package: VERSION}) / "node_modules" / package / "bin" / "opencode"
    (port,) = free_ports(1)
    (folder / "opencode.json").write_text(json.dumps(_settings(providers, models)))
    program = Program(
        (str(command), "serve", "--hostname", "127.0.0.1", "--port", str(port)),
        url=f"http://127.0.0.1:{port}/global/health",
        folder=folder,
        environment={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_DISABLE_MODELS_FETCH": "1",
            # Whatever else it would like to ask the world stays here.
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
        },
        log=folder / "opencode.log",
        patience=90,
    )
    try:
        await program.start()
        async with ClientSession() as http:
            yield Opencode(http, f"http://127.0.0.1:{port}")
    finally:
        await program.stop()


def _settings(providers: Mapping[str, str], models: Sequence[str]) -> dict[str, Any]:
    limits = {"context": 100_000, "output": 1_000}
    return {
        "autoupdate": False,
        "share": "disabled",
        "permission": {"bash": "allow", "edit": "deny"},
        "provider": {
            name: {
                "npm": "@ai-sdk/openai-compatible",
                "options": {"baseURL": url, "apiKey": "k"},
                "models": {model: {"name": model, "limit": limits} for model in models},
            }
            for name, url in providers.items()
        },
    }
