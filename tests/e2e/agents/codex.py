"""A real Codex without a screen: each call of it is one turn, which ends when it has its answer.

It names its chats by itself (`thread-id`), and speaks Responses alone, over HTTP or over a WebSocket.
"""

from __future__ import annotations

import asyncio
import platform
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.install import node_packages
from tests.guides import only

__all__ = ["Codex"]

VERSION = "0.171.0"
_MACHINES = {
    "x86_64": ("linux-x64", "x86_64-unknown-linux-musl"),
    "aarch64": ("linux-arm64", "aarch64-unknown-linux-musl"),
}
_PATIENCE = 120  # seconds
_BEFORE = """
approval_policy = "never"
sandbox_mode = "danger-full-access"
model_auto_compact_token_limit = {compacts_at}
check_for_update_on_startup = false
"""
_BEHIND = """
request_max_retries = 0
stream_max_retries = 0
stream_idle_timeout_ms = {patience_ms}
"""


@dataclass
class Codex:
    """Set up as its guide says. `folder`: its home, and what it works on; `url`: where the sidecar is."""

    folder: Path
    url: str
    websocket: bool
    model: str = "m"
    #: The tokens beyond which it has its history summed up.
    compacts_at: int = 1_000_000
    #: Seconds of silence after which it takes an answer for lost; by itself it waits for 300.
    patience: float = 300

    async def say(self, text: str) -> str:
        """Begin a chat; returns the last thing that it answers."""
        return await self._run("exec", text)

    async def go_on(self, text: str) -> str:
        """Say this in the newest chat."""
        return await self._run("exec", "resume", "--last", text)

    async def _run(self, *command: str) -> str:
        home, work, answer = self.folder / "home", self.folder / "work", self.folder / "answer"
        home.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
        answer.unlink(missing_ok=True)
        (home / "config.toml").write_text(self._config())
        flags = ("--skip-git-repo-check", "--output-last-message", str(answer))
        running = await asyncio.create_subprocess_exec(
            *(str(_program()), *command, *flags),
            cwd=work,
            env={
                "PATH": "/usr/bin:/bin",
                "HOME": str(home),
                "CODEX_HOME": str(home),
                # Whatever else it would like to ask the world stays here.
                "HTTP_PROXY": "http://127.0.0.1:9",
                "HTTPS_PROXY": "http://127.0.0.1:9",
                "NO_PROXY": "127.0.0.1,localhost",
            },
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            out, _ = await asyncio.wait_for(running.communicate(), _PATIENCE)
        finally:
            if running.returncode is None:
                running.kill()
                await running.wait()
        assert running.returncode == 0, out.decode()
        return answer.read_text()

    def _config(self) -> str:
        told = only("codex", "toml", self.url, self.model)
        if not self.websocket:
            told = told.replace("supports_websockets = true\n", "")
        behind = _BEHIND.format(patience_ms=int(1000 * self.patience))
        return _BEFORE.format(compacts_at=self.compacts_at) + told + behind


def _program() -> Path:
    name, target = _MACHINES[platform.machine()]
    # A package under another's name, as its own installation has it.
    package = f"@openai/codex-{name}"
    home = node_packages("codex", {package: f"npm:@openai/codex@{VERSION}-{name}"})
    return home / "node_modules" / package / "vendor" / target / "bin" / "codex"
