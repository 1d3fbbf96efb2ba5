"""A chat that comes back from a slot's file after its engine was started anew, and one that gets nothing.

The engine is the one of the other measures, or, with `--start`, any llama-server: a command with `{port}` and
`{folder}` in it, such as "llama-server -m model.gguf -c 34000 -np 1 --port {port} --slot-save-path {folder}".
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from pathlib import Path

import aiohttp

from tests.bench import played
from tests.bench.asking import Answer, ask
from tests.bench.engine import NoEngine, commanded, started
from tests.bench.scenes import table
from tests.bench.started import sidecar
from tests.e2e.program import Program, StartFailed, free_ports

__all__ = ["main"]

_HEAD = ("turn", "prompt", "cached", "first word", "of the cold one")
_WORDS = 0.98  # in a token
_MAX_TOKENS = 8
_SAVED = re.compile(rb'sidecar_slot_files_total\{result="saved"\} (\d+)')
_PATIENCE = 120.0  # seconds for a save
_LONGEST = 7200  # seconds for a prompt
ME, OTHER = {"Authorization": "Bearer me"}, {"Authorization": "Bearer another"}


async def main(arguments: list[str], folder: Path) -> None:
    parser = argparse.ArgumentParser(prog="./dev bench slot_restore", description=__doc__)
    parser.add_argument("--tokens", type=int, default=8000, help="of the chat, about")
    parser.add_argument("--alone", action="store_true", help="without the other tenant, who takes as long")
    parser.add_argument("--start", default="", help="a command that starts the engine")
    given = parser.parse_args(arguments)
    files = folder / "files"
    files.mkdir()
    (port,) = free_ports(1)
    engine = _program(given, port, folder, files)
    settings = {
        "session.slots": 1,
        "session.slot_files": 4,
        "trim.max_input_tokens": "none",
        "timeouts.idle": _LONGEST,
    }
    try:
        await engine.start()
        async with _client() as http, sidecar(f"http://127.0.0.1:{port}", folder, settings) as url:
            rows = await _rows(http, url, engine, given)
    except (OSError, RuntimeError, StartFailed) as error:
        raise NoEngine(f"the engine cannot run here: {error}") from error
    finally:
        await engine.stop()
    print(f"\n{table(_HEAD, rows)}\n")
    written = sorted((each.stat().st_size for each in files.iterdir()), reverse=True)
    tokens = int(rows[0][1].replace(",", ""))
    print(f"{written[0]:,} bytes in the largest file, {written[0] / tokens:,.0f} for each token\n")


def _client() -> aiohttp.ClientSession:
    longest = aiohttp.ClientTimeout(total=_LONGEST)
    return aiohttp.ClientSession(timeout=longest, connector=aiohttp.TCPConnector(force_close=True))


async def _rows(
    http: aiohttp.ClientSession, url: str, engine: Program, given: argparse.Namespace
) -> list[list[str]]:
    first: dict[str, object] = {"role": "user", "content": played.words("chat", int(given.tokens * _WORDS))}
    cold = await _turn(http, url, [first], ME)
    await _saved(http, url, 1)
    await _started_anew(engine)
    told = [("the first, cold", cold)]
    if not given.alone:
        other = await _turn(http, url, [first], OTHER)
        told.append(("the same of another tenant, engine started anew", other))
        await _saved(http, url, 2)
        await _started_anew(engine)
    asked: dict[str, object] = {"role": "user", "content": played.question(1)}
    back = await _turn(http, url, [first, dict(cold.message), asked], ME)
    told.append(("the next, engine started anew", back))
    return [
        [name, f"{a.prompt:,}", f"{a.cached:,}", f"{a.first:,.2f} s", f"{a.first / cold.first:.1%}"]
        for name, a in told
    ]


async def _turn(
    http: aiohttp.ClientSession, url: str, said: list[dict[str, object]], who: dict[str, str]
) -> Answer:
    headers = {"X-Conversation-ID": "the chat", **who}
    answer = await ask(http, url, said, headers=headers, max_tokens=_MAX_TOKENS)
    if answer.error:
        raise NoEngine(f"the engine answered {answer.status}: {answer.error}")
    print(f"{answer.prompt:,} tokens, {answer.cached:,} cached, {answer.first:,.2f} s", flush=True)
    return answer


async def _saved(http: aiohttp.ClientSession, url: str, number: int) -> None:
    end = time.monotonic() + _PATIENCE
    while True:
        async with http.get(f"{url}/-/metrics") as response:
            found = _SAVED.search(await response.read())
        if found is not None and int(found[1]) >= number:
            return
        if time.monotonic() > end:
            raise NoEngine("the engine does not save its slot")
        await asyncio.sleep(0.2)


async def _started_anew(engine: Program) -> None:
    await engine.kill()
    await engine.start()


def _program(given: argparse.Namespace, port: int, folder: Path, files: Path) -> Program:
    if not given.start:
        flags = ("-np", "1", "-c", str(given.tokens + 2048), "--swa-full", "--slot-save-path", f"{files}/")
        return started(folder, port, *flags)
    return commanded(given.start, port, folder, files)
