"""The libraries by name, in exact versions, and how to have a conversation by way of one."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.e2e.install import node_packages, python_packages
from tests.e2e.program import plain_environment
from tests.e2e.stored import exported

__all__ = ["LITELLM_ALONE", "NAMES", "Front", "Libraries", "conversation", "litellm", "say"]

_ROOT = Path(__file__).parents[3]
_CLIENTS = Path(__file__).parent / "clients"
_NODE = {
    "openai": "6.49.0",
    "@langchain/openai": "1.5.8",
    "@langchain/core": "1.2.8",
    "ai": "6.0.322",
    "@ai-sdk/openai-compatible": "2.0.87",
    "@ai-sdk/openai": "3.0.141",
}
#: LiteLLM would fetch a list of prices when it starts.
LITELLM_ALONE = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
#: What LibreChat itself has its conversations with.
_LIBRECHAT = {"@librechat/agents": "3.9.2"}
#: All that have the same conversations, by the names of their programs.
NAMES = (
    "openai_sdk.py",
    "langchain_openai.py",
    "litellm_library.py",
    "openai_sdk.mjs",
    "langchain.mjs",
    "ai_sdk.mjs",
)


@dataclass
class Front:
    """A running sidecar: its base URL, as one gives it to a library, and the file of its store."""

    base_url: str
    store: Path

    async def only(self) -> dict[str, Any]:
        """The one conversation in the store."""
        (conversation,) = await exported(self.store)
        return conversation


def say(text: str, *, stream: bool = False, tool: bool = False, stop: bool = False) -> dict[str, Any]:
    """One step of a conversation: what the user says, and how the library is to ask."""
    return {"say": text, "stream": stream or stop, "tool": tool, "stop": stop}


def conversation(
    base_url: str,
    *steps: dict[str, Any],
    model: str = "m",
    headers: Mapping[str, str] | None = None,
    call_headers: Mapping[str, str] | None = None,
    thin: bool = False,
) -> dict[str, Any]:
    """What the program of a library is asked to do."""
    return {
        "base_url": base_url,
        "model": model,
        "steps": steps,
        "thin": thin,
        "headers": dict(headers or {}),
        "call_headers": dict(call_headers or {}),
    }


class Libraries:
    """`folder` becomes the home of the programs for Node, next to the packages that they import."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    async def converse(
        self,
        name: str,
        base_url: str,
        *steps: dict[str, Any],
        headers: Mapping[str, str] | None = None,
        call_headers: Mapping[str, str] | None = None,
        thin: bool = False,
    ) -> list[dict[str, Any]]:
        """Have this conversation; returns what the library's user got, step by step."""
        chat = conversation(base_url, *steps, headers=headers, call_headers=call_headers, thin=thin)
        (answers,) = await self.converse_in_turn(name, [chat])
        return answers

    async def converse_in_turn(
        self, name: str, conversations: list[dict[str, Any]]
    ) -> list[list[dict[str, Any]]]:
        """The same for several, in one process and one after another."""
        answers: list[list[dict[str, Any]]] = await self.run(name, conversations)
        return answers

    async def run(self, name: str, asked: Any) -> Any:
        """Run a program, give it this, and read what it prints."""
        command = self._node(name) if name.endswith(".mjs") else self._python(name)
        running = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            cwd=_ROOT,
            env=plain_environment() | LITELLM_ALONE,
        )
        try:
            out, err = await asyncio.wait_for(running.communicate(json.dumps(asked).encode()), 120)
        finally:
            if running.returncode is None:
                running.kill()
        assert running.returncode == 0, f"{name}:\n{out.decode()}{err.decode()}"
        return json.loads(out.splitlines()[-1])

    def _python(self, name: str) -> list[str]:
        bin = _ENVIRONMENTS.get(name.partition("_")[0], langchain)()
        return [str(bin / "python"), "-m", f"tests.e2e.neighbours.clients.{name.removesuffix('.py')}"]

    def beside_packages(self, *, is_librechat: bool = False) -> Path:
        """The folder of the programs for Node, which looks for packages beside and above a program."""
        home = self.folder / ("librechat" if is_librechat else "clients")
        if not home.exists():
            packages = node_packages(
                "librechat-agents" if is_librechat else "node-clients", _LIBRECHAT if is_librechat else _NODE
            )
            home.mkdir()
            (home / "node_modules").symlink_to(packages / "node_modules")
            for each in _CLIENTS.glob("*.mjs"):
                shutil.copy(each, home)
        return home

    def _node(self, name: str) -> list[str]:
        home = self.beside_packages(is_librechat=name.startswith("librechat"))
        return ["node", str(home / name)]


def langchain() -> Path:
    """The OpenAI SDK is what LangChain stands on."""
    return python_packages(
        "langchain", ["openai==3.54.0", "langchain-openai==1.7.3", "langchain-core==1.7.2"]
    )


def litellm() -> Path:
    return python_packages("litellm", ["litellm[proxy]==1.106.2"])


def smolagents() -> Path:
    return python_packages("smolagents", ["smolagents[openai]==1.26.0", "openai==3.54.0"])


def responses() -> Path:
    """The first that speaks it over a WebSocket."""
    return python_packages("responses", ["openai[realtime]==3.57.0", "langchain-openai==1.7.4"])


def agents() -> Path:
    """The Agents SDK, with the OpenAI SDK that it stands on."""
    return python_packages("agents", ["openai==3.57.0", "openai-agents==0.24.0"])


_ENVIRONMENTS = {"kept": agents, "litellm": litellm, "smolagents": smolagents, "responses": responses}
