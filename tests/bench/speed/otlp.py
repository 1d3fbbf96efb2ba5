"""Somebody who takes traces by OTLP over HTTP, and throws them away."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from tests.bench.speed.native import CannotMeasure

__all__ = ["receiver"]


@asynccontextmanager
async def receiver() -> AsyncIterator[int]:
    """Its port. Raises `CannotMeasure` if nothing came there."""
    taken: list[int] = []

    async def take(request: web.Request) -> web.Response:
        taken.append(len(await request.read()))
        return web.Response(content_type="application/x-protobuf")

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()
    if not any(taken):
        raise CannotMeasure("no trace came, so what they cost is not known")
