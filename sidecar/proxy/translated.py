"""A chat over another API than its upstream speaks: where its requests go, and what its answers become."""

from __future__ import annotations

import time

from aiohttp import web

from sidecar.conversation.records import Reference, exchange_id
from sidecar.dialects.base import Translation
from sidecar.exchange.call import Call
from sidecar.exchange.outcome import Progress
from sidecar.proxy.build import UpstreamRequest
from sidecar.upstream.response import UpstreamResponse
from sidecar.upstream.target import Target

__all__ = ["path_of", "translation_of"]


def path_of(call: Call, composed: UpstreamRequest, request: web.BaseRequest, target: Target) -> str:
    """Where it goes. What is to be translated has to come in a form that can be read."""
    path = request.raw_path
    if call.dialect.is_translated:
        composed.headers["Accept-Encoding"] = "identity"
        path = call.dialect.upstream_path(path)
    return target.chat_path(path)


def translation_of(progress: Progress, upstream: UpstreamResponse) -> Translation | None:
    """What makes of the answer what its client understands; None where that is the answer as it comes."""
    call, plan = progress.call, progress.plan
    assert call is not None
    if not call.dialect.is_translated:
        return None
    kept = plan.conversation if plan is not None else None
    exchange = Reference(kept.id if kept is not None else "", exchange_id(progress.when, progress.random))
    return call.dialect.translation(call.chat, upstream.status, exchange, progress.when // 1000, time.time)
