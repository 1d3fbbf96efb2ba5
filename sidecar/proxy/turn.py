"""The path of one chat request, from top to bottom."""

from __future__ import annotations

import asyncio

import aiohttp
from aiohttp import web

from sidecar.proxy.compose import Composed, compose
from sidecar.proxy.context import Context
from sidecar.proxy.load import Plan, load
from sidecar.proxy.receive import Asked, receive
from sidecar.proxy.record import Recording
from sidecar.proxy.relay import read_on, relay, relay_recorded

__all__ = ["turn"]


async def turn(context: Context, request: web.Request) -> web.StreamResponse:
    """identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record"""
    asked = await receive(context, request)
    async with context.appends.turn(asked.conversation_id if asked.may_append and asked.is_kept else None):
        plan = await load(context, asked)
        composed = compose(context, asked, plan, request)
        upstream = await _sent(context, asked, plan, composed, request)
        said = _said(context, asked, plan, composed)
        recording = _recording(context, asked, plan, upstream)
        if recording is None:
            return await relay(request, upstream, said)
        return await relay_recorded(request, upstream, said, recording)


async def _sent(
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
        recording = _recording(context, asked, plan, upstream)
        if recording is not None:
            await read_on(upstream, recording)
        upstream.close()


def _recording(
    context: Context, asked: Asked, plan: Plan, upstream: aiohttp.ClientResponse
) -> Recording | None:
    """What keeps the reply; None for one that has no place in a history."""
    if plan.conversation is None or upstream.status >= 300:
        return None
    return Recording(
        context,
        asked,
        plan,
        plan.conversation,
        streamed=upstream.content_type == "text/event-stream",
        coding=upstream.headers.get("Content-Encoding", "identity"),
    )


def _said(context: Context, asked: Asked, plan: Plan, composed: Composed) -> dict[str, str]:
    """The response headers that tell what was done; the same is counted."""
    metrics = context.metrics
    metrics.requests.labels(plan.outcome.value).inc()
    said = {"X-Sidecar-Outcome": plan.outcome.value}
    name = asked.identity.key or (plan.conversation.id if plan.conversation else None)
    if name:
        said["X-Conversation-ID"] = name
    if composed.restored:
        said["X-Sidecar-Restored"] = str(composed.restored)
        metrics.restored.inc(composed.restored)
    if composed.trimmed.dropped:
        said["X-Sidecar-Trimmed"] = str(composed.trimmed.dropped)
        metrics.trimmed.inc(composed.trimmed.dropped)
    if composed.trimmed.over:
        said["X-Sidecar-Over-Budget"] = ", ".join(composed.trimmed.over)
        for limit in composed.trimmed.over:
            metrics.over_budget.labels(limit).inc()
    if plan.degraded:
        said["X-Sidecar-Degraded"] = "store"
    return said
