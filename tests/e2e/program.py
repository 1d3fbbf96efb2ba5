"""A program that the tests start, watch and end; what it prints goes into a file."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import aiohttp

__all__ = ["Program", "StartFailed", "free_ports", "plain_environment"]

# Linux hands out those from 32768 on, other systems those from 49152 on.
_PORTS = range(20000, 32768)


class StartFailed(Exception):
    """It ended before it answered, or did not answer in time; the text holds the end of its log."""


class Program:
    """One process at a time, started with the same command again after it was stopped or killed.

    It is up once `url` answers 200. `patience` is how long that may take, in seconds.
    """

    def __init__(
        self,
        command: Sequence[str],
        *,
        url: str,
        folder: Path,
        environment: Mapping[str, str],
        log: Path,
        patience: float,
    ) -> None:
        self.command, self.url, self.folder = command, url, folder
        self.environment = dict(environment)
        self.log, self.patience = log, patience
        self._running: asyncio.subprocess.Process | None = None

    @property
    def running(self) -> asyncio.subprocess.Process:
        """The process; only once it was started."""
        assert self._running is not None
        return self._running

    async def start(self, **environment: str) -> None:
        """Raises `StartFailed`. What is given comes on top of the environment, for this start only."""
        with self.log.open("ab") as log:
            self._running = await asyncio.create_subprocess_exec(
                *self.command,
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        end = time.monotonic() + self.patience
        async with aiohttp.ClientSession() as http:
            while not await _answers(http, self.url):
                if self._running.returncode is not None or time.monotonic() > end:
                    await self.kill()
                    raise StartFailed(f"{self.command[0]} did not start:\n{self.log.read_text()[-3000:]}")
                await asyncio.sleep(0.1)

    async def stop(self, patience: float = 20.0) -> None:
        """Ask it to end, and insist after `patience` seconds."""
        await self._end(signal.SIGTERM, patience)

    async def kill(self) -> None:
        await self._end(signal.SIGKILL, None)

    async def _end(self, how: signal.Signals, patience: float | None) -> None:
        if self._running is None or self._running.returncode is not None:
            return
        self._running.send_signal(how)
        try:
            await asyncio.wait_for(self._running.wait(), patience)
        except TimeoutError:
            self._running.kill()
            await self._running.wait()


async def _answers(http: aiohttp.ClientSession, url: str) -> bool:
    try:
        async with http.get(url, timeout=aiohttp.ClientTimeout(total=5)) as response:
            return response.status == 200
    except (aiohttp.ClientError, TimeoutError):
        return False


def free_ports(number: int) -> list[int]:
    """So many ports that nobody listens on, all different: of those that no system hands out by itself, for a
    program may take a minute until it listens."""
    with ExitStack() as held:
        listening = [held.enter_context(_listening()) for _ in range(number)]
        return [each.getsockname()[1] for each in listening]


def _listening() -> socket.socket:
    while True:
        with suppress(OSError):  # somebody has it
            return socket.create_server(("127.0.0.1", random.choice(_PORTS)))


def plain_environment() -> dict[str, str]:
    """What the tests were started with, without settings of the sidecar and of Open WebUI."""
    ours = ("SIDECAR_", "OPENAI_", "WEBUI_", "PYTEST_", "COV_", "COVERAGE_")
    return {name: value for name, value in os.environ.items() if not name.startswith(ours)}
