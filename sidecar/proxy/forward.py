"""Sending a composed request on, and what becomes of it when the client does not wait for the answer."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from sidecar.proxy.compose import Composed
from sidecar.proxy.context import Context
from sidecar.proxy.load import Plan
from sidecar.proxy.receive import Asked
from sidecar.proxy.record import recording_of
from sidecar.proxy.relay import read_on

__all__ = ["forward"]


async def forward(
    context: Context, asked: Asked, plan: Plan, composed: Composed, request: web.Request
) -> aiohttp.ClientResponse:
    """Send the request on and wait for the headers of the answer, for as long as the client does or is to."""
    url = context.upstream.url(request.raw_path)
    sending = context.upstream.send("POST", url, composed.headers, composed.body)
    if plan.conversation is None or context.settings.history.on_disconnect == "cancel":
        return await sending
    task = asyncio.ensure_future(sending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((context.spawn(_unseen(context, asked, plan, task)),))
        raise


async def _unseen(
    context: Context, asked: Asked, plan: Plan, sending: asyncio.Future[aiohttp.ClientResponse]
) -> None:
    """The client left before the answer began, and yet it is to be kept."""
    stopping = asyncio.ensure_future(context.stopping.wait())
    await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not sending.done():
        sending.cancel()
        return
    if sending.exception() is None:
        upstream = sending.result()
        recording = recording_of(context, asked, plan, upstream)
        if recording is not None:
            await read_on(upstream, recording)
        upstream.close()
