"""Whatever is recorded, in whatever order: all stores answer every question alike."""

from __future__ import annotations

import asyncio
import tempfile
from itertools import pairwise
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.records import Summary
from sidecar.conversation.tree import Chain
from sidecar.store import make_store
from tests.store.trees import OTHER_TENANT, TENANT, question, reply, talk, update

CONVERSATIONS = {"conv_a": TENANT, "conv_b": TENANT, "conv_c": OTHER_TENANT}
#: What the client calls each; one is known by what it holds alone.
NAMES = {"conv_a": None, "conv_b": "b", "conv_c": None}
#: Kept once in each conversation, apart from what it is said with.
DOCUMENT = "so it is " * 2000
ECHOES = [bytes([number]) * 16 for number in range(2)]

# A message: under which of those there are (modulo; 0: at the root), what it says, and how it ended.
messages = st.tuples(
    st.integers(0, 7),
    st.sampled_from(["user", "assistant", "tool"]),
    st.sampled_from(["hi", "hello", DOCUMENT]),
    st.sampled_from(["complete", "partial", "failed"]),
)
records = st.tuples(
    st.sampled_from(sorted(CONVERSATIONS)),
    st.lists(messages, max_size=4),
    st.integers(0, 7),  # where the tip is
    st.lists(st.tuples(st.sampled_from(ECHOES), st.integers(0, 7)), max_size=2),
    st.sampled_from([None, b"[1]", b"[2]"]),
    st.booleans(),
    st.sampled_from([None, b"w1", b"w2"]),
)


@settings(max_examples=40, deadline=None)
@given(st.lists(records, max_size=8))
def test_memory_and_file_answer_every_question_alike(history):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(history, str(Path(folder) / "sidecar.db")))


@settings(max_examples=12, deadline=None)
@given(st.lists(records, max_size=8))
def test_memory_and_a_encrypted_file_answer_every_question_alike(history):
    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(compare(history, str(Path(folder) / "sidecar.db"), keys=[bytes(32)]))


@settings(max_examples=12, deadline=None)
@given(history=st.lists(records, max_size=8))
def test_memory_and_postgresql_answer_every_question_alike(server, history):
    asyncio.run(compare(history, asyncio.run(server.store_url())))


async def compare(history, path, keys=()):
    stores = [make_store(None), make_store(path, keys=keys)]
    for store in stores:
        await store.open()
    known: dict[str, list] = {id: [] for id in CONVERSATIONS}
    try:
        for time, record in enumerate(history, 1):
            told = as_turn(known[record[0]], record, float(time // 2))
            for store in stores:
                await store.record(told)
                if record[3]:  # a summary of whatever stands where an echo does
                    front = Summary(record[3][0][0], told.conversation.id, "small", float(time))
                    await store.add_summary(told.conversation.id, front)
                await check_what_is_at_hand(store, told.conversation.id, known[record[0]])
        first, second = [await everything(store, known) for store in stores]
        assert first == second
    finally:
        for store in stores:
            await store.close()


async def check_what_is_at_hand(store, id, nodes):
    """What is known without asking is what the store would say: of every path there is, and one below it."""
    tenant, above = CONVERSATIONS[id], {node.id: node for node in nodes}
    for node in nodes:
        hashes = [Chain(tenant).hash(node.hash, b"below")]
        while node is not None:
            hashes.append(node.hash)
            node = above.get(node.parent)
        found = store.find_cached(tenant, [id], hashes)
        assert found is None or found == await store.find(tenant, [id], hashes)


def as_turn(known, record, at):
    """The turn of this record; `known` holds the conversation's nodes and gets the new ones."""
    id, new, tip, echoes, system, full, weights = record
    tenant, nodes = CONVERSATIONS[id], []
    for place, role, text, state in new:
        under = [None, *known][place % (len(known) + 1)]
        if role == "assistant":
            nodes.append(reply(text, under, tenant=tenant, at=at, state=state))
        else:
            nodes.append(question(text, under, role=role, tenant=tenant, at=at))
        known += nodes[-1:]
    named = [(hash, known[place % len(known)].id) for hash, place in echoes if known]
    at_tip = known[tip % len(known)].id if known and tip else None
    about = talk(
        id, key=NAMES[id], tenant=tenant, at=at, full=full, system=system, tip=at_tip, weights=weights
    )
    return update(about, *nodes, echoes=named, system=system)


async def everything(store, known):
    """The answer to every question that makes sense, and to some that do not."""
    hashes = [*ECHOES, b"?" * 16, *(node.hash for nodes in known.values() for node in nodes)]
    answers = [[each async for each in store.conversations(name)] for name in (None, "a", "conv_b", "?")]
    for id in known:
        answers += [await store.tree(id), await store.system(id), await store.find_summary(id, hashes)]
        answers.append(await store.find_summary(id, hashes[::-1]))
        answers += [await store.path(id, node.id) for node in known[id]]
        for tenant in (TENANT, OTHER_TENANT):
            answers += [await store.find(tenant, ["?", id, "conv_b"], [hash]) for hash in hashes]
            answers.append(await store.find(tenant, [id], hashes))
    for tenant in (TENANT, OTHER_TENANT):
        for nodes in known.values():
            answers += [await store.find_by_history(tenant, [node.hash]) for node in nodes]
            for before, node in pairwise(nodes):
                answers.append(await store.find_by_history(tenant, [node.hash, before.hash]))
                found = await store.candidates(tenant, [before.hash], [node.digest])
                answers.append(list(found.items()))
        for hash in ECHOES:
            answers.append(await store.find_by_history(tenant, [hash]))
            answers.append(list((await store.candidates(tenant, [hash], [])).items()))
    return answers
