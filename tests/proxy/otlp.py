"""A collector: takes what an exporter sends by OTLP over HTTP, on a real socket, and remembers the spans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as Sent

from tests.proxy.client import eventually

SERVER, CLIENT = Sent.SPAN_KIND_SERVER, Sent.SPAN_KIND_CLIENT


@dataclass
class Span:
    """One that came."""

    name: str
    kind: int
    trace: str
    id: str
    parent: str
    attributes: dict[str, Any]
    resource: dict[str, Any]
    is_error: bool
    begin: int
    end: int


@dataclass
class Collector:
    """`status`: what it answers with."""

    url: str = ""
    spans: list[Span] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)
    status: int = 200
    tries: int = 0

    async def trace(self, *, spans: int = 2) -> tuple[Span, ...]:
        """Those of one trace, in the order of their beginning, once so many have come."""
        await eventually(lambda: len(self.spans) >= spans, within=10)
        return tuple(sorted(self.spans, key=lambda each: each.begin))

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.tries += 1
        if self.status == 200:
            self.bodies.append(body)
            for each in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _values(each.resource.attributes)
                self.spans += [_span(one, resource) for scope in each.scope_spans for one in scope.spans]
        answer = ExportTraceServiceResponse().SerializeToString()
        return web.Response(status=self.status, body=answer, content_type="application/x-protobuf")


def _span(sent: Sent, resource: dict[str, Any]) -> Span:
    return Span(
        sent.name,
        sent.kind,
        sent.trace_id.hex(),
        sent.span_id.hex(),
        sent.parent_span_id.hex(),
        _values(sent.attributes),
        resource,
        sent.status.code == 2,
        sent.start_time_unix_nano,
        sent.end_time_unix_nano,
    )


def _values(attributes: Any) -> dict[str, Any]:
    return {each.key: _value(each.value) for each in attributes}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    assert kind is not None
    return (
        [_value(each) for each in value.array_value.values] if kind == "array_value" else getattr(value, kind)
    )


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector while the body runs."""
    collector = Collector()
    app = web.Application()
    app.router.add_post("/v1/traces", collector.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    collector.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield collector
    finally:
        await runner.cleanup()
