"""The path of one chat request, from top to bottom."""

from __future__ import annotations

from aiohttp import web

from sidecar.proxy.compose import Composed, compose
from sidecar.proxy.context import Context
from sidecar.proxy.load import Plan, load
from sidecar.proxy.receive import Asked, receive
from sidecar.proxy.record import Recording
from sidecar.proxy.relay import relay, relay_recorded

__all__ = ["turn"]


async def turn(context: Context, request: web.Request) -> web.StreamResponse:
    """identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record"""
    asked = await receive(context, request)
    async with context.appends.turn(asked.conversation_id if asked.may_append and asked.is_kept else None):
        plan = await load(context, asked)
        composed = compose(context, asked, plan, request)
        url = context.upstream.url(request.raw_path)
        upstream = await context.upstream.send("POST", url, composed.headers, composed.body)
        said = _said(context, asked, plan, composed)
        if plan.conversation is None or upstream.status >= 300:
            return await relay(request, upstream, said)
        recording = Recording(
            context,
            asked,
            plan,
            plan.conversation,
            streamed=upstream.content_type == "text/event-stream",
            coding=upstream.headers.get("Content-Encoding", "identity"),
        )
        return await relay_recorded(request, upstream, said, recording)


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
