"""What a conversation took, all its exchanges together: on its page, and in the terminal."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.conversation.exchange_record import OF_CONVERSATION, Detail, Exchange
from sidecar.errors import StoreUnavailable
from sidecar.inspector import sums as counting
from sidecar.inspector.reading import conversation_page
from sidecar.inspector.sums import Sums, sums_of
from sidecar.inspector.text import conversation_text
from sidecar.store import MemoryStore, make_store
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import Upstream, completion, says, sends
from tests.store.trees import exchange, talk, update

TALK = talk("conv_a", at=5.0)


async def store_with(*exchanges: Exchange) -> MemoryStore:
    store = MemoryStore()
    for each in exchanges:
        await store.record(update(TALK, exchange=each))
    return store


def took(number: int, **about: Any) -> Exchange:
    return exchange("conv_a", None, at=number, **about)


async def test_all_of_them_are_counted_and_what_has_no_counts_is_said():
    store = await store_with(
        took(1, input_tokens=1200, output_tokens=30, detail=Detail(cached_tokens=900)),
        took(2, input_tokens=100, output_tokens=5),
        took(3, input_tokens=None),
        took(4, outcome=OF_CONVERSATION),
    )
    sums = await sums_of(store, TALK)
    assert sums == Sums(3, 1, 1300, 900, 35)
    assert sums.words == "3 exchanges: tokens in 1,300 (900 cached), out 35; 1 without counts"


async def test_of_more_than_a_page_has_time_for_the_newest_are_counted(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(counting, "_MOST", 4)
    monkeypatch.setattr(counting, "_STEP", 2)
    store = await store_with(*(took(number, input_tokens=number) for number in range(1, 6)))
    sums = await sums_of(store, TALK)
    assert sums.words == "the newest 4 exchanges: tokens in 14 (0 cached), out 0"
    four = await store_with(*(took(number, input_tokens=number) for number in range(1, 5)))
    assert (await sums_of(four, TALK)).words == "4 exchanges: tokens in 10 (0 cached), out 0"
    monkeypatch.setattr(counting, "_MOST", 6)
    assert (await sums_of(store, TALK)).words == "5 exchanges: tokens in 15 (0 cached), out 0"


async def test_one_that_is_damaged_hides_nothing_but_what_is_older(monkeypatch: pytest.MonkeyPatch):
    class Damaged(MemoryStore):
        async def exchanges(self, *about: Any, before: bytes | None = None, **more: Any) -> list[Exchange]:
            if before is not None:
                raise StoreUnavailable("one is not what was written there")
            return await super().exchanges(*about, before=before, **more)

    monkeypatch.setattr(counting, "_STEP", 1)
    store = Damaged()
    for number in (1, 2):
        await store.record(update(TALK, exchange=took(number)))
    assert (await sums_of(store, TALK)).words == "the newest 1 exchange: tokens in 3 (0 cached), out 0"


async def test_where_there_was_none_nothing_is_said():
    store = await store_with()
    await store.record(update(TALK))
    assert "in all" not in conversation_text(await conversation_page(store, "conv_a"))


async def test_it_stands_on_the_page_and_at_the_end_in_the_terminal(visitor: Visitor, upstream: Upstream):
    usage = {"prompt_tokens": 200, "completion_tokens": 30, "prompt_tokens_details": {"cached_tokens": 150}}
    body = json.loads(completion("Hello.")) | {"usage": usage}
    upstream.will(sends(json.dumps(body).encode(), headers={"Content-Type": "application/json"}), says("Hm."))
    await visitor.sidecar.ask("Hi!", id="a")
    await visitor.sidecar.ask("Hi!", id="a")
    path = await opened(visitor, "a")
    page = await visitor.value(path)
    assert page["sums"]["exchanges"] == 2
    told = "2 exchanges: tokens in 200 (150 cached), out 30; 1 without counts"
    assert f"In all {told}." in (await visitor.get(path)).text

    store = make_store(visitor.sidecar.settings.store_path)
    await store.open()
    try:
        text = conversation_text(await conversation_page(store, path.split("/")[1]))
    finally:
        await store.close()
    assert text.endswith(f"\n\nin all {told}\n")
