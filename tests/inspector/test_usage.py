"""What was asked, and what it took: every exchange that is kept counts once, and what does not is said."""

from __future__ import annotations

import csv
import io
import json

import pytest

from sidecar.access.client_keys import changed_row, made
from sidecar.conversation.exchange_record import Detail
from sidecar.inspector import usage as counting
from sidecar.inspector.usage import MOST_DAYS, UsageLine, UsagePage, UsageRow, as_csv, usage
from sidecar.store import MemoryStore
from tests.inspector.conftest import Visitor
from tests.proxy.mock_upstream import Upstream, completion, sends
from tests.store.trees import OTHER_TENANT, TENANT, exchange, talk, update

#: 1970-01-20, 12:00.
NOW = 19.5 * 86_400
DAY = 86_400_000


async def spent(store, id, day, tenant=TENANT, **about):
    await store.record(
        update(talk(id, tenant=tenant, at=5.0), exchange=exchange(id, None, at=day * DAY + 1, **about))
    )


@pytest.fixture
async def store():
    store = MemoryStore()
    cut = Detail(
        cached_tokens=60, dropped=4, saved=55, shortened=1, restored=2, overflow_retries=1, form_retries=1
    )
    await spent(store, "conv_a", 19, model="qwen", input_tokens=100, output_tokens=7, detail=cut)
    await spent(store, "conv_a", 17, model="qwen", input_tokens=None, error="overflow", detail=Detail())
    await spent(store, "conv_b", 19, OTHER_TENANT, model="=llama", input_tokens=10, detail=Detail())
    await spent(store, "conv_b", 2, OTHER_TENANT, model="old", input_tokens=1000)
    return store


async def test_it_is_told_by_day_by_model_and_by_tenant(store):
    page = await usage(store, 3, NOW)
    assert (page.days, page.first, page.last) == (3, "1970-01-18", "1970-01-20")
    assert (page.is_whole, page.reached, page.damaged) == (True, None, 0)
    assert page.total == UsageLine("", 3, 1, 1, 110, 60, 7, 1, 4, 1, 2, 2, 55)
    assert [(each.name, each.requests, each.input) for each in page.by_day] == [
        ("1970-01-20", 2, 110),
        ("1970-01-19", 0, 0),
        ("1970-01-18", 1, 0),
    ]
    assert [(each.name, each.requests, each.errors) for each in page.by_model] == [
        ("qwen", 2, 1),
        ("=llama", 1, 0),
    ]
    assert [each.name for each in page.by_tenant] == [TENANT.hex(), OTHER_TENANT.hex()]
    assert [(each.day, each.model) for each in page.rows] == [
        ("1970-01-20", "qwen"),
        ("1970-01-20", "=llama"),
        ("1970-01-18", "qwen"),
    ]


async def test_the_plot_is_as_high_as_its_highest_day(store):
    page = await usage(store, 3, NOW)
    assert page.most == 117
    last = page.bars[-1]
    assert (last.day, last.x) == ("1970-01-20", 20)
    assert last.output + last.fresh + last.cached == pytest.approx(120, abs=0.02)
    assert last.cached == pytest.approx(120 * 60 / 117, abs=0.01)
    assert (page.bars[1].output, page.bars[1].fresh, page.bars[1].cached) == (0, 0, 0)


async def test_what_came_by_a_key_is_told_by_key_and_each_key_by_its_name(store):
    assert (await usage(store, 3, NOW)).by_key == ()
    key, _ = made(store.secret, "Ada", 0.0)
    await store.put_client_key(changed_row(key))
    for at, id in enumerate((key.id, key.id, "gone000000")):
        await spent(store, f"conv_{at}", 19, input_tokens=5, detail=Detail(client_key=id))
    page = await usage(store, 3, NOW)
    assert [(each.name, each.requests, each.input) for each in page.by_key] == [
        ("-", 3, 110),
        (key.id, 2, 10),
        ("gone000000", 1, 5),
    ]
    assert page.key_names == {key.id: "Ada"}
    told = {each["client_key"] for each in csv.DictReader(io.StringIO(as_csv(page).decode()))}
    assert told == {"-", key.id, "gone000000"}


@pytest.mark.parametrize(("asked", "days"), [(None, 14), (0, 14), (1, 1), (10_000, MOST_DAYS)])
async def test_so_many_days_are_told_as_are_asked_for(asked, days):
    page = await usage(MemoryStore(), asked, NOW * 100)
    assert (page.days, len(page.by_day), page.total.requests, page.most) == (days, days, 0, 0)


async def test_where_its_time_is_over_it_says_what_is_missing(store, monkeypatch):
    monkeypatch.setattr(counting, "_SECONDS", -1.0)
    page = await usage(store, 3, NOW)
    assert (page.is_whole, page.reached, page.total.requests) == (False, None, 0)


async def test_names_without_end_are_told_together(monkeypatch):
    monkeypatch.setattr(counting, "_MOST_NAMES", 2)
    monkeypatch.setattr(counting, "_MOST_ROWS", 2)
    store = MemoryStore()
    for at in range(5):
        await spent(store, f"conv_{at}", 19, model=f"model-{at}")
    page = await usage(store, 1, NOW)
    assert [(each.name, each.requests) for each in page.by_model] == [
        ("(others)", 3),
        ("model-3", 1),
        ("model-4", 1),
    ]
    assert sum(each.line.requests for each in page.rows) == 5


async def test_as_csv_no_cell_is_a_formula(store):
    rows = list(csv.DictReader(io.StringIO(as_csv(await usage(store, 3, NOW)).decode())))
    assert [(each["day"], each["model"], each["input"]) for each in rows] == [
        ("1970-01-20", "qwen", "100"),
        ("1970-01-20", "'=llama", "10"),
        ("1970-01-18", "qwen", "0"),
    ]
    assert rows[0]["left_out"] == "4"


@pytest.mark.parametrize(
    ("model", "cell"),
    [
        ("=1+1", "'=1+1"),
        (" =1", " '=1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ("gpt; =1", "gpt; '=1"),
        ("a-b", "a-b"),
        ("", "-"),
    ],
)
def test_a_name_is_no_formula_whatever_parts_the_cells(model, cell):
    rows = [UsageRow("2026-11-30", model or "-", "a" * 8, "-", UsageLine())]
    page = UsagePage(1, "", "", True, None, 0, UsageLine(), (), (), (), (), {}, tuple(rows), (), 0)
    said = as_csv(page).decode()
    assert f",{cell}," in said


async def test_the_page_tells_what_the_upstream_reported(visitor: Visitor, upstream: Upstream):
    assert "Nothing was asked in these days" in (await visitor.get("usage")).text
    told = {"prompt_tokens": 1200, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 900}}
    body = completion("hello").replace(
        b'{"object"', b'{"usage": ' + json.dumps(told).encode() + b', "object"'
    )
    upstream.will(sends(body))
    await visitor.sidecar.ask("hi", id="a", model="qwen")
    page = await visitor.get("usage?days=7")
    assert page.status == 200
    for words in ("1,200", "900 (75 %)", "qwen</a>", 'role="img"', "at most 1,230 tokens a day"):
        assert words in page.text, words
    taken = await visitor.get("usage?days=7&format=csv")
    assert taken.headers["Content-Disposition"].startswith("attachment; filename=usage-")
    assert taken.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert ",qwen," in taken.text
    value = await visitor.value("usage?days=7")
    assert (value["total"]["cached"], value["days"]) == (900, 7)
    way = page.text.partition('href="search?q=model')[2].partition('"')[0]
    assert (await visitor.value(f"search?q=model{way}"))["hits"][0]["row"]["key"] == "a"
    assert "without a count" not in page.text
    upstream.will(sends(completion("hello")))
    await visitor.sidecar.ask("hi", id="b", model="qwen")
    missing = "1 of 2 requests came without a count and is missing in the sums of tokens."
    assert missing in (await visitor.get("usage?days=7")).text
