"""What every store promises to those who look at it, delete from it, copy it (`sidecar/store/base.py`)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, packed
from sidecar.conversation.records import ConversationStats, Snapshot, Summary
from sidecar.store import MemoryStore
from sidecar.store.encrypted.store import EncryptedStore
from tests.store.trees import OTHER_TENANT, TENANT, chat, exchange, question, reply, talk, thread, update

FRONT = b"f" * 16
SUMMARY = Summary(FRONT, "They met.", "small", 1.5)


async def held(store, **which):
    return [each async for each in store.conversation_stats(**which)]


async def full(store, id="conv_1", key="mine", **about):
    """A conversation with something of everything; as it has to come back."""
    nodes = chat("hi", "hello", "and?", "so")
    again = reply("hello again", nodes[0], usage=b'{"n":1}', message_id="m", model="demo")
    mine = talk(id, key=key, tip=again.id, full=True, system=b"s", weights=b"w", **about)
    done = exchange(id, nodes[2], nodes[3]), exchange(id, nodes[0], again)
    echoes = ((b"e" * 16, nodes[1].id),)
    root = thread(nodes[0], again)
    await store.record(
        update(mine, *nodes, again, echoes=echoes, system=b"[1]", exchange=done[0], thread=root)
    )
    await store.record(update(mine, system=b"[2]", exchange=done[1]))
    await store.add_summary(id, SUMMARY)
    return Snapshot(mine, (*nodes, again), echoes, (b"[1]", b"[2]"), (SUMMARY,), done, (root,))


class TestHoldings:
    async def test_an_empty_store_holds_nothing(self, store):
        assert await held(store) == []
        assert await held(store, sized=False) == []

    async def test_messages_and_bytes_are_counted(self, store):
        ask = question("hi")
        answer = reply("hello", ask, usage=b'{"tokens":1}')
        await store.record(update(replace(talk(key="mine"), updated_at=2.0), ask, answer))
        size = len(ask.body) + len(answer.body) + len(b'{"tokens":1}')

        (found,) = await held(store)
        assert replace(found, size=size) == ConversationStats("conv_1", TENANT, "mine", 1.0, 2.0, 2, size)
        # Encryption takes some bytes as well.
        assert 0 <= found.size - size <= (3 * 64 if isinstance(store, EncryptedStore) else 0)
        assert await held(store, sized=False) == [ConversationStats("conv_1", TENANT, "mine", 1.0, 2.0)]

    async def test_what_is_noted_of_exchanges_counts_as_well(self, store):
        ask = question("hi")
        await store.record(update(talk(), ask))
        ((before,), done) = (await held(store), exchange("conv_1", ask))
        await store.record(update(talk(), exchange=done))

        (after,) = await held(store)
        assert (after.messages, before.messages) == (1, 1)
        encrypted = 64 if isinstance(store, EncryptedStore) else 0
        assert 0 <= after.size - before.size - len(packed(done.detail)) <= encrypted

    async def test_a_conversation_without_messages_holds_none(self, store):
        await store.record(update(talk()))

        assert await held(store) == [ConversationStats("conv_1", TENANT, None, 1.0, 1.0, 0, 0)]

    # More than are read at once, which are fewer where their messages are counted as well.
    @pytest.mark.parametrize(("sized", "many"), [(True, 61), (False, 601)])
    async def test_many_come_oldest_first(self, store, sized, many):
        ids = [f"conv_{number * 7919 % many}" for number in range(many)]
        for id in ids:
            await store.record(update(talk(id), question("hi")))

        assert [each.id for each in await held(store, sized=sized)] == ids

    async def test_those_of_one_tenant_or_of_one_name(self, store):
        await store.record(update(talk("conv_a", key="mine"), question("hi")))
        await store.record(update(talk("conv_b", key="mine", tenant=OTHER_TENANT), question("hi")))
        await store.record(update(talk("conv_c"), question("hi")))

        assert [each.id for each in await held(store, tenant=TENANT)] == ["conv_a", "conv_c"]
        assert [each.id for each in await held(store, name="mine")] == ["conv_a", "conv_b"]
        assert [each.id for each in await held(store, name="conv_c", sized=False)] == ["conv_c"]
        assert await held(store, tenant=OTHER_TENANT, name="conv_a") == []


class TestDelete:
    @pytest.mark.parametrize("key", ["mine", None])
    async def test_nothing_is_left_of_it(self, store, key):
        whole = await full(store, key=key)
        hashes = [node.hash for node in whole.nodes]

        assert await store.delete("conv_1")

        assert await held(store) == []
        assert [each async for each in store.conversations()] == []
        assert await store.tree("conv_1") == []
        assert await store.path("conv_1", whole.nodes[1].id) == []
        assert await store.system("conv_1") is None
        assert await store.find_summary("conv_1", [FRONT]) is None
        assert await store.snapshot("conv_1") is None
        assert await store.exchanges(TENANT, "conv_1") == []
        assert await store.exchange(TENANT, "conv_1", whole.exchanges[0].id) is None
        assert await store.threads("conv_1") == []
        assert (await store.find(TENANT, ["conv_1"], hashes)).conversation is None
        assert await store.find_by_history(TENANT, hashes[1:2]) is None
        assert await store.candidates(TENANT, hashes, [node.digest for node in whole.nodes]) == {}

    async def test_the_others_stay(self, store):
        await full(store)
        other = await full(store, "conv_2", key=None)

        assert await store.delete("conv_1")

        assert await store.snapshot("conv_2") == other
        assert await store.find_by_history(TENANT, [other.nodes[1].hash]) == "conv_2"

    async def test_one_that_is_not_there_was_not_deleted(self, store):
        assert not await store.delete("conv_1")
        await full(store)
        assert await store.delete("conv_1")
        assert not await store.delete("conv_1")

    async def test_one_that_was_used_since_stays(self, store):
        whole = await full(store, at=5.0)

        assert not await store.delete("conv_1", unless_after=4.0)
        assert await store.snapshot("conv_1") == whole
        assert await store.delete("conv_1", unless_after=5.0)

    async def test_a_long_one_goes_as_a_whole(self, store):
        nodes = chat(*(f"{number}" for number in range(1001)))
        await store.record(update(talk(), *nodes))
        done = tuple(exchange("conv_1", nodes[number % 1000]) for number in range(500))
        await store.add_snapshot(Snapshot(talk(), exchanges=done))
        assert len(await store.exchanges(TENANT, "conv_1", limit=999)) == 500

        assert await store.delete("conv_1")
        assert await store.exchanges(TENANT, "conv_1") == []
        assert await held(store) == []
        assert await store.candidates(TENANT, [question("0").hash], []) == {}

    async def test_its_id_may_be_used_again(self, store):
        await full(store)
        await store.delete("conv_1")
        other = question("good day")
        await store.record(update(talk(at=9.0), other))

        assert await store.snapshot("conv_1") == Snapshot(talk(at=9.0), (other,))

    async def test_a_turn_that_goes_on_from_what_was_deleted_meanwhile_is_not_kept(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer))
        await store.delete("conv_1")
        await store.record(update(talk(), question("and?", answer)))

        assert await store.snapshot("conv_1") is None
        other = question("good day")
        await store.record(update(talk(), other))
        await store.record(update(talk(), question("and?", answer)))
        assert await store.tree("conv_1") == [other]

    async def test_what_was_learned_can_be_forgotten(self, store):
        await store.save_learned("tokens:a", b"1")
        await store.delete_learned()

        assert await store.load_learned() == {}

    @pytest.mark.parametrize("compact", [True, False])
    async def test_scrubbing_changes_nothing_that_is_there(self, store, compact):
        whole = await full(store)
        await full(store, "conv_2")
        await store.delete("conv_2")

        await store.purge(compact=compact)

        assert await store.snapshot("conv_1") == whole
        await store.probe()


class TestWhole:
    async def test_all_of_it_comes_at_once(self, store):
        whole = await full(store)

        assert await store.snapshot("conv_1") == whole
        assert await store.snapshot("conv_2") is None

    async def test_one_with_nothing_in_it(self, store):
        await store.record(update(talk()))

        assert await store.snapshot("conv_1") == Snapshot(talk())

    async def test_put_elsewhere_it_is_the_same(self, store):
        other = MemoryStore()
        whole = await full(other, key=None)
        hash = whole.nodes[1].hash

        for _ in range(2):
            await store.add_snapshot(whole)
            assert await store.snapshot("conv_1") == whole
        assert await store.tree("conv_1") == await other.tree("conv_1")
        assert await store.find(TENANT, ["conv_1"], [hash]) == await other.find(TENANT, ["conv_1"], [hash])
        assert await store.find_by_history(TENANT, [hash]) == "conv_1"
        assert [each.messages for each in await held(store)] == [5]

    async def test_what_has_gone_on_since_stays(self, store):
        whole = await full(store)
        more = question("more", whole.nodes[-1])
        done = exchange("conv_1", more)
        about = replace(talk(tip=more.id), updated_at=9.0)
        await store.record(update(about, more, system=b"[3]", exchange=done))

        await store.add_snapshot(whole)

        now = await store.snapshot("conv_1")
        assert now.nodes == (*whole.nodes, more)
        assert (now.conversation.tip, now.conversation.updated_at) == (more.id, 9.0)
        assert now.system == (b"[1]", b"[3]")
        assert now.exchanges == (*whole.exchanges, done)

    async def test_what_was_told_later_elsewhere_goes_before(self, store):
        whole = await full(store)
        more = question("more", whole.nodes[-1])
        about = replace(whole.conversation, updated_at=9.0, tip=more.id)
        other = Summary(FRONT, "Another.", "small", 9.0)
        done = exchange("conv_1", more)
        changed = replace(whole.exchanges[0], outcome="start")
        later = Snapshot(about, (*whole.nodes, more), (), (b"[1]", b"[4]"), (other,), (changed, done))
        later = replace(later, threads=(thread(whole.nodes[0], more, updated_at=9.0),))

        await store.add_snapshot(later)

        as_they_were = (*whole.exchanges, done)
        assert await store.snapshot("conv_1") == replace(
            later, echoes=whole.echoes, summaries=(SUMMARY,), exchanges=as_they_were
        )


class TestRewrite:
    async def test_re_encryption_changes_what_is_encrypted_and_nothing_else(self, store):
        whole = await full(store)
        await full(store, "conv_2")
        # A store that is encrypted tells a tenant by the messages; it has the one inside rewrite its name.
        tenant, other = (
            (TENANT, OTHER_TENANT) if isinstance(store, EncryptedStore) else (OTHER_TENANT, TENANT)
        )
        changed = replace(
            whole,
            conversation=replace(whole.conversation, tenant=tenant),
            nodes=tuple(replace(node, body=b"b" + node.body, usage=b"u") for node in whole.nodes),
            system=(b"[a]", b"[b]"),
            summaries=(replace(SUMMARY, text="new"),),
            exchanges=tuple(replace(each, detail=Detail(finish="new")) for each in whole.exchanges),
            threads=tuple(
                replace(each, system=b"[c]", model="new", tools=("new",)) for each in whole.threads
            ),
        )
        seen = []

        def change(now):
            seen.append(now)
            return changed

        assert await store.replace_snapshot("conv_1", change)

        assert seen == [whole]
        assert await store.snapshot("conv_1") == changed
        assert (await store.find(tenant, ["conv_1"], [whole.nodes[2].hash])).nodes == {
            whole.nodes[2].hash: [changed.nodes[2]]
        }
        assert (await store.find(other, ["conv_1"], [])).conversation is None
        assert (await store.snapshot("conv_2")).conversation.tenant == TENANT

    async def test_one_that_is_not_there_is_not_made(self, store):
        assert not await store.replace_snapshot("conv_1", lambda whole: whole)
        assert await held(store) == []


async def test_another_secret_can_be_kept(store):
    await store.replace_secret(b"s" * 40)

    assert store.secret == b"s" * 40
