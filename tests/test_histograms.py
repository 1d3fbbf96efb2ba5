"""Our histograms say what the library's own say of the same values, in one process and in several."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import prometheus_client
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest

from sidecar.histograms import Histogram

BOUNDS = (0.5, 1.0, 2.5)
NAMES = ("a", "b")


def said(registry: CollectorRegistry) -> list[str]:
    """The page, but for the moment when each series began."""
    return [line for line in generate_latest(registry).decode().splitlines() if "_created" not in line]


@given(st.lists(st.tuples(st.sampled_from(["x", "y", '"\\\n']), st.floats(0, 10) | st.sampled_from(BOUNDS))))
def test_a_page_is_that_of_the_library(values):
    ours, theirs = CollectorRegistry(), CollectorRegistry()
    mine = Histogram(ours, "h_seconds", "What it is", BOUNDS, NAMES, changed=None)
    other = prometheus_client.Histogram("h_seconds", "What it is", NAMES, registry=theirs, buckets=BOUNDS)
    for label, value in values:
        mine.labels(label, "z").observe(value)
        other.labels(label, "z").observe(value)
    assert said(ours) == said(theirs)


def test_when_a_series_began_is_told_as_well():
    registry = CollectorRegistry()
    Histogram(registry, "h", "What it is", BOUNDS, changed=None).labels().observe(1)
    assert b"\nh_created 1" in generate_latest(registry)


WORKER = """
import os
from prometheus_client import CollectorRegistry, Histogram as Theirs, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from sidecar.histograms import Changed, Histogram

registry, changed = CollectorRegistry(), Changed()
ours = Histogram(registry, "ours_seconds", "It", (0.5, 1.0, 2.5), ("a",), changed=changed).labels("x")
theirs = Theirs("theirs_seconds", "It", ("a",), registry=registry, buckets=(0.5, 1.0, 2.5)).labels("x")
if os.fork():
    os.wait()
for value in (0.25, 0.5, 2.0, 7.0):
    ours.observe(value)
    theirs.observe(value)
    changed.write()
changed.write()
page = CollectorRegistry()
MultiProcessCollector(page)
print(generate_latest(page).decode())
"""


def test_several_workers_sum_theirs_up(tmp_path: Path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    done = subprocess.run(
        (sys.executable, "-c", WORKER), capture_output=True, env=environment, check=True, text=True
    )
    lines = done.stdout.splitlines()
    ours = [line.replace("ours_", "") for line in lines if "ours_" in line]
    theirs = [line.replace("theirs_", "") for line in lines if "theirs_" in line]
    assert 'seconds_bucket{a="x",le="0.5"} 4.0' in ours
    assert 'seconds_sum{a="x"} 19.5' in ours
    assert sorted(ours) == sorted(theirs)
