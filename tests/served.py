"""A small server of a test's or a measure's own, on a port that nobody else has."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

__all__ = ["served"]


@asynccontextmanager
async def served(app: web.Application, *, backlog: int = 128) -> AsyncIterator[str]:
    """Its base URL, as an SDK would be given it. `backlog`: how many may wait to be connected at once."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=backlog).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
    finally:
        await runner.cleanup()
