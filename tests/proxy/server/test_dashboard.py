"""`config/grafana.json` and `config/alerts.yml` ask for what `/-/metrics` has."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
from prometheus_client import Counter, Gauge
from prometheus_client.parser import text_string_to_metric_families

from sidecar.metrics import Metrics
from tests.docs import ROOT
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, Upstream, event, streams

ALERTS = (ROOT / "config" / "alerts.yml").read_text("utf-8")
DASHBOARD: dict[str, Any] = json.loads((ROOT / "config" / "grafana.json").read_text("utf-8"))
#: Words of the query language that these use, and what Prometheus itself adds to all it reads.
WORDS = {
    *("sum", "min", "max", "rate", "increase", "histogram_quantile", "predict_linear"),
    *("by", "ignoring", "group_left", "and", "or", "offset"),
}
ADDED = {"up", "job", "instance"}
USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}


def panels() -> list[dict[str, Any]]:
    return [each for each in DASHBOARD["panels"] if each["type"] != "row"]


def expressions() -> Iterator[str]:
    for panel in panels():
        yield from (each["expr"] for each in panel["targets"])
    for found in re.finditer(r"^ +expr: (?:>-\n((?: {10}.*\n)+)|(.*)\n)", ALERTS, re.MULTILINE):
        yield " ".join((found[1] or found[2]).split())


def names_in(expression: str) -> set[str]:
    """The metrics that it reads."""
    bare = re.sub(r'"[^"]*"', "", expression)
    bare = re.sub(r"\[[^\]]*\]|\{[^}]*\}|(?:by|ignoring|on|group_left) *\([^)]*\)", " ", bare)
    return set(re.findall(r"\b[a-z_][a-z0-9_]*\b", bare)) - WORDS


def labels_in(expression: str) -> set[str]:
    """The labels that it tells apart, but for those that are Prometheus' own."""
    bare = re.sub(r'"[^"]*"', "", expression)
    grouped = ",".join(re.findall(r"(?:by|ignoring) *\(([^)]*)\)", bare))
    matched = ",".join(re.findall(r"\{([^}]*)\}", bare))
    return set(re.findall(r"[a-z_][a-z0-9_]*", f"{grouped},{matched}")) - ADDED


@pytest.fixture
async def page(start: Start, upstream: Upstream) -> str:
    urls = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]  # which nobody asks
    sidecar = await start(targets=[{"name": "pool", "url": urls, "models": ["none"]}])
    upstream.will(streams(event({"content": "hi"}, finish="stop", usage=USAGE), DONE))
    await sidecar.ask("hi", id="a", stream=True)
    await sidecar.ask("and?", id="a")
    return (await sidecar.send("GET", "/-/metrics")).body.decode()


def on(page: str) -> dict[str, set[str]]:
    """Each series that it has, or would have, and the names of its labels, where there are any yet."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(page):
        ends = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(family.type, ("",))
        found.update({family.name + end: set() for end in ends})
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


async def test_every_metric_that_is_asked_for_is_on_the_page(page: str):
    known = on(page)
    asked = [*expressions()]
    assert len(asked) > 40
    assert {each: missing for each in asked if (missing := names_in(each) - set(known) - {"up"})} == {}
    assert all(names_in(each) for each in asked)


def test_a_name_that_is_on_no_page_would_be_found():
    assert names_in('sum by (le) (rate(made_up_total{job="a"}[5m])) / other > 0.1') == {
        "made_up_total",
        "other",
    }


async def test_every_label_that_is_asked_for_is_one_of_its_metric(page: str):
    known, metrics = on(page), Metrics()
    declared = {
        next(iter(each.describe())).name: each
        for each in vars(metrics).values()
        if isinstance(each, Counter | Gauge)
    }
    unknown = {
        (each, label)
        for each in expressions()
        for label in labels_in(each)
        if not any(
            label in known[name] or _takes(declared.get(name.removesuffix("_total")), label)
            for name in names_in(each) - {"up"}
        )
    }
    assert unknown == set()


def _takes(metric: Counter | Gauge | None, label: str) -> bool:
    try:
        return metric is not None and metric.labels(**{label: "x"}) is not None
    except ValueError:
        return False


def test_it_answers_three_questions_and_says_what_each_panel_means():
    rows = [each["title"] for each in DASHBOARD["panels"] if each["type"] == "row"]
    assert rows == ["Why did it forget?", "Why was it slow?", "Why did it cost?"]
    assert [each["title"] for each in panels() if len(each["description"]) < 20] == []


def test_every_rule_says_what_it_means_and_what_to_do():
    rules = ALERTS.split("- alert: ")[1:]
    assert len(rules) > 8
    for each in rules:
        assert re.search(r"severity: (critical|warning|info)\}", each)
        assert "summary: " in each
        assert "description: " in each
