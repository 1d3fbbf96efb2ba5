"""What every store promises of threads: what each root of a conversation is known by."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.records import Snapshot, Thread
from sidecar.errors import StoreUnavailable
from sidecar.store import MemoryStore
from sidecar.store.encrypted.store import EncryptedStore
from sidecar.store.threads import row_of, size_of, thread_of
from tests.store.trees import TENANT, chat, exchange, question, reply, talk, thread, update

SYSTEM = b'[{"role":"system","content":"Gr\xc3\xbc\xc3\x9fe"}]'


async def test_it_comes_back_as_it_was_recorded_with_its_turn(store):
    ask, answer = chat("hi", "hello")
    tools = tuple(f'"tool" {number:2} \N{GRINNING FACE}'.ljust(64, ".") for number in range(64))
    whole = Thread(ask.id, answer.id, SYSTEM, "demo", tools, True, True, True, 1_700_000_000.25)
    await store.record(update(talk(), ask, answer, exchange=exchange("conv_1", ask, answer), thread=whole))

    assert await store.threads("conv_1") == [whole]
    assert (await store.snapshot("conv_1")).threads == (whole,)
    assert await store.tree("conv_1") == [ask, answer]
    assert len(await store.exchanges(TENANT, "conv_1")) == 1


async def test_one_of_which_nothing_is_known_comes_back_too(store):
    ask = question("hi")
    await store.record(update(talk(), ask, thread=Thread(ask.id)))

    assert await store.threads("conv_1") == [Thread(ask.id)]
    assert await store.snapshot("conv_1") == Snapshot(talk(), (ask,), threads=(Thread(ask.id),))


async def test_where_none_was_recorded_there_are_none(store):
    """So it is in a conversation that an older version recorded."""
    assert await store.threads("conv_1") == []
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(), ask, answer))

    assert await store.threads("conv_1") == []
    more = question("and?", answer)
    await store.record(update(talk(), more, thread=thread(ask, more)))
    assert await store.threads("conv_1") == [thread(ask, more)]


async def test_the_next_turn_of_a_root_replaces_what_was_known(store):
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(), ask, answer, thread=thread(ask, answer)))
    more, so = chat("and?", "so", under=answer)
    now = Thread(ask.id, so.id, SYSTEM, "other", ("read", "write"), True, True, updated_at=0.5)
    await store.record(update(talk(), more, so, thread=now))

    assert await store.threads("conv_1") == [now]


async def test_a_head_or_model_that_is_not_named_stays_and_a_prompt_does_not(store):
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(), ask, answer, thread=thread(ask, answer)))
    await store.record(update(talk(), thread=Thread(ask.id, updated_at=2.0)))

    (now,) = await store.threads("conv_1")
    assert now == Thread(ask.id, answer.id, None, "demo", (), is_answered=True, updated_at=2.0)


@pytest.mark.parametrize("flag", ["is_answered", "is_thin", "is_whole"])
async def test_what_was_once_so_remains_so(store, flag):
    ask = question("hi")
    for told in (False, True, False):
        await store.record(update(talk(), ask, thread=replace(Thread(ask.id), **{flag: told})))
        (now,) = await store.threads("conv_1")
        others = {name: getattr(now, name) for name in ("is_answered", "is_thin", "is_whole")}
    assert [name for name, held in others.items() if held] == [flag]


async def test_a_prompt_that_comes_again_goes_and_comes_back_is_the_last_one(store):
    ask = question("hi")
    long = b"[" + b" " * 50_000 + b"]"
    for system in (long, long, None, long, SYSTEM, b"[]", long):
        await store.record(update(talk(), ask, thread=thread(ask, system=system)))
        assert await store.threads("conv_1") == [thread(ask, system=system)]


async def test_the_newest_come_first_at_most_so_many(store):
    roots = [question(f"{number}") for number in range(100)]
    known = [thread(root, updated_at=float(at * 37 % 100)) for at, root in enumerate(roots)]
    await store.add_snapshot(Snapshot(talk(), tuple(roots), threads=tuple(known)))
    newest_first = sorted(known, key=lambda each: each.updated_at, reverse=True)

    assert await store.threads("conv_1") == newest_first[:64]
    assert await store.threads("conv_1", 3) == newest_first[:3]
    assert await store.threads("conv_1", limit=1000) == newest_first
    await store.record(update(talk(), thread=replace(newest_first[-1], updated_at=100.0)))
    assert (await store.threads("conv_1", 1))[0].root == newest_first[-1].root


async def test_they_come_newest_first_before_and_after_a_conversation_has_very_many(store):
    known = [thread(question(f"{number}"), updated_at=float(number)) for number in range(67)]
    told: list[Thread] = []
    for at, each in enumerate(known):
        again = replace(known[at // 3], updated_at=at + 0.5)
        for one in (each, again):
            await store.record(update(talk(), thread=one))
            told = [one, *(other for other in told if other.root != one.root)]
        if at > 61:
            assert await store.threads("conv_1", 64) == told[:64]
    assert await store.threads("conv_1", 1000) == told


async def test_those_of_one_moment_come_in_the_same_order_everywhere(store):
    roots = [question(f"{number}") for number in range(9)]
    for root in roots:
        await store.record(update(talk(), root, thread=thread(root)))

    told = [each.root for each in await store.threads("conv_1", 5)]
    assert told == sorted((root.id for root in roots), reverse=True)[:5]
    by_root = [each.root for each in (await store.snapshot("conv_1")).threads]
    assert by_root == sorted(root.id for root in roots)


async def test_one_root_in_two_conversations_is_two_threads(store):
    ask = question("hi")
    await store.record(update(talk("conv_1"), ask, thread=thread(ask, model="one")))
    await store.record(update(talk("conv_2"), ask, thread=thread(ask, model="two")))
    await store.delete("conv_2")

    assert await store.threads("conv_1") == [thread(ask, model="one")]
    assert await store.threads("conv_2") == []
    await store.record(update(talk("conv_2"), ask))
    assert await store.threads("conv_2") == [], "begun anew, it is another conversation"


async def test_with_a_turn_that_is_not_kept_its_thread_is_not_kept(store):
    ask, answer = chat("hi", "hello")
    await store.record(update(talk(), ask, answer, thread=thread(ask, answer)))
    await store.delete("conv_1")
    more = question("and?", answer)
    await store.record(update(talk(), more, thread=thread(ask, more)))
    assert await store.snapshot("conv_1") is None

    other = question("good day")
    await store.record(update(talk(), other))
    await store.record(update(talk(), more, thread=thread(ask, more)))
    assert await store.threads("conv_1") == []


async def test_of_a_thousand_none_is_left_after_the_conversation_is_deleted(store):
    roots = [question(f"{number}") for number in range(1000)]
    await store.add_snapshot(Snapshot(talk(), tuple(roots), threads=tuple(map(thread, roots))))
    assert len(await store.threads("conv_1", 2000)) == 1000

    assert await store.delete("conv_1")

    assert await store.threads("conv_1") == []
    assert await store.snapshot("conv_1") is None
    await store.record(update(talk(), roots[0]))
    assert await store.threads("conv_1") == []


async def test_they_count_in_what_a_conversation_takes_up(store):
    ask = question("hi")
    await store.record(update(talk(), ask))
    before = [each async for each in store.conversation_stats()]
    told = thread(ask, system=b"[" + b" " * 9000 + b"]")
    await store.record(update(talk(), thread=told))

    ((after,), (empty,)) = ([each async for each in store.conversation_stats()], before)
    encrypted = 128 if isinstance(store, EncryptedStore) else 0
    assert 0 <= after.size - empty.size - size_of(told) <= encrypted
    assert size_of(told) > 9000


class TestPut:
    """A conversation from elsewhere, of which this store knows something as well."""

    ASK, ANSWER, MORE = chat("hi", "hello", "and?")
    OLDER = Thread(ASK.id, ANSWER.id, SYSTEM, "old", ("a",), is_answered=True, updated_at=1.0)
    NEWER = Thread(ASK.id, None, None, None, ("b",), is_whole=True, updated_at=2.0)
    BOTH = Thread(ASK.id, ANSWER.id, None, "old", ("b",), is_answered=True, is_whole=True, updated_at=2.0)

    async def put(self, store, known):
        await store.add_snapshot(Snapshot(talk(), (self.ASK, self.ANSWER, self.MORE), threads=(known,)))
        return await store.threads("conv_1")

    async def test_the_later_one_goes_before_whichever_comes_first(self, store):
        assert await self.put(store, self.OLDER) == [self.OLDER]
        assert await self.put(store, self.NEWER) == [self.BOTH]
        assert await self.put(store, self.OLDER) == [self.BOTH]
        await store.delete("conv_1")
        assert await self.put(store, self.NEWER) == [self.NEWER]
        assert await self.put(store, self.OLDER) == [self.BOTH]

    async def test_of_two_of_one_moment_the_one_that_comes_last_goes_before(self, store):
        await self.put(store, self.OLDER)
        other = replace(self.NEWER, updated_at=1.0, model="new")

        assert await self.put(store, other) == [replace(self.BOTH, model="new", updated_at=1.0)]

    async def test_other_roots_stay(self, store):
        await self.put(store, self.OLDER)
        other = question("good day")
        await store.add_snapshot(Snapshot(talk(), (other,), threads=(thread(other, updated_at=9.0),)))

        assert await store.threads("conv_1") == [thread(other, updated_at=9.0), self.OLDER]


async def test_put_elsewhere_they_are_the_same(store):
    source = MemoryStore()
    ask, answer = chat("hi", "hello")
    again = reply("hello again", ask)
    await source.record(update(talk(), ask, answer, again, thread=thread(ask, again)))
    whole = await source.snapshot("conv_1")

    for _ in range(2):
        await store.add_snapshot(whole)
        assert await store.snapshot("conv_1") == whole
        assert await store.threads("conv_1") == await source.threads("conv_1")


def test_a_row_that_is_damaged_is_said_by_the_name_of_its_root():
    whole = thread(question("hi"))
    columns = list(row_of(whole))
    for damaged in (b"", b"{}", b"[1]", b'["a"', b"\xff"):
        columns[4] = damaged
        with pytest.raises(
            StoreUnavailable, match=f"^the thread of b2:{whole.root.hex()} in conversation conv_1 is not"
        ):
            thread_of("conv_1", columns)
    assert thread_of("conv_1", row_of(whole)) == whole
