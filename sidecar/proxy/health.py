"""`/-/live`, `/-/ready`, `/-/metrics`: for orchestrators and operators.

Live: the process answers. Ready: a turn could be recorded now (200, else 503). Whether the upstream can
be reached is told, not required: a model that is being restarted is no reason to take the sidecar away.
"""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from sidecar import __version__
from sidecar.errors import StoreUnavailable
from sidecar.proxy.context import Context

__all__ = ["live", "metrics", "ready"]

_PATIENCE = 2.0  # seconds: probes of orchestrators give up after a few


async def live(_context: Context, _request: web.Request) -> web.StreamResponse:
    """The process answers."""
    return web.json_response({"live": True, "version": __version__})


async def ready(context: Context, _request: web.Request) -> web.StreamResponse:
    """Could a turn be recorded now?"""
    store, upstream = await asyncio.gather(_store(context), _upstream(context))
    is_ready = store == "writable"
    report = {"ready": is_ready, "store": store, "upstream": upstream}
    return web.json_response(report, status=200 if is_ready else 503)


async def metrics(context: Context, _request: web.Request) -> web.StreamResponse:
    """The counters, in Prometheus' text format."""
    return web.Response(body=context.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})


async def _store(context: Context) -> str:
    try:
        await asyncio.wait_for(context.store.probe(), _PATIENCE)
    except StoreUnavailable as error:
        return error.message
    except TimeoutError:
        return f"the store did not answer within {_PATIENCE:g} s"
    return "writable"


async def _upstream(context: Context) -> str:
    """Any answer is enough: which paths an upstream has, and for whom, is not known here."""
    timeout = aiohttp.ClientTimeout(total=_PATIENCE)
    try:
        async with context.upstream.session.head(
            context.upstream.origin, timeout=timeout, allow_redirects=False
        ):
            return "reachable"
    except (aiohttp.ClientError, TimeoutError) as error:
        return f"not reachable: {str(error) or type(error).__name__}"
