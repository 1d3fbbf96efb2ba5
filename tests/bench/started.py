"""A sidecar in a process of its own, as a user starts it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from tests.proxy.process import serving

__all__ = ["sidecar"]


@asynccontextmanager
async def sidecar(upstream: str, folder: Path, settings: Mapping[str, object]) -> AsyncIterator[str]:
    """A sidecar in a process of its own with a store of its own; `settings` by their dotted names."""
    environment = {f"SIDECAR_{key.upper().replace('.', '__')}": str(value) for key, value in settings.items()}
    environment = {
        "SIDECAR_LOGS__LEVEL": "error",
        "SIDECAR_STORE": f"sqlite:///{folder}/sidecar.db",
    } | environment
    for left in folder.glob("sidecar.db*"):
        left.unlink()
    async with serving("--upstream", f"{upstream}/v1", folder=folder, **environment) as process:
        yield process.url
