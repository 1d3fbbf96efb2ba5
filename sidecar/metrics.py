"""What the sidecar counts, for `/-/metrics` (Prometheus).

Where there are several workers, each tells the counts of all, those that have ended included. They are kept
in files for that, under the names that Prometheus' library gives them.
"""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from sidecar.settings import tell

__all__ = ["Metrics", "forget", "share"]

_folder = ""  # where they are shared; none where there is one process


def share(folder: str) -> None:
    """Counters that this process and those forked from it make from here on are summed, in this folder."""
    global _folder
    _folder = folder
    tell("PROMETHEUS_MULTIPROC_DIR", folder)
    values.ValueClass = values.MultiProcessValue()  # type: ignore[no-untyped-call] # the library's own has no types


def forget(pid: int) -> None:
    """A process has ended: what it had counted stays, what it was doing does not."""
    mark_process_dead(pid, _folder)  # type: ignore[no-untyped-call] # the library's own has no types


class Metrics:
    """Counters. Labels never hold ids, users or content."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self.requests = self._counter("requests", "Chat requests, by what they turned out to be", "outcome")
        self.restored = self._counter("restored_messages", "Messages that came back from the store")
        self.trimmed = self._counter("trimmed_messages", "Messages that were left out for the budget")
        self.over_budget = self._counter("over_budget", "Requests that no cut could make fit", "limit")
        self.overflows = self._counter(
            "overflows",
            "Prompts that the upstream refused for their length; healed by a shorter one?",
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
        self.upstream_retries = self._counter("upstream_retries", "Times that the upstream was tried again")

    def text(self) -> bytes:
        """All counters in Prometheus' text format."""
        if not _folder:
            return generate_latest(self._registry)
        registry = CollectorRegistry()
        MultiProcessCollector(registry, _folder)  # type: ignore[no-untyped-call] # the library's own has no types
        return generate_latest(registry)

    def _counter(self, name: str, meaning: str, *labels: str) -> Counter:
        return Counter(f"sidecar_{name}", meaning, labels, registry=self._registry)
