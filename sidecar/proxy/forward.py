"""Sending a composed request on, and what becomes of it when the client does not wait for the answer."""

from __future__ import annotations

import asyncio

from aiohttp import web

from sidecar.proxy.compose import Composed
from sidecar.proxy.context import Context
from sidecar.proxy.heal import send
from sidecar.proxy.load import Plan
from sidecar.proxy.receive import Asked
from sidecar.proxy.record import recording_of
from sidecar.proxy.relay import read_on
from sidecar.upstream.response import UpstreamResponse

__all__ = ["forward"]


async def forward(
    context: Context, asked: Asked, plan: Plan, composed: Composed, request: web.BaseRequest
) -> tuple[UpstreamResponse, Composed]:
    """Send the request on, shorter if need be; gives the answer, and what it is the answer to.

    Waits for the head of the answer, for as long as the client does or is to.
    """
    sending = send(context, asked, plan, composed, request)
    if plan.conversation is None or context.settings.history.on_disconnect == "cancel":
        return await sending
    task = asyncio.ensure_future(sending)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait((context.tasks.spawn(_unseen(context, asked, plan, task)),))
        raise


async def _unseen(
    context: Context, asked: Asked, plan: Plan, sending: asyncio.Future[tuple[UpstreamResponse, Composed]]
) -> None:
    """The client left before the answer began, and yet it is to be kept."""
    stopping = asyncio.ensure_future(context.tasks.stopping.wait())
    await asyncio.wait((sending, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not sending.done():
        sending.cancel()
        return
    if sending.exception() is None:
        upstream, composed = sending.result()
        recording = recording_of(context, asked, plan, upstream, composed)
        if recording is not None:
            await read_on(upstream, recording)
        upstream.close()
