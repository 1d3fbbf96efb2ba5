"""What every store promises (`sidecar/store/base.py`), once for all of them."""

from __future__ import annotations

import asyncio

from msgspec.structs import replace

from sidecar.conversation.records import Found
from sidecar.store.base import MAX_LEARNED
from tests.store.trees import OTHER_TENANT, TENANT, chat, question, reply, talk, update


async def names(store, name=None):
    return [each.id async for each in store.conversations(name)]


class TestFind:
    async def test_an_empty_store_knows_nothing(self, store):
        assert await store.find(TENANT, ["conv_1"], [b"h" * 16]) == Found()
        assert await store.find(TENANT, [], []) == Found()

    async def test_a_conversation_is_found_without_any_hash(self, store):
        await store.record(update(talk(key="mine"), *chat("hi", "hello")))

        assert await store.find(TENANT, ["conv_1"], []) == Found(talk(key="mine"))

    async def test_an_unknown_hash_leaves_the_conversation_without_nodes(self, store):
        await store.record(update(talk(), *chat("hi", "hello")))

        assert await store.find(TENANT, ["conv_1"], [b"h" * 16]) == Found(talk())

    async def test_the_first_hash_that_hits_wins(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer))

        found = await store.find(TENANT, ["conv_1"], [b"h" * 16, answer.hash, ask.hash])

        assert found.nodes == {answer.hash: [answer]}

    async def test_the_first_conversation_of_the_tenant_wins(self, store):
        await store.record(update(talk("conv_a"), question("a")))
        await store.record(update(talk("conv_b"), question("b")))

        found = await store.find(TENANT, ["conv_x", "conv_b", "conv_a"], [])

        assert found.conversation == talk("conv_b")

    async def test_a_hash_counts_only_within_its_conversation(self, store):
        ask = question("hi")
        await store.record(update(talk("conv_a"), ask))
        await store.record(update(talk("conv_b"), question("another")))

        assert (await store.find(TENANT, ["conv_b"], [ask.hash])).nodes == {}

    async def test_nodes_that_read_alike_come_oldest_first(self, store):
        ask = question("hi")
        alike = [reply("hello", ask, nonce=nonce) for nonce in (9, 3, 7)]
        for each in alike:
            await store.record(update(talk(), ask, each))

        found = await store.find(TENANT, ["conv_1"], [alike[0].hash])

        assert found.nodes == {alike[0].hash: alike}

    async def test_every_column_of_a_node_comes_back_as_it_was_recorded(self, store):
        ask = question("hi", message_id="m-1", at=1234.5678)
        answer = reply(
            "\x00 Grüße \N{GRINNING FACE}",
            ask,
            state="partial",
            message_id="m-2",
            model="m",
            usage=b'{"total_tokens": 3}',
            finish_reason="length",
        )
        await store.record(update(talk(), ask, answer))

        assert await store.tree("conv_1") == [ask, answer]


class TestTip:
    async def test_a_node_without_children_is_a_tip(self, store):
        nodes = chat("hi", "hello")
        await store.record(update(talk(tip=nodes[-1].id), *nodes))

        assert (await store.find(TENANT, ["conv_1"], [nodes[1].hash])).is_tip
        assert not (await store.find(TENANT, ["conv_1"], [nodes[0].hash])).is_tip

    async def test_the_end_of_a_branch_left_behind_is_still_a_tip(self, store):
        first, second = chat("hi", "hello"), chat("edited", "indeed")
        await store.record(update(talk(tip=first[-1].id), *first))
        await store.record(update(talk(tip=second[-1].id), *second))

        assert (await store.find(TENANT, ["conv_1"], [first[-1].hash])).is_tip

    async def test_a_question_with_a_failed_reply_is_no_tip_though_the_conversation_goes_on_there(
        self, store
    ):
        ask = question("hi")
        await store.record(update(talk(tip=ask.id), ask, reply("hel", ask, state="failed")))

        assert not (await store.find(TENANT, ["conv_1"], [ask.hash])).is_tip

    async def test_of_nodes_that_read_alike_the_newest_tells(self, store):
        ask = question("hi")
        old, new = (reply("hello", ask) for _ in range(2))
        await store.record(update(talk(), ask, old, question("and?", old), new))

        found = await store.find(TENANT, ["conv_1"], [new.hash])

        assert (found.nodes[new.hash], found.is_tip) == ([old, new], True)


class TestTenants:
    async def test_another_tenant_finds_nothing_under_the_same_id(self, store):
        nodes = chat("hi", "hello")
        await store.record(update(talk(), *nodes))

        assert await store.find(OTHER_TENANT, ["conv_1"], [nodes[-1].hash]) == Found()

    async def test_an_id_of_another_tenant_is_passed_over(self, store):
        await store.record(update(talk("conv_a", tenant=OTHER_TENANT), question("hi")))
        await store.record(update(talk("conv_b"), question("hi")))

        found = await store.find(TENANT, ["conv_a", "conv_b"], [])

        assert found.conversation == talk("conv_b")

    async def test_an_answer_is_found_only_among_the_tenants_own(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(tenant=OTHER_TENANT), ask, answer))

        assert await store.find_by_history(TENANT, [answer.hash]) is None
        assert await store.candidates(TENANT, [ask.hash, answer.hash], [answer.digest]) == {}

    async def test_the_same_key_names_a_conversation_of_each(self, store):
        await store.record(update(talk("conv_a", key="same"), question("hi")))
        await store.record(update(talk("conv_b", key="same", tenant=OTHER_TENANT), question("hi")))

        assert await names(store, "same") == ["conv_a", "conv_b"]


class TestEchoes:
    async def test_an_echo_finds_the_node_that_it_names(self, store):
        nodes = chat("hi", "hello")
        await store.record(update(talk(), *nodes, echoes=[(b"e" * 16, nodes[-1].id)]))

        found = await store.find(TENANT, ["conv_1"], [b"e" * 16])

        assert (found.nodes, found.is_tip) == ({b"e" * 16: [nodes[-1]]}, True)

    async def test_a_node_of_that_very_hash_goes_before_an_echo(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer, echoes=[(ask.hash, answer.id)]))

        assert (await store.find(TENANT, ["conv_1"], [ask.hash])).nodes == {ask.hash: [ask]}

    async def test_the_last_word_about_an_echo_counts(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer, echoes=[(b"e" * 16, ask.id)]))
        await store.record(update(talk(), echoes=[(b"e" * 16, answer.id)]))

        assert (await store.find(TENANT, ["conv_1"], [b"e" * 16])).nodes == {b"e" * 16: [answer]}

    async def test_an_echo_counts_only_within_its_conversation(self, store):
        ask = question("hi")
        await store.record(update(talk("conv_a"), ask, echoes=[(b"e" * 16, ask.id)]))
        await store.record(update(talk("conv_b"), ask))

        assert (await store.find(TENANT, ["conv_b"], [b"e" * 16])).nodes == {}


class TestReading:
    async def test_a_path_goes_from_the_root_to_the_node(self, store):
        nodes = chat("one", "two", "three", "four")
        await store.record(update(talk(), *nodes, *chat("elsewhere", "yes")))

        assert await store.path("conv_1", nodes[2].id) == nodes[:3]
        assert await store.path("conv_1", nodes[0].id) == nodes[:1]

    async def test_a_path_to_nowhere_is_empty(self, store):
        await store.record(update(talk(), question("hi")))

        assert await store.path("conv_1", b"?" * 24) == []
        assert await store.path("conv_2", question("hi").id) == []

    async def test_a_path_of_five_thousand_messages_is_whole(self, store):
        nodes = chat(*(str(number) for number in range(5000)))
        await store.record(update(talk(), *nodes))

        assert await store.path("conv_1", nodes[-1].id) == nodes

    async def test_a_tree_comes_in_the_order_of_recording(self, store):
        first, second = chat("hi", "hello", "and?", "so"), chat("edited", "indeed")
        await store.record(update(talk(), *first[:2]))
        await store.record(update(talk("conv_2"), question("in between")))
        await store.record(update(talk(), *second))
        await store.record(update(talk(), *first[2:]))

        assert await store.tree("conv_1") == [*first[:2], *second, *first[2:]]

    async def test_the_tree_of_an_unknown_conversation_is_empty(self, store):
        assert await store.tree("conv_1") == []

    async def test_the_first_and_the_last_system_messages_are_kept(self, store):
        await store.record(update(talk(), question("hi")))
        assert await store.system("conv_1") is None

        for system in (b"[1]", b"[2]", None, b"[3]", None):
            await store.record(update(talk(), system=system))

        assert await store.system("conv_1") == (b"[1]", b"[3]")
        assert await store.system("conv_2") is None

    async def test_what_a_store_gave_out_is_the_readers_own(self, store):
        ask = question("hi")
        await store.record(update(talk(), ask))
        (await store.tree("conv_1")).clear()
        (await store.find(TENANT, ["conv_1"], [ask.hash])).nodes[ask.hash].clear()

        assert (await store.find(TENANT, ["conv_1"], [ask.hash])).nodes == {ask.hash: [ask]}
        assert await store.tree("conv_1") == [ask]


class TestRecord:
    async def test_recording_twice_changes_nothing(self, store):
        nodes = chat("hi", "hello")
        told = update(talk(tip=nodes[-1].id), *nodes, echoes=[(b"e" * 16, nodes[0].id)], system=b"[]")
        await store.record(told)
        await store.record(told)

        assert await store.tree("conv_1") == nodes
        assert [each async for each in store.conversations()] == [told.conversation]
        assert await store.system("conv_1") == (b"[]", b"[]")

    async def test_a_name_that_comes_later_stays(self, store):
        nodes = chat("hi", "hello", "and?", "so")
        await store.record(update(talk(), *nodes[:2]))
        for key, new in (("mine", nodes[2:3]), ("other", nodes[3:]), (None, chat("hello?"))):
            await store.record(update(talk(key=key), *new))

        assert [each.key async for each in store.conversations("mine")] == ["mine"]
        assert (await store.find(TENANT, ["conv_1"], [])).conversation.key == "mine"

    async def test_nothing_stored_is_rewritten(self, store):
        nodes = chat("hi", "hello")
        await store.record(update(talk(), *nodes))
        await store.record(update(talk(), *(replace(each, body=b"{}", model="another") for each in nodes)))

        assert await store.tree("conv_1") == nodes

    async def test_the_same_question_recorded_at_once_by_many_is_one_node(self, store):
        ask = question("hi")
        answers = [reply(f"answer {number}", ask) for number in range(20)]
        await asyncio.gather(*(store.record(update(talk(), ask, each)) for each in answers))

        tree = await store.tree("conv_1")

        assert tree.count(ask) == 1
        assert tree[0] == ask
        assert sorted(each.id for each in tree[1:]) == sorted(each.id for each in answers)

    async def test_parents_come_before_their_children(self, store):
        ask, answer = chat("hi", "hello")
        branches = [question(f"more {number}", answer) for number in range(10)]
        await store.record(update(talk(), ask, answer))
        await asyncio.gather(
            *(store.record(update(talk(), branch, reply("so", branch))) for branch in branches)
        )
        seen = {None}
        for node in await store.tree("conv_1"):
            assert node.parent in seen
            seen.add(node.id)

    async def test_the_same_message_in_two_conversations_is_a_node_of_each(self, store):
        nodes = chat("hi", "hello")
        await store.record(update(talk("conv_a"), *nodes))
        await store.record(update(talk("conv_b"), *nodes))

        assert await store.tree("conv_a") == await store.tree("conv_b") == nodes

    async def test_a_turn_without_new_messages_is_recorded_too(self, store):
        await store.record(update(talk()))

        assert await names(store) == ["conv_1"]

    async def test_a_store_that_records_says_that_it_can(self, store):
        await store.probe()


class TestConversations:
    async def test_they_come_oldest_first(self, store):
        for id, at in [("conv_b", 3.0), ("conv_c", 1.0), ("conv_a", 2.0)]:
            await store.record(update(talk(id, at=at), question("hi")))

        assert await names(store) == ["conv_b", "conv_c", "conv_a"]

    async def test_they_are_known_by_id_and_by_the_clients_key(self, store):
        await store.record(update(talk("conv_a", key="mine"), question("hi")))
        await store.record(update(talk("conv_b"), question("hi")))

        assert await names(store, "conv_a") == await names(store, "mine") == ["conv_a"]
        assert await names(store, "conv_b") == ["conv_b"]
        assert await names(store, "yours") == await names(store, "") == []

    async def test_a_turn_without_a_tip_leaves_the_one_that_is_there(self, store):
        await store.record(update(talk(tip=b"1" * 24), question("hi")))
        await store.record(update(talk(at=5.0, tip=None)))
        found = (await store.find(TENANT, ["conv_1"], [])).conversation
        assert found == replace(talk(tip=b"1" * 24), updated_at=5.0)

    async def test_a_later_turn_moves_the_time_the_tip_and_the_system_digest(self, store):
        await store.record(update(talk(key="k", tip=b"1" * 24, system=b"s"), question("hi")))
        await store.record(update(talk(key="k", at=5.0, tip=b"2" * 24, system=b"t")))

        found = (await store.find(TENANT, ["conv_1"], [])).conversation

        assert found == replace(talk(key="k", tip=b"2" * 24, system=b"t"), updated_at=5.0)

    async def test_a_turn_without_system_messages_leaves_their_digest(self, store):
        await store.record(update(talk(system=b"s")))
        await store.record(update(talk()))

        assert (await store.find(TENANT, ["conv_1"], [])).conversation == talk(system=b"s")

    async def test_a_client_that_has_once_sent_full_history_stays_known_for_it(self, store):
        for full in (False, True, False):
            await store.record(update(talk(full=full)))

        assert (await store.find(TENANT, ["conv_1"], [])).conversation == talk(full=True)

    async def test_one_can_record_while_listing(self, store):
        for id in ("conv_a", "conv_b"):
            await store.record(update(talk(id), question("hi")))
        seen = []
        async for each in store.conversations():
            seen.append(each.id)
            await store.record(update(talk("conv_c"), question("hi")))

        assert seen == ["conv_a", "conv_b"]

    async def test_a_turn_without_weights_leaves_those_that_are_there(self, store):
        for weights in (None, b"1", b"2", None):
            await store.record(update(talk(weights=weights), question("hi")))

        assert (await store.find(TENANT, ["conv_1"], [])).conversation == talk(weights=b"2")


class TestLearned:
    async def test_nothing_is_known_at_first(self, store):
        assert await store.load_learned() == {}

    async def test_the_newest_value_under_a_name_is_kept_and_stands_last(self, store):
        for name, value in [("tokens:a", b"1"), ("window:a", b"2"), ("tokens:a", b"\x00\xff")]:
            await store.save_learned(name, value)

        assert list((await store.load_learned()).items()) == [("window:a", b"2"), ("tokens:a", b"\x00\xff")]

    async def test_of_too_many_the_oldest_go(self, store):
        names = [f"tokens:{number}" for number in range(MAX_LEARNED + 3)]
        await asyncio.gather(*(store.save_learned(name, b"1") for name in names))
        await store.save_learned(names[4], b"2")
        await store.save_learned("tokens:newest", b"3")

        assert list(await store.load_learned()) == [*names[5:], names[4], "tokens:newest"]
