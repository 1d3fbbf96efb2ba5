"""What every store tells to those who look at a conversation: lists, and the shape of a tree."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail
from sidecar.conversation.overview import MAX_FIRST, Overview, Overviews, Spent
from sidecar.errors import StoreUnavailable
from sidecar.store import make_store
from sidecar.store.encrypted.store import EncryptedStore
from tests.store.trees import OTHER_TENANT, TENANT, chat, exchange, question, reply, talk, update


async def listed(store, **which):
    return [each.id for each in (await store.overviews(**which)).conversations]


class TestOverviews:
    async def test_an_empty_store_lists_nothing(self, store):
        assert await store.overviews() == Overviews(0, ())

    async def test_a_conversation_is_told_by_its_counts_its_first_message_and_its_last_exchange(self, store):
        nodes = chat("hi", "hello", "and?")
        again = reply("hello again", nodes[0])
        done = [exchange("conv_1", nodes[0], nodes[1]), exchange("conv_1", nodes[2], error="overflow")]
        await store.record(update(replace(talk(key="mine"), updated_at=2.0), *nodes, again, exchange=done[1]))
        await store.record(update(talk(), exchange=done[0]))

        ((found,), total) = ((listing := await store.overviews()).conversations, listing.total)
        assert total == 1
        size = found.first_size
        assert 0 <= size - len(nodes[0].body) <= (64 if isinstance(store, EncryptedStore) else 0)
        assert found == Overview("conv_1", TENANT, "mine", 1.0, 2.0, 4, 2, 2, 1, nodes[0], size, done[1])

    async def test_one_without_anything_in_it_is_listed_too(self, store):
        await store.record(update(talk()))

        assert (await store.overviews()).conversations == (Overview("conv_1", TENANT, None, 1.0, 1.0),)

    async def test_a_line_is_one_branch(self, store):
        first, second = chat("hi", "hello")
        await store.record(update(talk(), first))
        await store.record(update(talk(), second))

        assert (await store.overviews()).conversations[0].branches == 1

    async def test_a_large_first_message_is_told_by_its_size_alone(self, store):
        # Nothing that would get smaller.
        text = "".join(chr(0x4E00 + at * 7919 % 20000) for at in range(MAX_FIRST))
        await store.record(update(talk(), question(text)))

        (found,) = (await store.overviews()).conversations
        assert (found.first, found.messages) == (None, 1)
        assert found.first_size > MAX_FIRST

    async def test_what_is_damaged_in_one_hides_no_other(self, tmp_path):
        store = make_store(str(tmp_path / "sidecar.db"))
        await store.open()
        (ask,) = chat("hi")
        await store.record(update(talk("conv_a"), ask, exchange=exchange("conv_a", ask)))
        await store.record(update(talk("conv_b"), *chat("hi")))
        with closing(sqlite3.connect(tmp_path / "sidecar.db")) as other:
            other.execute("UPDATE exchange SET detail = x'c1'")
            other.commit()

        b, a = (await store.overviews()).conversations
        assert (b.problem, a.last, a.messages) == ("", None, 1)
        assert "is not what was written there" in a.problem
        await store.close()

    async def test_so_many_of_its_newest_exchanges_are_told_as_are_asked_for(self, store):
        ask, answer = chat("hi", "hello")
        done = [exchange("conv_1", ask, answer) for _ in range(5)]
        for each in done:
            await store.record(update(talk(), ask, answer, exchange=each))
        await store.record(update(talk("conv_2"), question("hi")))

        def told(found):
            return {each.id: (each.last, *each.earlier) for each in found.conversations}

        assert told(await store.overviews()) == {"conv_1": (done[4],), "conv_2": (None,)}
        assert told(await store.overviews(recent=3)) == {
            "conv_1": (done[4], done[3], done[2]),
            "conv_2": (None,),
        }
        assert told(await store.overviews(recent=30))["conv_1"] == tuple(done[::-1])

    async def test_those_used_last_come_first_page_by_page(self, store):
        times = {"conv_a": 3.0, "conv_b": 5.0, "conv_Z": 3.0, "conv_ä": 3.0, "conv_c": 4.0}
        for id, at in times.items():
            await store.record(update(talk(id, at=at), question("hi")))

        assert await listed(store) == ["conv_b", "conv_c", "conv_ä", "conv_a", "conv_Z"]
        assert await listed(store, limit=2) == ["conv_b", "conv_c"]
        assert await listed(store, limit=2, before=(4.0, "conv_c")) == ["conv_ä", "conv_a"]
        assert await listed(store, before=(3.0, "conv_a")) == ["conv_Z"]
        assert await listed(store, before=(3.0, "conv_Z")) == []
        assert (await store.overviews(limit=1, before=(3.0, "conv_a"))).total == 5

    async def test_what_is_deleted_is_not_listed(self, store):
        await store.record(update(talk("conv_a"), *chat("hi")))
        await store.record(update(talk("conv_b"), *chat("hi")))
        await store.delete("conv_a")

        listing = await store.overviews()
        assert (listing.total, [each.id for each in listing.conversations]) == (1, ["conv_b"])


class TestOutline:
    async def test_the_shape_of_a_tree_is_told_in_the_order_of_recording(self, store):
        nodes = chat("hi", "hello", "and?")
        again = reply("x", nodes[0], state="partial", model="demo", finish_reason="stop", at=2.5)
        await store.record(update(talk(key="mine"), *nodes, again))

        outline = await store.outline("conv_1")
        assert (outline.conversation.key, outline.conversation.tenant) == ("mine", TENANT)
        assert [(each.id, each.parent, each.role) for each in outline.stems] == [
            (each.id, each.parent, each.role) for each in (*nodes, again)
        ]
        last = outline.stems[-1]
        assert (last.source, last.state, last.created_at) == ("upstream", "partial", 2.5)
        assert (last.model, last.finish_reason) == ("demo", "stop")
        encrypted = 64 if isinstance(store, EncryptedStore) else 0
        for each, stem in zip((*nodes, again), outline.stems, strict=True):
            assert 0 <= stem.size - len(each.body) <= encrypted

    async def test_there_is_none_of_a_conversation_that_is_not_there(self, store):
        assert await store.outline("conv_1") is None
        await store.record(update(talk(), *chat("hi")))
        await store.delete("conv_1")
        assert await store.outline("conv_1") is None


class TestMessages:
    async def test_those_that_are_asked_for_come_in_the_order_of_recording(self, store):
        nodes = chat("hi", "hello", "and?", "so")
        await store.record(update(talk(), *nodes))

        wanted = [nodes[3].id, nodes[1].id, b"?" * 24, nodes[1].id]
        assert await store.messages("conv_1", wanted) == [nodes[1], nodes[3]]
        assert await store.messages("conv_1", []) == []
        assert await store.messages("conv_2", wanted) == []

    async def test_a_message_of_another_conversation_is_not_among_them(self, store):
        (mine,), (other,) = chat("mine"), chat("other")
        await store.record(update(talk("conv_a"), mine))
        await store.record(update(talk("conv_b"), other))

        assert await store.messages("conv_a", [mine.id, other.id]) == [mine]


@pytest.mark.parametrize("made", ["sqlite", "encrypted", "postgres"], indirect=True)
async def test_a_store_that_is_closed_says_so(made):
    await made.open()
    await made.close()
    for ask in (made.overviews(), made.outline("conv_1"), made.messages("conv_1", [b"?" * 24])):
        with pytest.raises(StoreUnavailable):
            await ask


class TestSpent:
    async def spent(self, store, begin=0, end=1 << 40):
        return [each async for some in store.spent(begin, end) for each in some]

    async def test_nothing_was_spent_in_an_empty_store(self, store):
        assert await self.spent(store) == []

    async def test_all_conversations_tell_of_a_time_those_begun_last_first(self, store):
        made = {}
        for id, tenant, times in (("conv_a", TENANT, (10, 20, 40)), ("conv_b", OTHER_TENANT, (20, 30))):
            ask = question("hi", tenant=tenant)
            for at in times:
                made[id, at] = exchange(id, ask, at=at, error="x" if at == 20 else None)
                about = talk(id, tenant=tenant, at=7.0)
                await store.record(update(about, ask, exchange=made[id, at]))

        told = await self.spent(store, 20, 40)
        assert told == [
            Spent(OTHER_TENANT, 7.0, made["conv_b", 30]),
            Spent(OTHER_TENANT, 7.0, made["conv_b", 20]),
            Spent(TENANT, 7.0, made["conv_a", 20]),
        ]
        await store.delete("conv_b")
        assert [each.exchange.when for each in await self.spent(store)] == [40, 20, 10]

    async def test_many_are_told_each_once(self, store, monkeypatch):
        monkeypatch.setattr("sidecar.store.sqlite.overview._SPENT_AT_ONCE", 3)
        monkeypatch.setattr("sidecar.store.postgres.maintenance._SPENT_PAGE", 3)
        for id in ("conv_a", "conv_b", "conv_c"):
            for at in range(4):
                await store.record(update(talk(id), exchange=exchange(id, None, at=at)))

        told = [(each.exchange.conversation, each.exchange.when) for each in await self.spent(store)]
        assert told == [(id, at) for id in ("conv_c", "conv_b", "conv_a") for at in (3, 2, 1, 0)]

    async def test_what_is_damaged_is_told_by_its_columns(self, tmp_path):
        for keys in ([], [b"k" * 32]):
            file = str(tmp_path / f"{len(keys)}.db")
            store = make_store(file, keys=keys)
            await store.open()
            (ask,) = chat("hi")
            for at in (1, 2):
                await store.record(update(talk(), ask, exchange=exchange("conv_1", ask, at=at)))
            with closing(sqlite3.connect(file)) as other:
                other.execute("UPDATE exchange SET detail = x'c1' WHERE began_at = 1")
                if keys:
                    other.execute("UPDATE exchange SET input_tokens = 4 WHERE began_at = 2")
                other.commit()

            newer, older = await self.spent(store)
            assert (newer.is_damaged, older.is_damaged) == (bool(keys), True)
            assert (older.exchange.input_tokens, older.exchange.detail, older.tenant) == (3, Detail(), TENANT)
            await store.close()
