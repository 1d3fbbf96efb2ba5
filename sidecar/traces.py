"""A trace of each exchange, by OpenTelemetry: where it was, how long, and why.

Rules: all of it is imported only where it is wanted (`traces.requests`). How often, and to whom, its own
variables say (`OTEL_*`). A client's `traceparent` is the parent; what the upstream gets names our span, so
that client, sidecar and engine are in one trace, also where nothing of it is sent from here. There are two
spans: of the request, and of what its upstream does. Both are written when they have ended, for what is said
of them is known by then.
"""

from __future__ import annotations

import asyncio
import re
import threading
import time
from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any

from yarl import URL

from sidecar import __version__
from sidecar.conversation.exchange_record import Exchange
from sidecar.errors import SidecarError
from sidecar.exchange.call import ChatCall
from sidecar.exchange.gen_ai import of_inference, of_request, span_name
from sidecar.exchange.outcome import Progress
from sidecar.logs import say_seldom
from sidecar.settings import Settings

if TYPE_CHECKING:
    from opentelemetry.context import Context

__all__ = ["Started", "Traces", "traces_of"]

PARENT, STATE = "traceparent", "tracestate"
_ROUTE = "/v1/chat/completions"
_NAME, _ABOUT = f"POST {_ROUTE}", {"http.request.method": "POST", "http.route": _ROUTE}
_PARENT = re.compile("[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}(-.*)?")
_MEMBERS = 32
_MEMBER = re.compile(
    r"([a-z][_0-9a-z\-*/]{0,255}|[a-z0-9][_0-9a-z\-*/]{0,240}@[a-z][_0-9a-z\-*/]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
)
_BETWEEN_LINES = 60.0  # seconds
_NANO = 1_000_000_000


def traces_of(settings: Settings) -> Traces | None:
    """What sends traces, if that is wanted; made in the process that serves, for it owns a thread.

    Raises `SidecarError` where a variable of OpenTelemetry's own makes no sense.
    """
    if not settings.traces.requests:
        return None
    try:
        return Traces(settings)
    except ValueError as error:  # most of what it cannot use it says and goes on without, but not all
        raise SidecarError(f"OpenTelemetry cannot use one of its variables (OTEL_*): {error}") from error


class Traces:
    """Begins traces, and sends them in the background. `stop` it."""

    def __init__(self, settings: Settings) -> None:
        from opentelemetry.context import Context
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        # While no collector answers, it tells each of its tries.
        say_seldom(OTLPSpanExporter.__module__, _BETWEEN_LINES)
        self._ids = ids = _ids()
        resource = Resource.create()
        if str(resource.attributes[SERVICE_NAME]).startswith("unknown_service"):
            resource = resource.merge(Resource({SERVICE_NAME: "conversation-sidecar"}))
        self._provider = TracerProvider(resource=resource, id_generator=ids, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        self._tracer = self._provider.get_tracer("sidecar", __version__)
        self._api = import_module("opentelemetry.trace")
        self._propagator = TraceContextTextMapPropagator()
        self._nowhere = Context()
        self._sampler = self._provider.sampler
        self._is_on = self._tracer.start_span("").get_span_context().is_valid  # never ended, so never sent
        self._is_hashed = settings.identity.fallback == "hash"
        self._places = {
            name: _place(base)
            for name, base in (("default", settings.upstream_base), ("tasks", settings.tasks_base))
            if base is not None
        }
        self._places |= {each.name: _place(URL(each.url[0])) for each in settings.targets}

    def begin(self, parent: Mapping[str, str]) -> Started | None:
        """A request has come, with these headers of W3C's; None if `OTEL_SDK_DISABLED`.

        Whether it is sampled is asked here; a span, which costs more than all else, is made at its end.
        """
        if not self._is_on:
            return None
        api, ids = self._api, self._ids
        parent = _sound(parent)
        context = self._propagator.extract(parent) if parent else self._nowhere
        above = api.get_current_span(context).get_span_context()
        root = None if above.is_valid else ids.generate_trace_id()
        trace = above.trace_id if root is None else root
        asked = self._sampler.should_sample(context, trace, _NAME, api.SpanKind.SERVER, dict(_ABOUT))
        is_sampled: bool = asked.decision.is_sampled()  # type: ignore[no-untyped-call] # the SDK's has no types
        return Started(
            self,
            context,
            trace,
            root,
            (ids.generate_span_id(), ids.generate_span_id()) if is_sampled else None,
            0 if is_sampled else ids.generate_span_id(),
            asked.trace_state.to_header() if asked.trace_state else "",
        )

    def end(self, started: Started, progress: Progress, exchange: Exchange, now: float) -> None:
        """Write both spans."""
        assert started.spans is not None
        api, ids, (own, upstream) = self._api, self._ids, started.spans
        error = api.Status(api.StatusCode.ERROR)
        ids.next_trace, ids.next_span = started.root, own
        about = of_request(progress, exchange)
        span = self._tracer.start_span(
            _NAME, started.context, api.SpanKind.SERVER, {**_ABOUT, **about}, start_time=started.began
        )
        if "error.type" in about:
            span.set_status(error)
        if progress.sent:
            ids.next_span = upstream
            about = of_inference(progress, exchange, names_chat=self._names_chat(progress))
            inference = self._tracer.start_span(
                span_name(exchange),
                api.set_span_in_context(span),
                api.SpanKind.CLIENT,
                {**about, **self._places.get(progress.target, {})},
                start_time=started.at(progress.sent - progress.arrived),
            )
            if "error.type" in about:
                inference.set_status(error)
            inference.end(started.at(now - progress.arrived))
        span.end(started.at(now - progress.arrived))

    def _names_chat(self, progress: Progress) -> bool:
        call = progress.call
        return isinstance(call, ChatCall) and not (self._is_hashed and call.identity.key is None)

    async def stop(self, timeout: float) -> None:
        """Send what is left, for `timeout` seconds at most."""
        # A thread that nobody waits for at the end: the exporter tries again for longer than that.
        last = threading.Thread(target=self._provider.shutdown, daemon=True)
        last.start()
        await asyncio.to_thread(last.join, timeout)


class Started:
    """One request, and what its upstream is to know of it.

    `root`: the trace's id where it begins here. `spans`: the ids of ours, and of the upstream's part; None if
    it is not sampled: then the upstream gets `unsampled` as its parent, which nobody will see.
    """

    __slots__ = ("_traces", "began", "context", "headers", "id", "root", "spans")

    def __init__(
        self,
        traces: Traces,
        context: Context,
        trace: int,
        root: int | None,
        spans: tuple[int, int] | None,
        unsampled: int,
        state: str,
    ) -> None:
        self._traces, self.context, self.root, self.spans = traces, context, root, spans
        #: Nanoseconds of Unix time.
        self.began = time.time_ns()
        self.id = f"{trace:032x}"
        parent, flag = (spans[1], "01") if spans is not None else (unsampled, "00")
        #: In place of the client's.
        self.headers: dict[str, str | None] = {
            PARENT: f"00-{self.id}-{parent:016x}-{flag}",
            STATE: state or None,
        }

    def at(self, seconds: float) -> int:
        """So long after it began, in nanoseconds of Unix time."""
        return self.began + int(seconds * _NANO)

    def end(self, progress: Progress, exchange: Exchange, now: float) -> None:
        """The exchange has ended, at `now`."""
        if self.spans is not None:
            self._traces.end(self, progress, exchange, now)


def _ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

    class Ids(RandomIdGenerator):
        """Random ones, but for those that were told to others before their span was made."""

        next_trace: int | None = None
        next_span: int | None = None

        def generate_trace_id(self) -> int:
            told, self.next_trace = self.next_trace, None
            return super().generate_trace_id() if told is None else told

        def generate_span_id(self) -> int:
            told, self.next_span = self.next_span, None
            return super().generate_span_id() if told is None else told

    return Ids()


def _sound(parent: Mapping[str, str]) -> Mapping[str, str]:
    """These headers, as far as they are what W3C's Trace Context says, section 3: OpenTelemetry would write
    what is not into its log, in the words of whoever sent it."""
    if _PARENT.fullmatch(parent.get(PARENT, "")) is None:
        return {}
    state = parent.get(STATE, "")
    members = [each.strip(" \t") for each in state.split(",") if each.strip(" \t")]
    names = {each.partition("=")[0] for each in members}
    if len(names) < len(members) or len(members) > _MEMBERS or not all(map(_MEMBER.fullmatch, members)):
        return {PARENT: parent[PARENT]}
    return parent


def _place(base: URL) -> dict[str, Any]:
    return {"server.address": base.host, "server.port": base.port}
