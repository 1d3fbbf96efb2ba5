"""What was said is found, as far as a page may look."""

from __future__ import annotations

import time

import pytest
from msgspec.structs import replace

from sidecar.background import search_index
from sidecar.conversation.exchange_record import Detail
from sidecar.errors import StoreUnavailable
from sidecar.inspector import search as searching
from sidecar.inspector.query import Query, query_of
from sidecar.inspector.search import find, search
from sidecar.store import MemoryStore
from tests.inspector.conftest import Visitor
from tests.proxy.mock_upstream import Upstream, says, sends
from tests.store.trees import OTHER_TENANT, chat, exchange, question, talk, update


@pytest.fixture
async def store():
    store = MemoryStore()
    for at, (id, *said) in enumerate(
        (
            ("conv_a", "How deep is the Harbour?", "Ten metres.", "And the river?", "Less."),
            ("conv_b", "Of cats.", "They sleep."),
            ("conv_c", "Хлеб", "und Straße"),
        )
    ):
        await store.record(update(talk(id, key=f"key-{id[-1]}", at=float(at)), *chat(*said)))
    return store


async def found(store, text, before=None):
    return [(each.row.id, each.words) for each in (await search(store, text, before)).hits]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Query((), (), ())),
        ("Deep  WATER has:error", Query(("deep", "water"), ("has:error",), ())),
        ("has:branch model:Qwen", Query((), ("has:branch", "model:qwen"), ())),
        ("has:trim user:0aF3", Query((), ("has:trim", "user:0af3"), ())),
        ("has:x since:x user:ada since:", Query((), (), ("has:x", "since:x", "user:ada", "since:"))),
        ("since:1970-01-02", Query((), (), (), 86_400.0)),
        ("since:1970", Query((), (), (), 0.0)),
        ("since:1970-02 tenant:abcd", Query((), ("tenant:abcd",), (), 31 * 86_400.0)),
        ("since:7d since:2h", Query((), (), (), 1e6 - 7200)),
        ("key:0aF3 key:?", Query((), ("key:0af3",), ("key:?",))),
        ('"no  Milk" x', Query(("no milk", "x"), (), ())),
        ("„no milk“ “not so” ”", Query(("no milk", "not so"), (), ())),
        ('"has:error" "', Query(("has:error",), (), ())),
        ('half "open', Query(("half", "open"), (), ())),
        ("http://x 12:30", Query(("http://x", "12:30"), (), ())),
    ],
)
def test_what_is_asked_for_is_understood_or_said_to_be_unknown(text, expected):
    assert query_of(text, now=1e6) == expected


async def test_words_are_found_whatever_their_case(store):
    assert await found(store, "harbour deep") == [("conv_a", "How deep is the Harbour?")]
    assert await found(store, "strasse") == [("conv_c", "und Straße")]
    assert await found(store, "ХЛЕБ") == [("conv_c", "Хлеб")]
    assert await found(store, "cats harbour") == []


@pytest.mark.parametrize("by_index", [False, True])
async def test_words_in_quotes_are_found_one_behind_the_other(store, by_index):
    await store.record(update(talk("conv_d", at=9.0), *chat("The deep\n  harbour", "How")))

    async def ids(text):
        return [each.row.id for each in (await find(store, text, "", by_index=by_index)).hits]

    assert await ids("deep harbour") == ["conv_d", "conv_a"]
    assert await ids('"deep harbour"') == ["conv_d"]
    assert await ids('"the harbour" deep') == ["conv_a"]
    assert await ids('"harbour deep"') == []


async def test_the_newest_message_with_the_words_is_told(store):
    (hit,) = (await search(store, "river", None)).hits
    assert (hit.message != "", hit.words) == (True, "And the river?")


async def test_ids_and_keys_are_found(store):
    assert await found(store, "key-b") == [("conv_b", "")]
    assert await found(store, "conv_c") == [("conv_c", "")]


async def test_without_words_all_are_found_the_newest_first(store):
    page = await search(store, "", None)
    assert [each.row.id for each in page.hits] == ["conv_c", "conv_b", "conv_a"]
    assert (page.looked, page.total, page.next, page.since) == (3, 3, None, 0.0)


async def test_filters_look_at_what_happened(store):
    ask = question("Of cats.")
    failed = exchange("conv_b", ask, error="overflow", model="Qwen3")
    await store.record(update(talk("conv_b"), exchange=failed))
    assert await found(store, "has:error") == [("conv_b", "")]
    assert await found(store, "model:qwen") == [("conv_b", "")]
    assert await found(store, "has:error model:llama") == []
    assert await found(store, "has:branch") == []
    await store.record(update(talk("conv_b"), *chat("Another root.")))
    assert await found(store, "has:branch") == [("conv_b", "")]


async def test_of_a_conversation_all_exchanges_count(store, monkeypatch):
    ask = question("Of cats.")
    cut = exchange("conv_b", ask, model="old-model", detail=Detail(dropped=3))
    await store.record(update(talk("conv_b"), exchange=cut))
    for _ in range(5):
        await store.record(update(talk("conv_b"), exchange=exchange("conv_b", ask, model="new")))
    assert await found(store, "has:trim") == [("conv_b", "")]
    assert await found(store, "has:trim model:old cats") == [("conv_b", "Of cats.")]
    assert await found(store, "model:new model:old") == [("conv_b", "")]
    assert await found(store, "model:other") == []
    monkeypatch.setattr(searching, "_EXCHANGES", 2)
    monkeypatch.setattr(searching, "_CHUNK", 2)
    page = await search(store, "model:old", None)
    assert (page.hits, page.partly, page.looked) == ((), 1, 3)


async def test_what_was_used_earlier_is_not_looked_at(store):
    page = await search(store, "since:1970-01-01", None)
    assert (page.looked, page.limit, page.next) == (3, 0.0, None)
    page = await search(store, f"since:{2026}", None)
    assert (page.looked, page.hits, page.next, page.total) == (0, (), None, 3)


async def test_a_tenant_is_named_by_how_it_begins(store):
    await store.record(update(talk("conv_d", tenant=OTHER_TENANT), question("Of dogs.", tenant=OTHER_TENANT)))
    assert await found(store, f"user:{OTHER_TENANT.hex()[:8]}") == [("conv_d", "")]
    assert await found(store, f"tenant:{OTHER_TENANT.hex()} cats") == []


async def test_a_clients_key_is_named_by_how_its_id_begins(store):
    asked = exchange("conv_b", question("Of cats."), detail=Detail(client_key="k1234abcde"))
    await store.record(update(talk("conv_b"), exchange=asked))
    assert await found(store, "key:k123") == [("conv_b", "")]
    assert await found(store, "key:1234") == []


async def test_it_says_how_far_it_came_and_goes_on_from_there(store, monkeypatch):
    monkeypatch.setattr(searching, "_HITS", 2)
    first = await search(store, "", None)
    assert (first.looked, first.next) == (2, "1.0~conv_b")
    second = await search(store, "", (1.0, "conv_b"))
    assert ([each.row.id for each in second.hits], second.next) == (["conv_a"], None)


async def test_it_ends_when_its_time_is_over(store, monkeypatch):
    class Slow(MemoryStore):
        async def outline(self, conversation):
            time.sleep(0.02)
            return await super().outline(conversation)

    monkeypatch.setattr(searching, "_SECONDS", 0.01)
    slow = Slow()
    for at in range(5):
        await slow.record(update(talk(f"conv_{at}", at=float(at)), *chat("hi")))
    page = await search(slow, "nowhere", None)
    assert (page.looked, page.next) == (1, "4.0~conv_4")


async def test_what_cannot_be_read_is_counted_and_hides_no_other(store):
    class Damaged(MemoryStore):
        async def messages(self, conversation, nodes):
            if conversation == "conv_b":
                raise StoreUnavailable("it is damaged")
            return await super().messages(conversation, nodes)

    damaged = Damaged()
    for id in ("conv_a", "conv_b"):
        await damaged.record(update(talk(id), *chat("hello there")))
    await damaged.record(update(talk("conv_c"), replace(question("x"), body=b"[]")))
    page = await search(damaged, "hello", None)
    assert ([each.row.id for each in page.hits], page.unreadable) == (["conv_a"], 1)


async def test_long_conversations_are_looked_through_in_chunks(monkeypatch):
    store = MemoryStore()
    monkeypatch.setattr(searching, "_CHUNK", 3)
    monkeypatch.setattr(searching, "_LARGE", 500)
    nodes = chat(*(f"message {at}" for at in range(10)), "x" * 1000 + " needle")
    await store.record(update(talk(), *nodes))
    assert await found(store, "message 0") == [("conv_1", "message 0")]
    assert await found(store, "needle") == []


async def test_the_page_leads_to_the_message(visitor: Visitor, upstream: Upstream):
    upstream.will(says("The word is mellon."), sends(b"{}", status=500))
    await visitor.sidecar.ask("Say <friend>.", id="a")
    page = await visitor.get("search?q=MELLON")
    assert page.status == 200
    assert "The word is mellon." in page.text
    assert "all were looked through" in page.text
    way = page.text.partition('<li><a href="')[2].partition('"')[0]
    assert (await visitor.get(way)).status == 200
    assert 'value="&lt;friend&gt;"' in (await visitor.get("search?q=<friend>")).text
    assert "Not known and left out: has:cats" in (await visitor.get("search?q=has:cats")).text
    assert "Used after 2020-01-01 00:00:00" in (await visitor.get("search?q=since:2020")).text


@pytest.mark.parametrize(
    ("text", "word", "expected"),
    [
        ("ßßß Harbour", "harbour", "ßßß Harbour"),
        ("ß" * 200 + " Harbour", "harbour", "…" + "ß" * 59 + " Harbour"),
    ],
)
async def test_the_place_is_told_where_letters_fold_to_more_than_one(text, word, expected):
    store = MemoryStore()
    await store.record(update(talk(), *chat(text)))
    assert [each.words for each in (await search(store, word, None)).hits] == [expected]


async def by_index(store, text, before=""):
    return await find(store, text, before, by_index=True)


async def test_by_an_index_messages_are_found_the_newest_first_each_conversation_once(store, monkeypatch):
    assert [(each.row.id, each.words) for each in (await by_index(store, "harbour")).hits] == [
        ("conv_a", "How deep is the Harbour?")
    ]
    assert [each.row.id for each in (await by_index(store, "slee")).hits] == ["conv_b"]
    assert (await by_index(store, "lee")).hits == ()
    monkeypatch.setattr(searching, "_HITS", 1)
    await store.record(update(talk("conv_d", at=9.0), *chat("Another harbour")))
    first = await by_index(store, "harbour")
    assert ([each.row.id for each in first.hits], first.index is not None) == (["conv_d"], True)
    assert [each.row.id for each in (await by_index(store, "harbour", first.next)).hits] == ["conv_a"]


async def test_by_an_index_names_filters_and_what_is_no_word_work_as_without(store):
    ask = question("Of cats.")
    failed = exchange("conv_b", ask, error="overflow", model="Qwen3")
    await store.record(update(talk("conv_b", at=5.0), exchange=failed))
    assert [each.row.id for each in (await by_index(store, "key-c")).hits] == ["conv_c"]
    assert [each.row.id for each in (await by_index(store, "cats has:error model:qwen")).hits] == ["conv_b"]
    assert (await by_index(store, "harbour has:error")).hits == ()
    assert (await by_index(store, "harbour model:qwen")).hits == ()
    assert (await by_index(store, "cats since:2020")).hits == ()
    assert ((await by_index(store, "")).index, len((await by_index(store, "")).hits)) == (None, 3)


async def test_the_page_says_that_it_is_by_the_index_and_the_job_makes_it(visit, monkeypatch):
    monkeypatch.setattr(search_index, "_FIRST", 0.01)
    visitor: Visitor = await visit(search={"index": True})
    assert "all branches of 0 conversations" in (await visitor.get("search?q=harbour")).text
    told = await visitor.value("search?q=harbour&before=said~x")
    assert told["index"] == {"segments": 0, "full": 0, "size": None}
