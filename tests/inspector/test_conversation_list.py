"""The list of conversations."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.overview import Overview, Overviews
from sidecar.inspector.conversation_list import PAGE, before_of, list_of
from tests.inspector.conftest import Visitor
from tests.proxy.mock_upstream import Upstream
from tests.store.trees import TENANT, question


async def test_an_empty_store_says_so(visitor: Visitor):
    assert "None is kept yet" in (await visitor.get()).text
    value = await visitor.value()
    assert len(value.pop("version")) == 32
    assert value == {"total": 0, "rows": [], "next": None, "is_first": True, "outages": [], "lost_of": []}


async def test_the_chat_used_last_stands_first(visitor: Visitor, upstream: Upstream):
    for id in ("one", "two"):
        await visitor.sidecar.ask(f"I am {id}", id=id)
    await visitor.sidecar.ask("I am one", "hello", "and?", id="one")

    value = await visitor.value()
    assert [(each["key"], each["words"]) for each in value["rows"]] == [
        ("one", "I am one"),
        ("two", "I am two"),
    ]
    page = (await visitor.get()).text
    assert page.index("I am one") < page.index("I am two")
    assert "All 2" in page


def rows(many):
    return tuple(Overview(f"conv_{at}", TENANT, None, 1.0, 2.0 - at / 1000) for at in range(many))


def test_a_full_page_tells_where_the_next_begins():
    page = list_of(Overviews(1248, rows(PAGE)), None)
    assert (page.total, page.is_first) == (1248, True)
    assert page.next is not None
    assert before_of(page.next) == (page.rows[-1].updated_at, page.rows[-1].id)
    assert list_of(Overviews(1248, rows(3)), (1.0, "x")).next is None


@pytest.mark.parametrize("text", ["", "x", "1", "~", "nan~x", "inf~x", "1.5", "1~\0", "1~a\nb"])
def test_what_names_no_place_is_the_beginning(text):
    assert before_of(text) is None


async def test_a_list_is_never_cut_without_a_word(visitor: Visitor, upstream: Upstream):
    for at in range(PAGE + 2):
        await visitor.sidecar.ask(f"I am number {at}.", id=str(at))

    first = await visitor.value()
    assert (first["total"], len(first["rows"])) == (PAGE + 2, PAGE)
    assert f"{PAGE} of {PAGE + 2}" in (await visitor.get()).text
    second = await visitor.value(f"?before={first['next']}")
    assert [each["words"] for each in second["rows"]] == ["I am number 1.", "I am number 0."]
    page = (await visitor.get(f"?before={first['next']}")).text
    assert "these are the oldest" in page
    assert '<a href="./">newest</a>' in page


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"[]", "(not a message)"),
        (b'{"role":"user","content":""}', "(no text)"),
        (b'{"role":"user","content":"a\\n\\n b \\u202e c"}', "a b \\u202e c"),
    ],
)
def test_a_conversation_is_told_by_how_it_begins(body, words):
    first = replace(question("x"), body=body)
    row = list_of(Overviews(1, (Overview("a", TENANT, None, 1, 1, 1, first=first),)), None).rows[0]
    assert row.words == words


def test_a_large_first_message_is_told_by_its_size():
    each = Overview("a", TENANT, None, 1, 1, 1, first_size=5_200_000)
    assert list_of(Overviews(1, (each,)), None).rows[0].words == "(a first message of 5.2 MB)"
    assert list_of(Overviews(1, (Overview("a", TENANT, None, 1, 1),)), None).rows[0].words == "(no message)"
