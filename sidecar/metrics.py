"""What the sidecar counts, for `/-/metrics` (Prometheus).

Where there are several workers, each reports the sums of all, those that have ended included. The library
keeps them in files for that, in the folder that `sidecar.server.metrics_folder` makes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

from prometheus_client import CollectorRegistry, Counter, Gauge, Metric, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from sidecar.exchange.gen_ai import DURATIONS, FIRST_CHUNKS, OPERATION, OTHER, PROVIDER, TOKENS
from sidecar.histograms import Changed, Histogram, Observer
from sidecar.settings import get_environment

__all__ = ["HOLDERS", "Metrics", "forget_worker"]

#: What may hold the event loop: the phases of a request's path, and whatever else.
HOLDERS = ("parse", "decide", "build", "record", "other")

# Upper bounds in seconds; the fewer, the less each worker's file holds.
_ANSWERS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0)
_OWN_WORK = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 10.0)
_HOLDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

# Models that have series of their own: each has about a hundred. Names of more characters have none.
_MAX_MODELS = 50
_MAX_MODEL_NAME = 128

_NOT_KNOWN = float("nan")


class Inferences(NamedTuple):
    """The histograms of one model by the conventions for generative AI."""

    #: By the type of an error; empty for none.
    duration: Callable[[str], Observer]
    first_chunk: Observer
    input_tokens: Observer
    output_tokens: Observer
    cached_tokens: Observer


class OfTargets(NamedTuple):
    """What is counted of each target where there are several; the settings name them."""

    requests: Counter
    fail_overs: Counter
    up: Gauge
    member_up: Gauge


def _is_never(_model: str) -> bool:
    return False


def forget_worker(pid: int) -> None:
    """A worker has ended: its counters stay in the sums, its gauges do not."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call] # the library's own has no types


class _AllWorkers:
    """What all workers have counted; as the library's own collector, but that one fails for a file that has
    just been made and has no size yet, or never got one since its worker was killed."""

    def collect(self) -> Iterable[Metric]:
        folder = Path(get_environment("PROMETHEUS_MULTIPROC_DIR"))
        files = [str(each) for each in folder.glob("*.db") if each.stat().st_size]
        merged: Iterable[Metric] = MultiProcessCollector.merge(files, accumulate=True)  # type: ignore[no-untyped-call] # the library's own has no types
        return merged


class Metrics:
    """Counters. Labels never hold ids, users or content. `shared`: they are summed over several workers."""

    def __init__(self, *, shared: bool = False) -> None:
        self._changed = Changed() if shared else None
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
        self.store_waiting = self._gauge(
            "store_waiting",
            "Jobs that wait for the store; where there are several workers, of the one that answers",
            "work",
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
        self._add_inferences()
        self._store_room: tuple[Gauge, Gauge] | None = None
        self._store_bytes: Gauge | None = None

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
            "sidecar_request_duration_seconds",
            "From the arrival of a chat request to the end of its answer, its commit included",
            _ANSWERS,
            "stream",
        )
        #: By whether the answer is a stream.
        self.duration = {True: duration.labels("yes"), False: duration.labels("no")}
        self.added_latency = self._histogram(
            "sidecar_added_latency_seconds",
            "From the arrival of a chat request's last byte to its being sent upstream; an append's wait for"
            " the one before it included",
            _OWN_WORK,
        ).labels()
        self.first_byte = self._histogram(
            "sidecar_time_to_first_byte_seconds",
            "From the arrival of a chat request to the head of the upstream's response",
            _ANSWERS,
        ).labels()
        self.first_token = self._histogram(
            "sidecar_time_to_first_token_seconds",
            "From a chat request's arrival to the first piece of a streamed reply that went to its client",
            _ANSWERS,
        ).labels()
        held = self._histogram(
            "sidecar_loop_held_seconds",
            "Times of 5 ms and more in which nobody was served, by what was done meanwhile",
            _HOLDS,
            "by",
        )
        self.loop_held = {holder: held.labels(holder) for holder in HOLDERS}

    def _add_inferences(self) -> None:
        """What panels for any client of a model look for, under the names and bounds of the conventions."""
        labels = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")
        self._inference_duration = self._histogram(
            "gen_ai_client_operation_duration_seconds",
            "From a request's being sent upstream to the end of its answer, what was sent again included",
            DURATIONS,
            *labels,
            "error_type",
        )
        self._inference_first_chunk = self._histogram(
            "gen_ai_client_operation_time_to_first_chunk_seconds",
            "From a request's being sent upstream to the first piece of its streamed reply",
            FIRST_CHUNKS,
            *labels,
        )
        self._inference_tokens = self._histogram(
            "gen_ai_client_token_usage",
            "Tokens of a request, as its upstream reported them; the cached ones are a part of the input",
            TOKENS,
            *labels,
            "gen_ai_token_type",
        )
        self._inferences: dict[str, Inferences] = {}
        #: Has an upstream named this model itself? Set by whoever knows.
        self.is_listed: Callable[[str], bool] = _is_never

    def inferences(self, model: str | None, *, is_known: bool) -> Inferences:
        """The histograms for a model; `is_known`: an upstream has answered under that name.

        Only such a name that the upstream lists itself gets series of its own, and only the first ones: any
        client can make names up, and there are upstreams that repeat them.
        """
        found = self._inferences.get(model or OTHER)
        if found is not None:
            return found
        has_room = model and len(model) <= _MAX_MODEL_NAME and len(self._inferences) < _MAX_MODELS
        name = model if model and is_known and has_room and self.is_listed(model) else OTHER
        if name not in self._inferences:
            labels = (OPERATION, PROVIDER, name)
            self._inferences[name] = Inferences(
                cache(partial(self._inference_duration.labels, *labels)),
                self._inference_first_chunk.labels(*labels),
                *(self._inference_tokens.labels(*labels, each) for each in ("input", "output", "cached")),
            )
        return self._inferences[name]

    def set_store_bytes(self, taken: int | None) -> None:
        """Bytes that a store which is no file takes; None where that is not known. How much is free where it
        is, it does not tell."""
        if self._store_bytes is None:
            self._store_bytes = self._gauge("store_bytes", "Bytes that the database of the store takes")
        self._store_bytes.set(_NOT_KNOWN if taken is None else taken)

    def set_store_room(self, room: tuple[int, int] | None) -> None:
        """Bytes that the store's file takes and that are free for it; None where that is not known.

        Where the store is no file nobody sets them, and the page has neither: 0 would be an alarm.
        """
        if self._store_room is None:
            self._store_room = (
                self._gauge("store_bytes", "Bytes of the store's file and of what is written beside it"),
                self._gauge("store_free_bytes", "Bytes that are free where the store's file is"),
            )
        for gauge, number in zip(self._store_room, room or (_NOT_KNOWN, _NOT_KNOWN), strict=True):
            gauge.set(number)

    def of_targets(self) -> OfTargets:
        """The counters of targets; once, and only where there are several."""
        return OfTargets(
            self._counter(
                "target_requests",
                "Requests that were sent to a target: answered, or it was busy (429), away (502, 503, 504) or"
                " failed without an answer",
                "target",
                "result",
            ),
            self._counter(
                "target_fail_overs", "Requests that this target could not serve and another got", "target"
            ),
            self._gauge(
                "target_up",
                "1 if a member of the target is in use, 0 if all are out or were not reachable when last"
                " asked; where there are several workers, as the last one saw it",
                "target",
            ),
            self._gauge(
                "target_member_up",
                "1 if this URL of a target with several is in use, 0 if it is out or was not reachable when"
                " last asked; where there are several workers, as the last one saw it",
                "target",
                "member",
            ),
        )

    def of_slot_files(self) -> Callable[[str], Counter]:
        """The counters of slot files by what was done; once, and only where there are any."""
        counter = self._counter(
            "slot_files",
            "Slots of chats: saved to a file of their engine, restored from it, or neither (failed); and"
            " files that were written over with nothing (wiped)",
            "result",
        )
        return cache(counter.labels)

    @property
    def unwritten(self) -> Changed | None:
        """What other workers do not see yet; None where there are none."""
        return self._changed

    def text(self) -> bytes:
        """All counters in Prometheus' text format."""
        if self._changed is None:
            return generate_latest(self._registry)
        self._changed.write()
        return generate_latest(_AllWorkers())

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"sidecar_{name}", meaning, labels, registry=self._registry)

    def _gauge(self, name: str, meaning: str, *labels: str) -> Gauge:
        return Gauge(
            f"sidecar_{name}", meaning, labels, registry=self._registry, multiprocess_mode="mostrecent"
        )

    def _histogram(self, name: str, meaning: str, bounds: tuple[float, ...], *labels: str) -> Histogram:
        return Histogram(self._registry, name, meaning, bounds, labels, changed=self._changed)
