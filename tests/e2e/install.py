"""What the tests need of others: each in an environment of its own, made once and kept between runs.

They are kept in `$SIDECAR_E2E_CACHE`, by default `~/.cache/conversation-sidecar`, under a name that tells
what is in them; another version is another folder. A folder is complete once its `.complete` is there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__ = ["node_packages", "python_packages"]


def python_packages(name: str, *steps: Sequence[str]) -> Path:
    """The `bin` of a virtual environment into which these requirements were installed, step by step."""

    def make(folder: Path) -> None:
        _run(sys.executable, "-m", "venv", str(folder))
        for step in steps:
            pip = (str(folder / "bin" / "python"), "-m", "pip", "install", "--quiet", "--no-input")
            _run(*pip, "--disable-pip-version-check", *step)

    return _kept(name, [sys.version_info[:2], steps], make) / "bin"


def node_packages(name: str, packages: Mapping[str, str]) -> Path:
    """A folder whose `node_modules` holds these packages (name -> exact version)."""

    def make(folder: Path) -> None:
        folder.mkdir()
        manifest = {"private": True, "type": "module", "dependencies": dict(packages)}
        (folder / "package.json").write_text(json.dumps(manifest))
        # Without their scripts: some report the installation to somebody, and none is needed.
        quiet = ("--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts")
        _run("npm", "install", *quiet, cwd=folder)

    return _kept(name, packages, make)


def _kept(name: str, contents: object, make) -> Path:
    cache = Path(os.environ.get("SIDECAR_E2E_CACHE") or Path.home() / ".cache" / "conversation-sidecar")
    cache.mkdir(parents=True, exist_ok=True)
    mark = hashlib.sha256(json.dumps(contents).encode()).hexdigest()[:8]
    folder = cache / f"{name}-{mark}"
    with _locked(cache / f"{name}-{mark}.lock"):
        if not (folder / ".complete").exists():
            started = time.monotonic()
            print(f"installing {name}, once ...", file=sys.stderr, flush=True)
            shutil.rmtree(folder, ignore_errors=True)
            make(folder)
            (folder / ".complete").touch()
            print(f"installed {name} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return folder


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    with file.open("w") as opened:
        fcntl.flock(opened, fcntl.LOCK_EX)
        yield


def _run(*command: str, cwd: Path | None = None) -> None:
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(
            f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout}{done.stderr}"[-4000:]
        )
