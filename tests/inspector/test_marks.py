"""What happened in the exchanges of a chat: a chat is marked by all of them, not by the last alone."""

from __future__ import annotations

import asyncio

import pytest
from markupsafe import escape
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Difference, exchange_id
from sidecar.conversation.overview import Overview, Overviews
from sidecar.inspector import search as searching
from sidecar.inspector.conversation_list import list_of
from sidecar.inspector.marks import LEGEND, RECENT, SLOW, marks_of, marks_under
from sidecar.inspector.query import holds, of_exchanges, query_of
from sidecar.inspector.render import as_html
from sidecar.inspector.search import search
from sidecar.store import MemoryStore, make_store
from tests.inspector.conftest import Visitor
from tests.proxy.mock_upstream import Upstream, says
from tests.store.conftest import KEY
from tests.store.trees import TENANT, chat, exchange, talk, update


def made(error=None, took=5, **detail):
    return exchange("conv_1", None, detail=Detail(**detail), error=error, duration_ms=took)


def told(*exchanges):
    return [(each.name, each.times) for each in marks_of(exchanges)]


def test_each_is_counted_and_the_gravest_stands_first():
    assert told() == told(made()) == []
    assert told(
        made(dropped=2), made(shortened=1, silent_cut=True), made(error="client_left"), made(summary=b"s")
    ) == [("cut by the upstream?", 1), ("trimmed", 2), ("summary", 1), ("the client hung up", 1)]
    assert [each.name for each in marks_of([], lost=1)] == ["store failed"]
    assert told(made(degraded=True), made(overflow_retries=1), made(form_retries=1)) == [
        ("store failed", 1),
        ("sent again", 2),
    ]


@pytest.mark.parametrize(
    ("each", "slow"),
    [
        (made(took=SLOW), True),
        (made(took=SLOW - 1), False),
        (made(took=None), False),
        (made(took=SLOW, first_token_ms=9), False),  # a long answer
        (made(took=2 * SLOW, first_token_ms=SLOW), True),
    ],
)
def test_slow_is_what_takes_long_to_its_first_piece(each, slow):
    assert told(each) == ([("slow", 1)] if slow else [])


ANSWER = b"a" * 24
GROWN = Difference(1, "grown")


def answered(at, model="m", tokens=900, **detail):
    each = made(replies=(ANSWER,), **detail)
    return replace(each, id=exchange_id(at, b"same"), model=model, input_tokens=tokens)


@pytest.mark.parametrize(
    ("word", "name", "last"),
    [
        ("has:trim", "trimmed", answered(2, shortened=1)),
        ("has:cut", "cut by the upstream?", answered(2, silent_cut=True)),
        ("has:store", "store failed", answered(2, degraded=True)),
        ("has:slow", "slow", replace(answered(2), duration_ms=SLOW)),
        ("has:compact", "history cut by the client", answered(2, brought=3)),
        ("has:compact", "history cut by the client", replace(answered(2), outcome="unanchored")),
        ("has:summary", "summary", answered(2, summary=b"s")),
        ("has:edit", "edited, or another branch", answered(2, difference=Difference(1, "edited"))),
        ("has:edit", "edited, or another branch", replace(answered(2), outcome="branch")),
        ("has:system", "another system prompt", answered(2, system=b"s")),
        ("has:model", "another model", answered(2, model="n")),
        ("has:tools", "tools came", answered(2, tools=b"t")),
        ("has:cache", "cache lost", answered(2, difference=GROWN, cached_tokens=0)),
        ("has:again", "sent again", answered(2, overflow_retries=1)),
        ("has:left", "the client hung up", replace(answered(2), error="client_left")),
    ],
)
def test_what_marks_a_chat_can_be_looked_for(word, name, last):
    query = query_of(word)
    assert (query.filters, query.unknown) == ((word,), ())
    first, failed = answered(0), replace(made(), id=exchange_id(1, b"same"), model="m")
    # What failed between the two is not what the last one is compared with.
    assert told(last, failed, first) == [(name, 1)]
    assert holds(of_exchanges(query), [last, failed, first]) == [0]
    assert holds(of_exchanges(query), [answered(2), failed, first]) == []
    assert (name, word) in {(name, word) for name, word, _meaning in LEGEND}


def test_tools_that_are_gone_are_told_apart_from_others():
    for now, name in ((None, "no tools any more"), (b"u", "other tools")):
        assert told(answered(2, tools=now), answered(1, tools=b"t")) == [(name, 1)]
    assert told(answered(2, difference=Difference(1, "edited"), brought=2), answered(1)) == [
        ("history cut by the client", 1)
    ]


async def test_the_list_and_the_search_name_what_broke_a_cache(visitor: Visitor, upstream: Upstream):
    for at, model in enumerate(("one", "one", "two")):
        upstream.will(says(f"Answer {at}."))
        said = [text for n in range(at) for text in (f"Question {n}?", f"Answer {n}.")]
        await visitor.sidecar.ask(*said, f"Question {at}?", id="a", model=model)
    upstream.will(says("Hello."))
    await visitor.sidecar.ask("hi", id="b", model="one")
    html = (await visitor.get()).text
    assert '<span class="did">another model</span>' in html
    for _name, word, meaning in LEGEND:
        assert f"<code>{word}</code>" in html
        assert str(escape(meaning)) in html
    found = await visitor.value("search?q=has:model")
    assert [each["row"]["key"] for each in found["hits"]] == ["a"]
    assert '<span class="did">another model</span>' in (await visitor.get("search?q=has:model")).text


async def test_what_stands_at_the_edge_of_a_chunk_is_compared_with_what_stands_before_it(monkeypatch):
    monkeypatch.setattr(searching, "_CHUNK", 2)
    store = MemoryStore()
    ask, answer = chat("hi", "hello")
    for at in range(8):
        model, replies = ("n" if at < 3 else "m"), () if at == 3 else (answer.id,)
        done = exchange("conv_1", None, at=at, model=model, detail=Detail(replies=replies))
        await store.record(update(talk(), ask, answer, exchange=done))
    assert len((await search(store, "has:model", None)).hits) == 1
    assert len((await search(store, "has:system", None)).hits) == 0


def test_the_list_says_of_how_many_exchanges_it_tells():
    last, earlier = made(), (made(dropped=1), made(dropped=1))
    rows = Overview("conv_1", TENANT, None, 1.0, 1.0, 4, 1, 40, 0, last=last, earlier=earlier)
    page = list_of(Overviews(1, (rows,)), None)
    shown = as_html("conversations.html", "./", page=page).decode()
    assert "trimmed 2 times</span>" in shown
    assert "in the last 3 of 40 exchanges" in shown
    few = list_of(Overviews(1, (replace(rows, exchanges=3),)), None)
    assert "in the last" not in as_html("conversations.html", "./", page=few).decode()


async def fill(store) -> None:
    ask, answer = chat("hi", "hello")
    for at in range(RECENT + 5):
        done = exchange("conv_1", ask, answer, detail=Detail(dropped=at % 2))
        await store.record(update(talk(), ask, answer, exchange=done))


async def test_a_chat_is_marked_by_its_newest_exchanges(visitor: Visitor):
    store = make_store(visitor.sidecar.settings.store_path)
    await store.open()
    await fill(store)
    await store.close()
    (row,) = (await visitor.value())["rows"]
    assert row["last"]["dropped"] == 0
    assert row["marks"] == [{"name": "trimmed", "times": RECENT // 2, "is_bad": False}]
    assert (row["looked"], row["exchanges"]) == (RECENT, RECENT + 5)


async def test_an_earlier_exchange_that_cannot_be_read_hides_no_other(tmp_path):
    import sqlite3
    from contextlib import closing

    for keys in ([], [KEY]):
        path = str(tmp_path / f"{len(keys)}.db")
        store = make_store(path, keys=keys)
        await store.open()
        try:
            await fill(store)

            def damage(path: str = path) -> None:
                with closing(sqlite3.connect(path)) as connection, connection:
                    connection.execute(
                        "UPDATE exchange SET detail = x'ff' WHERE id ="
                        " (SELECT id FROM exchange ORDER BY id DESC LIMIT 1 OFFSET 1)"
                    )

            await asyncio.to_thread(damage)
            (found,) = (await store.overviews(recent=RECENT)).conversations
            assert (len(found.earlier), found.problem) == (RECENT - 2, "")
        finally:
            await store.close()


@pytest.mark.parametrize(
    ("each", "names"),
    [
        (made(), ()),
        (made(took=SLOW), ("slow",)),
        (made(brought=3), ("history cut by the client",)),
        (replace(made(), outcome="branch"), ("edited, or another branch",)),
        (made(difference=Difference(2, "edited")), ("edited, or another branch",)),
        (replace(made(difference=Difference(2, "edited")), outcome="append"), ()),
        # What the line of an exchange tells by itself, and with numbers, is not said twice.
        (made(dropped=2, silent_cut=True, degraded=True, overflow_retries=1, error="client_left"), ()),
    ],
)
def test_the_marks_of_the_list_stand_under_the_answers(each, names):
    assert marks_under(each, ()) == names
    assert marks_under(each, ("cache lost",))[-1 if "slow" not in names else -2] == "cache lost"
