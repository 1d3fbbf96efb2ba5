"""What passed between two exchanges of a chat is told where its cache was lost."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Difference
from sidecar.inspector import between as looking
from sidecar.inspector.between import Between, between, told_of
from sidecar.inspector.reading import exchange_page
from sidecar.inspector.render import as_html
from sidecar.inspector.text import exchange_text
from sidecar.store import MemoryStore
from tests.store.trees import chat, exchange, talk, update


async def kept(store, id, at, *, target="default", member=None, model="demo", **detail):
    nodes = chat(f"hi {id}", "hello")
    about = Detail(replies=(nodes[1].id,), target=target, member=member, **detail)
    done = exchange(id, nodes[0], at=at, duration_ms=1000, input_tokens=900, model=model, detail=about)
    await store.record(update(talk(id, at=at / 1000, tip=nodes[1].id), *nodes, exchange=done))
    return done


async def test_other_chats_at_the_same_target_are_counted_and_told_on_the_page(monkeypatch):
    store = MemoryStore()
    before = await kept(store, "conv_1", 10_000)
    for at in range(3):
        await kept(store, f"conv_{2 + at % 2}", 20_000 + at)
    await kept(store, "conv_9", 20_000, target="other")
    await kept(store, "conv_8", 9_000)
    now = await kept(store, "conv_1", 71_000, difference=Difference(2, "grown"), cached_tokens=0)
    await kept(store, "conv_7", 21_000, model="other")
    assert await between(store, before, now) == Between(60_000, 3, 2, names=("conv_3", "conv_2"), others=1)
    page = await exchange_page(store, "conv_1", now.id)
    assert page.why_difference.endswith(
        "it no longer held the others. 60.0 s had passed since the exchange before, and 3 requests of 2 other"
        " chats came for this model meanwhile: most likely they took its place in the cache (of llama.cpp:"
        " its slot)."
    )
    assert [(each.id, each.words) for each in page.others] == [
        ("conv_3", "hi conv_3"),
        ("conv_2", "hi conv_2"),
    ]
    html = as_html("exchange.html", "../../../", page=page).decode()
    assert 'Among them: <a href="../../../c/conv_3/" dir="auto">hi conv_3</a>, <a href' in html
    assert "hi conv_3 (conv_3); hi conv_2 (conv_2)" in exchange_text(page)
    assert "and yet the upstream used only 0 of the 900 tokens" in page.why_difference.lower()
    assert "could use all of it" not in page.why_difference
    assert "had passed" not in (await exchange_page(store, "conv_1", before.id)).why_difference
    monkeypatch.setattr(looking, "_SECONDS", -1)
    assert (await between(store, before, now)).is_more
    later = replace(now, id=exchange("conv_1", None, at=90_000_000).id)
    assert await between(store, before, later) == Between(89_989_000)


async def test_of_a_target_with_several_urls_the_chats_at_the_same_one_count():
    store, one, two = MemoryStore(), "http://10.0.0.1/v1", "http://10.0.0.2/v1"
    before = await kept(store, "conv_1", 10_000, target="llama", member=one)
    await kept(store, "conv_2", 20_000, target="llama", member=one)
    await kept(store, "conv_3", 20_000, target="llama", member=two)
    await kept(store, "conv_4", 20_000, target="other", member=one)
    now = await kept(store, "conv_1", 71_000, target="llama", member=one)
    assert await between(store, before, now) == Between(60_000, 1, 1, names=("conv_2",))
    moved = await kept(store, "conv_1", 71_000, target="llama", member=two)
    assert await between(store, before, moved) == Between(60_000, moved=(one, two))


@pytest.mark.parametrize(
    ("what", "told"),
    [
        (
            Between(900, moved=("http://10.0.0.1/v1", "http://10.0.0.2/v1")),
            "the exchange before, which http://10.0.0.1/v1 answered, and this one http://10.0.0.2/v1.",
        ),
        (Between(90_000_000), "1,500 min 0 s had passed since the exchange before: after so long few keep"),
        (Between(900_000, 0, 0), "no other chat asked for this model there meanwhile: it was too long"),
        (Between(900, 0, 0, others=1), "meanwhile; 1 request for other models came: an engine"),
        (Between(900, 0, 0, others=2), "meanwhile; 2 requests for other models came"),
        (
            Between(900, 0, 0),
            "no other chat asked for this model there meanwhile: it was started anew, another machine",
        ),
        (
            Between(900, 1, 1, is_more=True),
            "900 ms had passed since the exchange before, and at least 1 request",
        ),
    ],
)
def test_what_is_likely_is_said_and_no_more(what, told):
    assert told in told_of(what)
