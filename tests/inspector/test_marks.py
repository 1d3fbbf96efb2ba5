"""What happened in the exchanges of a chat: a chat is marked by all of them, not by the last alone."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from sidecar.conversation.overview import Overview, Overviews
from sidecar.conversation.records import Detail
from sidecar.inspector.conversation_list import list_of
from sidecar.inspector.marks import RECENT, SLOW, marks_of
from sidecar.inspector.query import holds, of_exchanges, query_of
from sidecar.inspector.render import as_html
from sidecar.store import make_store
from tests.inspector.conftest import Visitor
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


@pytest.mark.parametrize(
    ("word", "each"),
    [
        ("has:trim", made(shortened=1)),
        ("has:cut", made(silent_cut=True)),
        ("has:store", made(degraded=True)),
        ("has:slow", made(took=SLOW)),
    ],
)
def test_what_marks_a_chat_can_be_looked_for(word, each):
    query = query_of(word)
    assert (query.filters, query.unknown) == ((word,), ())
    assert holds(of_exchanges(query), [made(), each]) == [0]
    assert holds(of_exchanges(query), [made()]) == []


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
