"""What the sidecar counts, for `/-/metrics` (Prometheus).

Where there are several workers, each reports the sums of all, those that have ended included. The library
keeps them in files for that, in the folder that `sidecar.server.metrics_folder` makes.
"""

from __future__ import annotations

from functools import cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

__all__ = ["HOLDERS", "Metrics", "forget_worker"]

#: What may hold the event loop: the phases of a request's path, and whatever else.
HOLDERS = ("parse", "decide", "build", "record", "other")

# Upper bounds in seconds; the fewer, the less each worker's file holds.
_ANSWERS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_OWN_WORK = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
_HOLDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)


def forget_worker(pid: int) -> None:
    """A worker has ended: its counters stay in the sums, its gauges do not."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call] # the library's own has no types


class Metrics:
    """Counters. Labels never hold ids, users or content. `shared`: they are summed over several workers."""

    def __init__(self, *, shared: bool = False) -> None:
        self._shared = shared
        self._registry = CollectorRegistry()
        self.requests = self._counter("requests", "Chat requests, by what they turned out to be", "outcome")
        self.restored = self._counter("restored_messages", "Messages that came back from the store")
        self.trimmed = self._counter("trimmed_messages", "Messages that were left out for the budget")
        self.recalls = self._counter("recalls", "Requests in which something was quoted that was left out")
        self.recalled = self._counter("recalled_messages", "Messages that were left out and quoted")
        self.recalled_tokens = self._counter(
            "recalled_tokens", "Tokens of what was quoted of messages that were left out, by estimate"
        )
        self.over_budget = self._counter("over_budget", "Requests that no cut could make fit", "limit")
        self.overflows = self._counter(
            "overflows",
            "Prompts that the upstream refused for their length; healed by a shorter one?",
            "healed",
        )
        self.form_refusals = self._counter(
            "form_refusals",
            "Requests that the upstream refused for their form; healed by another one?",
            "healed",
        )
        self.replies = self._counter("replies", "Replies recorded, by state", "state")
        self.replies_cut = self._counter(
            "replies_cut", "Replies of which only the beginning was recorded, by the limit", "limit"
        )
        self.store_failures = self._counter(
            "store_failures", "Times that the store could not be used", "step"
        )
        self.store_waiting = Gauge(
            "sidecar_store_waiting",
            "Jobs that wait for the store; where there are several workers, of the one that answers",
            ("work",),
            registry=self._registry,
            multiprocess_mode="mostrecent",
        )
        self.summaries = self._counter("summaries", "Summaries of turns that were left out", "result")
        self.silently_cut = self._counter(
            "silently_cut", "Prompts that the upstream seems to have cut without a word"
        )
        self.given_up = self._counter(
            "recognitions_given_up", "Histories that were not found within `limits.recognition_…`"
        )
        self.exchanges_dropped = self._counter(
            "exchanges_dropped", "Records of failed requests that were not kept since the store was behind"
        )
        self.upstream_retries = self._counter("upstream_retries", "Times that the upstream was tried again")
        # To find a label's counter again costs more than to count.
        self.outcome = cache(self.requests.labels)
        self.reply = cache(self.replies.labels)
        self._add_measurements()

    def _add_measurements(self) -> None:
        """Times and tokens; a histogram has as few labels as can be, for each takes a microsecond."""
        self.prompt_tokens = self._counter("prompt_tokens", "Tokens of prompts, as upstreams reported them")
        self.completion_tokens = self._counter(
            "completion_tokens", "Tokens of replies, as upstreams reported them"
        )
        self.cached_tokens = self._counter(
            "cached_tokens", "Tokens of prompts that an upstream's cache had, as upstreams reported them"
        )
        duration = self._histogram(
            "request_duration_seconds",
            "From the arrival of a chat request to the end of its answer, its commit included",
            _ANSWERS,
            "stream",
        )
        #: By whether the answer is a stream.
        self.duration = {True: duration.labels("yes"), False: duration.labels("no")}
        self.added_latency = self._histogram(
            "added_latency_seconds",
            "From the arrival of a chat request's last byte to its being sent upstream; an append's wait for"
            " the one before it included",
            _OWN_WORK,
        )
        self.first_byte = self._histogram(
            "time_to_first_byte_seconds",
            "From the arrival of a chat request to the head of the upstream's response",
            _ANSWERS,
        )
        self.first_token = self._histogram(
            "time_to_first_token_seconds",
            "From a chat request's arrival to the first piece of a streamed reply that went to its client",
            _ANSWERS,
        )
        held = self._histogram(
            "loop_held_seconds",
            "Times of 5 ms and more in which nobody was served, by what was done meanwhile",
            _HOLDS,
            "by",
        )
        self.loop_held = {holder: held.labels(holder) for holder in HOLDERS}

    def text(self) -> bytes:
        """All counters in Prometheus' text format."""
        if not self._shared:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call] # the library's own has no types
        return generate_latest(registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"sidecar_{name}", meaning, labels, registry=self._registry)

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(f"sidecar_{name}", meaning, labels, registry=self._registry, buckets=bounds)
