"""What every store promises of exchanges: what was done to each request, kept with its conversation."""

from __future__ import annotations

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Exchange, exchange_id
from sidecar.conversation.records import Snapshot
from sidecar.errors import StoreUnavailable
from sidecar.store.exchanges import columns_of, exchange_from_row, row_of
from tests.store.record import with_everything
from tests.store.trees import OTHER_TENANT, TENANT, chat, exchange, question, reply, talk, update


async def test_it_comes_back_as_it_was_recorded_with_its_turn(store):
    ask, answer = chat("hi", "hello")
    done = with_everything("conv_1", ask, answer)
    await store.record(update(talk(), ask, answer, exchange=done))

    assert await store.exchange(TENANT, "conv_1", done.id) == done
    assert await store.exchanges(TENANT, "conv_1") == [done]
    assert await store.tree("conv_1") == [ask, answer]


def test_what_an_encrypted_detail_stands_beside_stays_what_it_was():
    """Else no encrypted store of before could be read."""
    done = with_everything("conv_1", *chat("hi", "hello"))
    told = msgspec.msgpack.decode(columns_of(replace(done, parent=b"p")))
    assert told == [done.id, done.when, b"p", "branch", "demo", 200, 80, 9, 1234, "context_length_exceeded"]


async def test_one_of_which_nothing_is_known_comes_back_too(store):
    bare = Exchange(exchange_id(5, b"abcd"), "conv_1")
    await store.record(update(talk(), exchange=bare))

    assert await store.exchanges(TENANT, "conv_1") == [bare]
    assert await store.snapshot("conv_1") == Snapshot(talk(), exchanges=(bare,))


async def test_the_largest_numbers_and_longest_names_come_back(store):
    most = (1 << 31) - 1
    large = Exchange(
        exchange_id((1 << 48) - 1, b"\xff" * 4),
        "conv_1",
        model="\N{GRINNING FACE}" * 200,
        status=999,
        input_tokens=most,
        output_tokens=most,
        duration_ms=most,
        detail=Detail(head_ms=most, estimated_tokens=most),
    )
    await store.record(update(talk(), exchange=large))

    assert await store.exchanges(TENANT, "conv_1") == [large]


async def test_recorded_twice_it_is_there_once_and_as_it_was_first(store):
    ask, answer = chat("hi", "hello")
    done = exchange("conv_1", ask, answer)
    for each in (done, done, replace(done, outcome="retry", detail=Detail(finish="length"))):
        await store.record(update(talk(), ask, answer, exchange=each))

    assert await store.exchanges(TENANT, "conv_1") == [done]


async def test_the_newest_come_first_page_by_page(store):
    ask = question("hi")
    await store.record(update(talk(), ask))
    done = [exchange("conv_1", ask, at=1000 + number) for number in range(7)]
    for each in done[::2] + done[1::2]:
        await store.record(update(talk(), exchange=each))

    first = await store.exchanges(TENANT, "conv_1", limit=3)
    second = await store.exchanges(TENANT, "conv_1", limit=3, before=first[-1].id)
    third = await store.exchanges(TENANT, "conv_1", limit=3, before=second[-1].id)

    assert [*first, *second, *third] == done[::-1]
    assert await store.exchanges(TENANT, "conv_1", before=done[0].id) == []
    assert len(await store.exchanges(TENANT, "conv_1")) == 7


async def test_two_that_began_in_the_same_millisecond_are_two(store):
    both = [Exchange(exchange_id(5, random), "conv_1") for random in (b"abcd", b"abce")]
    for each in both:
        await store.record(update(talk(), exchange=each))

    assert await store.exchanges(TENANT, "conv_1") == both[::-1]


async def test_one_id_in_two_conversations_is_two_exchanges(store):
    mine, other = (exchange(id, None, at=9, outcome=id) for id in ("conv_1", "conv_2"))
    await store.record(update(talk("conv_1"), exchange=mine))
    await store.record(update(talk("conv_2"), exchange=other))
    await store.delete("conv_2")

    assert await store.exchanges(TENANT, "conv_1") == [mine]
    assert await store.exchanges(TENANT, "conv_2") == []


async def test_no_other_tenant_sees_it(store):
    ask = question("hi")
    done = exchange("conv_1", ask)
    await store.record(update(talk(), ask, exchange=done))

    assert await store.exchanges(OTHER_TENANT, "conv_1") == []
    assert await store.exchange(OTHER_TENANT, "conv_1", done.id) is None
    assert await store.exchange(TENANT, "conv_2", done.id) is None
    assert await store.exchange(TENANT, "conv_1", done.id[:-1]) is None


async def test_with_a_turn_that_is_not_kept_its_exchange_is_not_kept(store):
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(), ask, answer))
    await store.delete("conv_1")
    more = question("and?", answer)
    await store.record(update(talk(), more, exchange=exchange("conv_1", more)))

    assert await store.snapshot("conv_1") is None


async def test_one_without_messages_does_not_bring_back_a_conversation_that_was_deleted(store):
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(), ask, answer))
    await store.record(update(talk(), exchange=exchange("conv_1", answer)))
    assert len(await store.exchanges(TENANT, "conv_1")) == 1
    await store.delete("conv_1")
    await store.record(update(talk(), exchange=exchange("conv_1", answer)))
    assert await store.snapshot("conv_1") is None

    other = question("good day")
    await store.record(update(talk(), other))
    await store.record(update(talk(), exchange=exchange("conv_1", answer)))
    assert await store.snapshot("conv_1") == Snapshot(talk(), (other,))


async def test_one_without_messages_leaves_the_tip_where_it_is(store):
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(tip=answer.id), ask, answer))
    await store.record(update(talk(at=1.0), exchange=exchange("conv_1", answer, status=429)))

    found = await store.find(TENANT, ["conv_1"], [answer.hash])
    assert found.conversation.tip == answer.id
    assert found.is_tip
    more = question("and?", answer)
    await store.record(update(talk(), more, reply("so", more), exchange=exchange("conv_1", more)))
    assert len(await store.exchanges(TENANT, "conv_1")) == 2


def test_a_row_that_is_damaged_is_said_by_the_name_of_its_exchange():
    done = exchange("conv_1", None)
    columns = row_of(done)
    for damaged in (b"", b"\xc1", b"\x81\xa1f\x01", columns[-1][:-1]):
        with pytest.raises(
            StoreUnavailable, match=f"^exchange {done.id.hex()} of conversation conv_1 is not"
        ):
            exchange_from_row("conv_1", (*columns[:-1], damaged))
    assert exchange_from_row("conv_1", columns) == done


async def test_what_ends_late_does_not_make_its_conversation_older(store):
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(at=8.0), ask, answer))
    await store.record(update(talk(at=3.0), exchange=exchange("conv_1", ask)))
    (held,) = [each async for each in store.conversation_stats()]
    assert held.updated_at == 8.0
    await store.record(update(talk(at=9.0), exchange=exchange("conv_1", ask)))
    (held,) = [each async for each in store.conversation_stats()]
    assert held.updated_at == 9.0


async def test_one_without_a_parent_stays_beside_a_message_and_does_not_bring_back_what_was_deleted(store):
    ask = question("hi")
    await store.record(update(talk(), ask))
    done = exchange("conv_1", None)
    beside = replace(update(talk(), exchange=done), beside=ask.id)

    await store.record(beside)
    assert await store.exchanges(TENANT, "conv_1") == [done]
    await store.delete("conv_1")
    await store.record(beside)
    assert [each async for each in store.conversation_stats()] == []


async def test_its_detail_can_be_replaced_and_nothing_else_of_it_is(store):
    ask, answer = chat("hi", "hello")
    done, other = with_everything("conv_1", ask, answer), exchange("conv_1", ask, at=99)
    await store.record(update(talk(), ask, answer, exchange=done))
    await store.record(update(talk(), exchange=other))
    amended = replace(done, detail=replace(done.detail, told=b'{"a":"b"}'))

    assert await store.amend(TENANT, amended)
    assert await store.exchange(TENANT, "conv_1", done.id) == amended
    assert await store.exchange(TENANT, "conv_1", other.id) == other
    assert await store.amend(TENANT, done)
    assert await store.exchanges(TENANT, "conv_1") == [other, done][:: 1 if other.id > done.id else -1]


async def test_that_of_another_tenant_or_of_none_is_not_replaced(store):
    ask, answer = chat("hi", "hello")
    done = exchange("conv_1", ask, answer)
    await store.record(update(talk(), ask, answer, exchange=done))
    amended = replace(done, detail=Detail(told=b"{}"))

    assert not await store.amend(OTHER_TENANT, amended)
    assert not await store.amend(TENANT, replace(amended, id=done.id[:-1] + b"?"))
    assert not await store.amend(TENANT, replace(amended, conversation="conv_2"))
    assert await store.exchanges(TENANT, "conv_1") == [done]
