"""A real hermes-agent: its API server, in front of a scripted model.

It keeps a session for each `X-Hermes-Session-Id`: a transcript of its own, tools, a sandbox. From the
client's messages it takes the last one only. It wants an API key for that, also on the loopback.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aiohttp import ClientSession

from tests.e2e.install import python_packages
from tests.e2e.program import Program, free_ports
from tests.proxy.mock_upstream import Answer, Exchange, Received, Upstream, completion, sends, streams, told

__all__ = ["KEY", "Hermes", "hermes"]

VERSION = "0.19.0"
KEY = "a key for the tests, not a short one"

CONFIG = """
model:
  default: m
  provider: custom
  base_url: {url}
  api_key: none
  context_length: 131072
"""


@dataclass
class Hermes:
    """`model` is what it thinks with; every answer of it is `Answer N` with the number of the request."""

    url: str
    model: Upstream

    @property
    def thought(self) -> list[Received]:
        """What the model was asked."""
        return [each for each in self.model.requests if each.method == "POST"]

    async def sessions(self) -> dict[str, list[str]]:
        """What it holds: the texts of each session by its id."""
        async with ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as http:
            listed = await _json(http, f"{self.url}/api/sessions?limit=200")
            return {
                each["id"]: await self._texts(http, each["id"])
                for each in listed["data"]
                if each["source"] == "api_server"
            }

    async def _texts(self, http: ClientSession, id: str) -> list[str]:
        held = await _json(http, f"{self.url}/api/sessions/{id}/messages")
        assert held["session_id"] == id
        return [each["content"] for each in held["data"]]


@asynccontextmanager
async def hermes(folder: Path) -> AsyncIterator[Hermes]:
    command = python_packages("hermes-agent", [f"hermes-agent=={VERSION}", "aiohttp==3.14.5"]) / "hermes"
    model = Upstream()
    model.otherwise = _numbered(model)
    await model.start()
    (folder / "config.yaml").write_text(CONFIG.format(url=model.url))
    (port,) = free_ports(1)
    program = Program(
        [str(command), "gateway", "run"],
        url=f"http://127.0.0.1:{port}/health",
        folder=folder,
        environment={
            "PATH": "/usr/bin:/bin",
            "HOME": str(folder),
            "HERMES_HOME": str(folder),
            "API_SERVER_ENABLED": "true",
            "API_SERVER_HOST": "127.0.0.1",
            "API_SERVER_PORT": str(port),
            "API_SERVER_KEY": KEY,
            # Whatever else it would like to ask the world stays here.
            "HTTP_PROXY": "http://127.0.0.1:9",
            "HTTPS_PROXY": "http://127.0.0.1:9",
            "NO_PROXY": "127.0.0.1,localhost",
        },
        log=folder / "hermes.log",
        patience=60,
    )
    try:
        await program.start()
        yield Hermes(f"http://127.0.0.1:{port}", model)
    finally:
        await program.stop()
        await model.stop()


def _numbered(model: Upstream) -> Answer:
    async def answer(exchange: Exchange) -> None:
        if exchange.request.method == "GET":
            await sends(b'{"object": "list", "data": [{"id": "m", "object": "model"}]}')(exchange)
            return
        text = f"Answer {sum(each.method == 'POST' for each in model.requests)}"
        if exchange.request.json.get("stream"):
            await streams(*told(text))(exchange)
        else:
            await sends(completion(text))(exchange)

    return answer


async def _json(http: ClientSession, url: str) -> Any:
    async with http.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.json()
