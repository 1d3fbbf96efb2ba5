"""What every store promises about requests that name no conversation (`sidecar/store/base.py`)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.store.base import MAX_ALIKE, MAX_CANDIDATES
from tests.store.trees import TENANT, chat, question, reply, talk, update


class TestFindByHistory:
    async def test_an_answer_names_its_conversation(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer))

        assert await store.find_by_history(TENANT, [b"n" * 16, answer.hash]) == "conv_1"

    async def test_a_question_names_none_and_neither_does_nothing(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer))

        assert await store.find_by_history(TENANT, [ask.hash]) is None
        assert await store.find_by_history(TENANT, []) is None

    async def test_a_conversation_that_the_client_has_a_name_for_is_found_by_that_alone(self, store):
        ask, answer = chat("hi", "hello")
        for key, id in (("mine", "conv_named"), (None, "conv_nameless"), ("other", "conv_newer")):
            await store.record(update(talk(id, key=key), ask, answer, echoes=[(b"e" * 16, answer.id)]))

        assert await store.find_by_history(TENANT, [answer.hash]) == "conv_nameless"
        assert await store.find_by_history(TENANT, [b"e" * 16]) == "conv_nameless"
        assert await store.candidates(TENANT, [ask.hash], [answer.digest]) == {"conv_nameless": 2}

    async def test_of_two_names_that_one_gets_at_once_the_first_one_stays(self, store):
        ask, answer, mine, last = chat("hi", "hello", "and?", "so")
        yours, other = chat("and you?", "well", under=answer)
        await store.record(update(talk(), ask, answer))
        for key, nodes in (("mine", (mine, last)), ("yours", (yours, other))):
            echoes = [(key.encode().ljust(16), answer.id)]
            about = talk(key=key, tip=nodes[-1].id)
            await store.record(update(about, *nodes, echoes=echoes, is_found_by_echo=True))

        found = await store.find(TENANT, ["conv_1"], [])
        assert (found.conversation.key, found.conversation.tip) == ("mine", last.id)
        assert await store.tree("conv_1") == [ask, answer, mine, last]
        assert await store.find_by_history(TENANT, [b"yours".ljust(16)]) is None
        assert await store.find_by_history(TENANT, [b"mine".ljust(16)]) == "conv_1"

    async def test_one_that_gets_its_name_later_is_found_by_that_name_alone(self, store):
        ask, answer, more, last = chat("hi", "hello", "and?", "so")
        await store.record(update(talk(), ask, answer, echoes=[(b"b" * 16, answer.id)]))
        assert await store.find_by_history(TENANT, [b"b" * 16]) == "conv_1"
        named = update(talk(key="mine"), more, last, echoes=[(b"n" * 16, answer.id)], is_found_by_echo=True)
        await store.record(named)
        await store.record(update(talk(key="mine"), echoes=[(b"e" * 16, last.id)]))

        assert await store.find_by_history(TENANT, [b"n" * 16]) == "conv_1"
        for hash in (answer.hash, b"b" * 16, last.hash, b"e" * 16):
            assert await store.find_by_history(TENANT, [hash]) is None
        assert await store.candidates(TENANT, [b"n" * 16], []) == {"conv_1": 4}
        assert await store.candidates(TENANT, [ask.hash, more.hash], [answer.digest, last.digest]) == {}
        again = question("again?", last)
        await store.record(
            update(talk(key="mine"), again, echoes=[(b"n" * 16, last.id)], is_found_by_echo=True)
        )
        assert await store.find_by_history(TENANT, [b"n" * 16]) == "conv_1"
        whole = await store.snapshot("conv_1")
        assert await store.delete("conv_1")
        assert await store.find_by_history(TENANT, [b"n" * 16]) is None
        await store.add_snapshot(whole)
        assert await store.find_by_history(TENANT, [b"n" * 16]) == "conv_1"
        for hash in (answer.hash, b"b" * 16, last.hash, b"e" * 16):
            assert await store.find_by_history(TENANT, [hash]) is None
        assert await store.snapshot("conv_1") == whole

    async def test_one_that_was_moved_here_is_found_by_no_more_than_before(self, store):
        ask, answer = chat("hi", "hello")
        for id, key in (("conv_named", "mine"), ("conv_nameless", None)):
            echoes = [(id[:16].encode().ljust(16), answer.id)]
            await store.record(update(talk(id, key=key), ask, answer, echoes=echoes))
            whole = await store.snapshot(id)
            assert await store.delete(id)
            await store.add_snapshot(whole)

        assert await store.find_by_history(TENANT, [b"conv_named".ljust(16)]) is None
        assert await store.find_by_history(TENANT, [b"conv_nameless".ljust(16)]) == "conv_nameless"
        assert await store.candidates(TENANT, [answer.hash], [answer.digest]) == {"conv_nameless": 2}

    @pytest.mark.parametrize("is_newer", [False, True])
    @pytest.mark.parametrize("came_named", [False, True])
    async def test_a_copy_from_before_or_after_it_got_its_name_takes_that_from_it_no_more(
        self, store, is_newer, came_named
    ):
        """As `sidecar migrate` brings it that is run again, while one of the two stores is in use."""
        ask, answer, more, last = chat("hi", "hello", "and?", "so")
        echoes = [(b"b" * 16, answer.id)]
        await store.record(update(talk(), ask, answer, echoes=echoes))
        before = await store.snapshot("conv_1")
        named = talk(key="mine", at=before.conversation.updated_at + 10)
        await store.record(update(named, more, last, echoes=[(b"n" * 16, answer.id)], is_found_by_echo=True))
        after = await store.snapshot("conv_1")
        there, comes = (before, after) if came_named else (after, before)
        moved = there.conversation.updated_at + (1 if is_newer else -1)
        await store.delete("conv_1")
        await store.add_snapshot(there)
        await store.add_snapshot(replace(comes, conversation=replace(comes.conversation, updated_at=moved)))

        found = (await store.find(TENANT, ["conv_1"], [])).conversation
        assert (found.key, found.updated_at) == ("mine", max(there.conversation.updated_at, moved))
        assert await store.tree("conv_1") == [ask, answer, more, last]
        assert await store.find_by_history(TENANT, [b"n" * 16]) == "conv_1"
        for hash in (answer.hash, b"b" * 16, last.hash):
            assert await store.find_by_history(TENANT, [hash]) is None
        assert await store.candidates(TENANT, [ask.hash, more.hash], [answer.digest, last.digest]) == {}
        assert (await store.snapshot("conv_1")).found_by == (b"n" * 16,)

    async def test_an_answer_that_the_client_wrote_names_none(self, store):
        ask = question("hi")
        answer = question("hello", ask, role="assistant")
        more = question("and?", answer)
        await store.record(update(talk(), ask, answer, more, reply("so", more)))

        assert await store.find_by_history(TENANT, [answer.hash]) is None
        assert await store.find_by_history(TENANT, [more.hash, answer.hash]) is None

    async def test_the_same_words_at_another_place_name_none(self, store):
        answer = chat("hi", "hello")[-1]
        elsewhere = chat("good morning", "hello")[-1]
        await store.record(update(talk(), *chat("hi", "hello")))

        assert elsewhere.digest == answer.digest
        assert await store.find_by_history(TENANT, [elsewhere.hash]) is None

    async def test_an_echo_names_the_conversation_as_well(self, store):
        ask, answer = chat("hi", "hello")
        echoes = [(b"q" * 16, ask.id), (b"a" * 16, answer.id)]
        await store.record(update(talk(), ask, answer, echoes=echoes))

        assert await store.find_by_history(TENANT, [b"a" * 16]) == "conv_1"
        assert await store.find_by_history(TENANT, [b"n" * 16, b"q" * 16]) is None

    async def test_of_several_the_one_that_has_gone_on_as_the_request_does_is_meant(self, store):
        asked_again = chat("hi", "hello", "and?", "so")
        await store.record(update(talk("conv_old", at=1.0), *asked_again))
        await store.record(update(talk("conv_new", at=2.0), *chat("hi", "hello")))
        hashes = [asked_again[2].hash, asked_again[1].hash]

        assert await store.find_by_history(TENANT, hashes) == "conv_old"
        assert await store.find_by_history(TENANT, hashes[1:]) == "conv_new"

    async def test_of_several_the_one_that_has_not_gone_on_is_meant(self, store):
        for id, at, texts in [("conv_old", 1.0, ["hi", "hello"]), ("conv_new", 2.0, ["hi", "hello", "and?"])]:
            await store.record(update(talk(id, at=at), *chat(*texts)))

        assert await store.find_by_history(TENANT, [chat("hi", "hello")[-1].hash]) == "conv_old"

    async def test_one_that_went_on_with_another_branch_has_not_gone_on_here(self, store):
        nodes, later = chat("hi", "hello"), chat("edited", "indeed")
        await store.record(update(talk("conv_branched"), *nodes, *later))
        await store.record(update(talk("conv_branched", at=3.0, tip=later[-1].id)))
        await store.record(update(talk("conv_went_on", at=4.0), *chat("hi", "hello", "and?")))

        assert await store.find_by_history(TENANT, [nodes[-1].hash]) == "conv_branched"

    async def test_of_several_alike_the_newest_is_meant(self, store):
        for id, at in [("conv_a", 2.0), ("conv_b", 3.0), ("conv_c", 1.0)]:
            await store.record(update(talk(id, at=at), *chat("hi", "hello")))

        assert await store.find_by_history(TENANT, [chat("hi", "hello")[-1].hash]) == "conv_b"

    async def test_of_very_many_alike_only_the_newest_are_looked_at(self, store):
        for number in range(MAX_ALIKE + 1):
            at = 9.0 if number < 2 else 1.0
            await store.record(update(talk(f"conv_{number}", at=at), *chat("hi", "hello")))

        assert await store.find_by_history(TENANT, [chat("hi", "hello")[-1].hash]) == "conv_1"


class TestCandidates:
    async def test_a_front_an_echo_of_one_and_a_reply_each_name_a_candidate(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer, echoes=[(b"e" * 16, ask.id)]))

        for hashes, digests in ([ask.hash], []), ([b"e" * 16], []), ([], [answer.digest]):
            assert await store.candidates(TENANT, hashes, digests) == {"conv_1": 2}
        assert await store.candidates(TENANT, [b"n" * 16], [b"n" * 16, ask.digest]) == {}
        assert await store.candidates(TENANT, [], []) == {}

    async def test_an_answer_that_the_client_wrote_names_none(self, store):
        ask = question("hi")
        answer = question("hello", ask, role="assistant")
        await store.record(update(talk(), ask, answer))

        assert await store.candidates(TENANT, [], [answer.digest]) == {}

    async def test_they_come_newest_first_and_each_once(self, store):
        for id in ("conv_a", "conv_b"):
            await store.record(update(talk(id), *chat("hi", "hello")))
        await store.record(update(talk("conv_c"), *chat("good morning", "hello", "and?")))
        ask, answer = chat("hi", "hello")

        found = await store.candidates(TENANT, [ask.hash], [answer.digest])

        assert list(found.items()) == [("conv_c", 3), ("conv_b", 2), ("conv_a", 2)]

    async def test_what_too_many_have_in_common_does_not_count(self, store):
        for number in range(MAX_CANDIDATES + 1):
            await store.record(update(talk(f"conv_{number}"), *chat("hi", f"hello {number}")))
            await store.record(update(talk(f"conv_{number}"), *chat(f"good morning {number}", "ok")))
        ask, third = chat("hi", "hello 3")
        (ok,) = {chat(f"good morning {number}", "ok")[-1].digest for number in range(3)}

        assert await store.candidates(TENANT, [ask.hash], [ok]) == {}
        assert await store.candidates(TENANT, [ask.hash], [ok, third.digest]) == {"conv_3": 4}

    async def test_one_that_says_the_same_over_and_over_is_one(self, store):
        talking = chat(*(["and?", "ok"] * MAX_CANDIDATES * 2))
        await store.record(update(talk(), *talking))

        assert await store.candidates(TENANT, [], [talking[1].digest]) == {"conv_1": len(talking)}
