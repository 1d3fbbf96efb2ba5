"""What every store promises of large parts, such as images and documents: each once in its conversation."""

from __future__ import annotations

import random
from base64 import b64encode

import pytest
from msgspec.structs import replace

from sidecar.conversation.records import Snapshot
from sidecar.store import MemoryStore, make_store
from sidecar.store.encrypted.store import EncryptedStore
from tests.store.conftest import KEY
from tests.store.trees import OTHER_TENANT, TENANT, chat, message, question, reply, talk, update

IMAGE = f"data:image/png;base64,{b64encode(random.Random(1).randbytes(300_000)).decode()}"
OTHER = f"data:image/png;base64,{b64encode(random.Random(2).randbytes(300_000)).decode()}"
DOCUMENT = 'He said: "so it is". ' + "".join(random.Random(3).choices("abcdefgh\n", k=200_000))
#: Bytes that any message takes besides.
LITTLE = 2000


def asked(text, *parts, under=None, **about):
    """A question about images and documents."""
    told = [{"type": "text", "text": each} for each in (text, *parts) if not each.startswith("data:")]
    told += [{"type": "image_url", "image_url": {"url": each}} for each in parts if each.startswith("data:")]
    return question(told, under, **about)


async def size(store, id="conv_1"):
    return sum([each.size async for each in store.conversation_stats() if each.id == id])


def is_kept_twice(store):
    """Does it keep all that it is given? Python's memory is nobody's disk."""
    return isinstance(store, MemoryStore)


@pytest.fixture
async def encrypted_postgres(server):
    store = make_store(server.url(await server.database()), keys=[KEY])
    await store.open()
    yield store
    await store.close()


@pytest.mark.parametrize("parts", [[IMAGE], [DOCUMENT], [IMAGE, OTHER, DOCUMENT, IMAGE]])
async def test_an_edited_question_keeps_its_images_and_documents_once(store, parts):
    await store.record(update(talk(), asked("What is it?", *parts)))
    before = await size(store)
    edited = [asked(f"What is it, in {number} words?", *parts) for number in range(5)]
    for each in edited:
        await store.record(update(talk(), each, reply("A picture.", each)))

    grown = await size(store) - before
    if is_kept_twice(store):
        assert grown > 5 * before - LITTLE
    else:
        assert grown < 5 * LITTLE + (5 * 12 * 64 if isinstance(store, EncryptedStore) else 0)


async def test_so_does_the_same_image_in_another_turn_or_after_a_summary_of_what_was_said(store):
    first = asked("What is it?", IMAGE)
    turns = [first, *chat("Really?", "Yes.", under=reply("A picture.", first))]
    await store.record(update(talk(), *turns))
    before = await size(store)
    again = asked("And now?", IMAGE, under=turns[-1])
    compacted = asked("We spoke of:", IMAGE)
    result = message({"role": "tool", "tool_call_id": "c", "content": IMAGE}, compacted)
    await store.record(update(talk(), again, compacted, result))

    assert is_kept_twice(store) or await size(store) - before < 4 * LITTLE


async def test_whoever_asks_gets_what_was_said(store):
    ask = asked("What is it?", IMAGE, DOCUMENT)
    answer = reply("A picture.", ask)
    edited = asked("What is that?", IMAGE, DOCUMENT)
    small = asked("And this?", under=answer)
    nodes = [ask, answer, edited, small]
    await store.record(update(talk(), *nodes))

    assert await store.tree("conv_1") == nodes
    assert await store.path("conv_1", small.id) == [ask, answer, small]
    assert await store.messages("conv_1", [edited.id, ask.id]) == [ask, edited]
    for node in nodes:
        assert (await store.find(TENANT, ["conv_1"], [node.hash])).nodes == {node.hash: [node]}
    assert await store.find_by_history(TENANT, [small.hash, answer.hash]) == "conv_1"
    assert await store.snapshot("conv_1") == Snapshot(talk(), tuple(nodes))


async def test_so_does_whoever_asks_for_megabytes(store):
    ask = asked("What is it?", IMAGE + "A" * 1_000_000)
    await store.record(update(talk(), ask))

    assert await store.tree("conv_1") == [ask]


async def test_a_message_is_as_large_as_with_its_parts(store):
    ask = asked("What is it?", IMAGE)
    few = asked("What is it?", IMAGE[:20_000], tenant=OTHER_TENANT)
    await store.record(update(talk(), ask))
    await store.record(update(talk("conv_2", tenant=OTHER_TENANT), few))

    encrypted = 200 if isinstance(store, EncryptedStore) else 0
    (stem,) = (await store.outline("conv_1")).stems
    assert 0 <= stem.size - len(ask.body) <= encrypted
    found = {each.id: each for each in (await store.overviews()).conversations}
    assert 0 <= found["conv_1"].first_size - len(ask.body) <= encrypted
    assert found["conv_1"].first is None, "it is not read for a list"
    assert found["conv_2"].first == few


async def test_no_two_conversations_share_a_part(store):
    for number, tenant in enumerate([TENANT, TENANT, OTHER_TENANT]):
        about = talk(f"conv_{number}", tenant=tenant)
        await store.record(update(about, asked("What is it?", IMAGE, tenant=tenant)))

    assert min([await size(store, f"conv_{number}") for number in range(3)]) > 300_000
    for number in (1, 0):
        assert await store.delete(f"conv_{number}")
        assert await size(store, f"conv_{number}") == 0
        await store.purge(compact=False)
        assert await store.tree("conv_2") == [asked("What is it?", IMAGE, tenant=OTHER_TENANT)]


async def test_what_was_deleted_and_comes_again_is_there_as_a_whole(store):
    ask, edited = asked("What is it?", IMAGE), asked("What is that?", IMAGE)
    for _ in range(2):
        await store.record(update(talk(), ask))
        await store.record(update(talk(), edited))
        assert await store.tree("conv_1") == [ask, edited]
        assert await store.delete("conv_1")


async def test_recorded_again_it_takes_no_more_room(store):
    ask, edited = asked("What is it?", IMAGE), asked("What is that?", IMAGE)
    await store.record(update(talk(), ask, edited))
    before = await size(store)
    await store.record(update(talk(), ask, edited))
    await store.add_snapshot(await store.snapshot("conv_1"))

    assert await size(store) == before
    assert await store.tree("conv_1") == [ask, edited]


async def test_what_goes_on_from_a_deleted_message_leaves_no_part(store):
    ask = asked("What is it?")
    await store.record(update(talk(), ask))
    before = await size(store)
    gone = reply("It was deleted.", ask)
    await store.record(update(talk(), asked("And this?", IMAGE, under=gone)))

    assert await size(store) == before


async def test_what_is_replaced_keeps_its_parts_once_and_leaves_none_of_before(store):
    ask, edited = asked("What is it?", IMAGE), asked("What is that?", IMAGE)
    await store.record(update(talk(), ask, edited))
    before = await size(store)

    def change(whole):
        return replace(
            whole,
            nodes=tuple(replace(each, body=each.body.replace(b"iVBOR", b"AAAAA")) for each in whole.nodes),
        )

    def other(whole):
        bodies = [each.body.replace(IMAGE.encode(), OTHER.encode()) for each in whole.nodes]
        pairs = zip(whole.nodes, bodies, strict=True)
        return replace(whole, nodes=tuple(replace(each, body=body) for each, body in pairs))

    assert await store.replace_snapshot("conv_1", other)
    assert OTHER.encode() in (await store.tree("conv_1"))[1].body
    assert await size(store) == before
    assert await store.replace_snapshot("conv_1", change)
    assert await size(store) == before


async def test_a_copy_in_another_store_is_as_small_and_says_the_same(store, encrypted_postgres, tmp_path):
    ask, edited = asked("What is it?", IMAGE, DOCUMENT), asked("What is that?", IMAGE, DOCUMENT)
    await store.record(update(talk(), ask, reply("A picture.", ask), edited))
    whole = await store.snapshot("conv_1")
    file = make_store(str(tmp_path / "copy.db"))
    await file.open()

    for other in (encrypted_postgres, file):
        await other.add_snapshot(whole)
        assert await size(other) < 0.6 * sum(len(each.body) for each in whole.nodes)
        assert await other.snapshot("conv_1") == whole
    await file.close()


async def test_in_an_encrypted_postgresql_as_well(encrypted_postgres):
    store = encrypted_postgres
    await test_whoever_asks_gets_what_was_said(store)
    await store.delete("conv_1")
    await test_an_edited_question_keeps_its_images_and_documents_once(store, [IMAGE, DOCUMENT])
    await store.delete("conv_1")
    await test_what_is_replaced_keeps_its_parts_once_and_leaves_none_of_before(store)
