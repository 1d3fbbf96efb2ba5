"""All stores side by side, whatever is done to them in whatever order: none tells another story than memory.

The rules are what requests, people and commands do: record, sum up, look, delete, prune, bring in, encrypt
anew, copy, export, open again. After each the whole of every conversation is compared.
"""

from __future__ import annotations

import asyncio
import io
import tempfile
from pathlib import Path

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)
from msgspec.structs import replace

from sidecar.commands.migrate import copied
from sidecar.commands.progress import Progress
from sidecar.commands.verify import wrongs
from sidecar.conversation.exchange_record import Detail
from sidecar.conversation.records import Snapshot, Summary, Thread
from sidecar.export import as_json
from sidecar.retention import prune
from sidecar.settings import Retention
from sidecar.store import MemoryStore, make_store
from sidecar.store.sqlite.bodies import SMALL
from tests.store.test_twins import CONVERSATIONS, ECHOES, NAMES, as_turn, check_what_is_at_hand, records
from tests.store.trees import OTHER_TENANT, TENANT, chat, exchange, talk, update

# Of random input, as in other property tests, the coverage learns nothing; see tests/conftest.py.
pytestmark = pytest.mark.no_cover

ENCRYPTED = 1  # which of the others is encrypted
KEYS = [bytes([number]) * 32 for number in range(1, 4)]
ids = st.sampled_from(sorted(CONVERSATIONS))
places = st.integers(0, 7)
words = st.sampled_from(["start", "continue", "retry"])
#: What a turn tells of its root, but for the root, the head and the time.
roots = st.tuples(
    st.sampled_from([None, b"[1]", b'["' + b"long" * 3000 + b'"]']),
    st.none() | words,
    st.lists(words, max_size=3).map(tuple),
    *[st.booleans()] * 3,
)


def thread_of(known, place, told, at):
    """Of one of the roots there are, with a head somewhere."""
    found = [node for node in known if node.parent is None]
    if not found:
        return None
    head = known[place % len(known)].id if place % 3 else None
    system, model, tools, is_answered, is_thin, is_whole = told
    flags = is_answered, is_thin, is_whole
    return Thread(found[place % len(found)].id, head, system, model, tools, *flags, at)


class Stores(RuleBasedStateMachine):
    """Memory is the model; the others are a file, an encrypted file, and PostgreSQL."""

    def __init__(self, postgres):
        super().__init__()
        self.postgres = postgres
        self.folder = tempfile.TemporaryDirectory()
        self.runner = asyncio.Runner()
        self.model = MemoryStore()
        self.others = []
        self.keys = 1  # how many the encrypted store has had
        self.time = 0
        self.stashed = []  # turns whose requests still run
        self.snapshots = []
        self.runner.run(self.open())

    async def open(self):
        path = Path(self.folder.name)
        encrypted = make_store(str(path / "encrypted.db"), keys=KEYS[: self.keys][::-1])
        self.others = [make_store(str(path / "plain.db")), encrypted, make_store(self.postgres)]
        for store in self.others:
            await store.open()

    async def close(self):
        for store in self.others:
            await store.close()

    @initialize()
    def fill(self):
        """So that there is something of everything, whatever comes first."""
        wholes = []
        for id, tenant in CONVERSATIONS.items():
            nodes = tuple(chat("hi", "hello", "and?", "so", tenant=tenant))
            about = talk(id, key=NAMES[id], tenant=tenant, tip=nodes[-1].id)
            summary = Summary(nodes[1].hash, "They met.", "small", 0.5)
            echoes, done = ((ECHOES[0], nodes[1].id),), exchange(id, *nodes[2:], at=24)
            root = Thread(nodes[0].id, nodes[-1].id, b"[0]", "demo", ("a",), True)
            wholes.append(Snapshot(about, nodes, echoes, (b"[0]", b"[0]"), (summary,), (done,), (root,)))

        async def put(store):
            for whole in wholes:
                await store.add_snapshot(whole)

        self.all(put)

    def teardown(self):
        self.runner.run(self.close())
        self.runner.close()
        self.folder.cleanup()

    def all(self, work):
        """Do it to each store; all give what the model gives."""

        async def do():
            expected = await work(self.model)
            for store, told in zip(self.others, await self.each(work), strict=True):
                assert told == expected, store
            return expected

        result = self.runner.run(do())
        self.runner.run(self.compare())
        return result

    async def each(self, work):
        return await asyncio.gather(*(work(store) for store in self.others))

    async def compare(self):
        async def wholes(store):
            return [await store.snapshot(id) for id in CONVERSATIONS]

        expected = await wholes(self.model)
        for store, told in zip(self.others, await self.each(wholes), strict=True):
            assert told == expected, store

    def known(self, id):
        return self.runner.run(self.model.tree(id))

    def at(self):
        self.time += 1
        return float(self.time // 2)

    @rule(record=records, outcome=st.none() | words, place=places, root=st.none() | roots)
    def record(self, record, outcome, place, root):
        known, at = self.known(record[0]), self.at()
        told = as_turn(known, record, at)
        if root is not None:
            told = replace(told, thread=thread_of(known, place, root, at))
        if outcome is not None:  # of a few ids, so that some are there already
            parent = known[place % len(known)] if known else None
            done = exchange(record[0], parent, parent, at=place, outcome=outcome)
            told = replace(told, exchange=done)

        async def work(store):
            await store.record(told)
            await check_what_is_at_hand(store, record[0], [])

        self.all(work)

    @rule(id=ids, place=places, outcome=words)
    def record_an_exchange_alone(self, id, place, outcome):
        known = self.known(id)
        parent = known[place % len(known)] if known else None
        done = exchange(id, parent, at=8 + place, outcome=outcome, status=429)
        about = talk(id, key=NAMES[id], tenant=CONVERSATIONS[id], at=self.at())
        self.all(lambda store: store.record(update(about, exchange=done)))

    @rule(id=ids, place=places)
    def begin_a_request(self, id, place):
        known = self.known(id)
        under = known[place % len(known)] if known else None
        tenant = CONVERSATIONS[id]
        nodes = chat(f"late {place}", "so", tenant=tenant, under=under)
        about = talk(id, key=NAMES[id], tenant=tenant, at=self.at(), tip=nodes[-1].id)
        done = exchange(id, *nodes, at=16 + len(self.stashed))
        root = thread_of([*known, *nodes], place, (None, "late", (), True, False, False), float(place))
        self.stashed.append(update(about, *nodes, exchange=done, thread=root))

    @precondition(lambda self: self.stashed)
    @rule(place=places)
    def end_a_request(self, place):
        late = self.stashed.pop(place % len(self.stashed))
        self.all(lambda store: store.record(late))

    @rule(id=ids, place=places, text=words)
    def sum_up(self, id, place, text):
        known = self.known(id)
        front = known[place % len(known)].hash if known else ECHOES[0]
        summary = Summary(front, text, "small", self.at())
        self.all(lambda store: store.add_summary(id, summary))
        self.all(lambda store: store.find_summary(id, [ECHOES[1], front]))

    @rule(id=ids, place=places, tenant=st.sampled_from([TENANT, OTHER_TENANT]))
    def find(self, id, place, tenant):
        known = self.known(id)
        hashes = [b"?" * 16, known[place % len(known)].hash if known else ECHOES[0], ECHOES[place % 2]]
        self.all(lambda store: store.find(tenant, [id, "conv_b"], hashes))
        self.all(lambda store: store.find_by_history(tenant, hashes[1:2]))
        if known:
            self.all(lambda store: store.path(id, known[place % len(known)].id))

    @rule(id=ids, limit=st.integers(1, 4), before=st.none() | st.integers(0, 20))
    def read_exchanges(self, id, limit, before):
        tenant = CONVERSATIONS[id]
        other = TENANT if tenant == OTHER_TENANT else OTHER_TENANT
        last = exchange(id, None, at=before).id if before is not None else None
        found = self.all(lambda store: store.exchanges(tenant, id, limit=limit, before=last))
        assert len(found) <= limit
        assert self.all(lambda store: store.exchanges(other, id)) == []
        if found:
            assert self.all(lambda store: store.exchange(tenant, id, found[0].id)) == found[0]
            assert self.all(lambda store: store.exchange(other, id, found[0].id)) is None

    @rule(id=ids, limit=st.integers(1, 4))
    def read_threads(self, id, limit):
        found = self.all(lambda store: store.threads(id, limit))
        assert len(found) <= limit
        every = self.all(lambda store: store.threads(id, 1000))
        assert every[:limit] == found
        whole = self.runner.run(self.model.snapshot(id))
        assert sorted(every, key=lambda each: each.root) == list(whole.threads if whole else ())

    @rule(id=ids, age=st.none() | st.integers(0, 3))
    def delete(self, id, age):
        unless_after = None if age is None else float(self.time // 2 - age)
        self.all(lambda store: store.delete(id, unless_after=unless_after))

    @rule(most=st.integers(1, 2), compact=st.booleans())
    def prune(self, most, compact):
        rules = Retention(max_conversations=most)
        self.all(lambda store: prune(store, rules, float(self.time)))
        self.all(lambda store: store.purge(compact=compact))

    @rule(id=ids, gone=st.booleans())
    def take_a_snapshot(self, id, gone):
        whole = self.runner.run(self.model.snapshot(id))
        if whole is not None:
            self.snapshots.append(whole)
        if gone:
            self.all(lambda store: store.delete(id))

    @precondition(lambda self: self.snapshots)
    @rule(place=places, is_newer=st.booleans())
    def bring_in(self, place, is_newer):
        whole = self.snapshots[-1 - place % len(self.snapshots)]
        if is_newer:
            whole = replace(whole, conversation=replace(whole.conversation, updated_at=self.at()))
        self.all(lambda store: store.add_snapshot(whole))

    @rule(id=ids, text=words)
    def rewrite(self, id, text):
        def change(whole):
            usage = f'{{"of":"{text}"}}'.encode()
            return replace(
                whole,
                nodes=tuple(replace(node, usage=usage) for node in whole.nodes),
                summaries=tuple(replace(each, text=text) for each in whole.summaries),
                exchanges=tuple(replace(each, detail=Detail(finish=text)) for each in whole.exchanges),
                threads=tuple(replace(each, model=text, tools=(text, text)) for each in whole.threads),
            )

        self.all(lambda store: store.replace_snapshot(id, change))

    @rule(name=words, value=places, forgotten=st.booleans())
    def learn(self, name, value, forgotten):
        self.all(lambda store: store.save_learned(name, bytes([value])))
        self.all(lambda store: as_list(store.load_learned()))
        if forgotten:
            self.all(lambda store: store.delete_learned())

    @rule(rekeyed=st.booleans())
    def open_again(self, rekeyed):
        async def work():
            await self.close()
            self.keys += rekeyed and self.keys < len(KEYS)
            await self.open()
            if rekeyed:
                await self.others[ENCRYPTED].re_encrypt(lambda _: None)
            await self.compare()

        self.runner.run(work())

    @rule()
    def copy_and_export(self):
        async def work(store):
            copy = MemoryStore()
            await copied(store, copy, Progress("copied", out=io.StringIO()))
            lines = []
            async for each in store.conversations():
                exchanges = await copy.exchanges(each.tenant, each.id)
                threads = await copy.threads(each.id)
                lines.append(as_json(each, await copy.tree(each.id), threads, exchanges))
                assert await copy.snapshot(each.id) == await store.snapshot(each.id)
            return lines

        self.all(work)

    @rule()
    def list_and_verify(self):
        async def work(store):
            told = []
            async for held in store.conversation_stats():
                # The ids here are not keyed by a secret, which is what else would be said.
                whole = await store.snapshot(held.id)
                said = wrongs(whole, store.secret)
                assert [each for each in said if each.startswith(("exchange", "message"))] == []
                # What is large takes up less than it says.
                is_counted = all(len(each.body) <= SMALL for each in whole.nodes)
                told.append(replace(held, size=held.size * is_counted))
            return told

        expected = self.runner.run(work(self.model))
        for store in self.others:
            found = self.runner.run(work(store))
            if store is self.others[ENCRYPTED]:
                assert [replace(each, size=0) for each in found] == [
                    replace(each, size=0) for each in expected
                ]
            else:
                assert found == expected, store


async def as_list(found):
    """With the order."""
    return list((await found).items())


def test_whatever_is_done_in_whatever_order_all_stores_tell_the_same(server):
    class Empty(Stores):
        def __init__(self):
            super().__init__(asyncio.run(server.store_url()))

    # Not made any smaller: that takes minutes, and what failed is short enough.
    phases = [Phase.explicit, Phase.reuse, Phase.generate]
    bounded = settings(max_examples=12, stateful_step_count=20, deadline=None, phases=phases)
    run_state_machine_as_test(Empty, settings=bounded)
