"""What every store promises about summaries (`sidecar/store/base.py`)."""

from __future__ import annotations

import sqlite3
from contextlib import closing

from sidecar.conversation.records import Summary
from sidecar.store import SQLiteStore
from tests.store.trees import chat, talk, update

ONE, TWO, THREE = (bytes([number]) * 16 for number in (1, 2, 3))


def summary(hash, text="They met.", at=1.5):
    return Summary(hash, text, "small", at)


class TestSummaries:
    async def test_one_comes_back_as_it_was_kept(self, store):
        await store.record(update(talk(), *chat("hi", "hello")))
        await store.add_summary("conv_1", summary(ONE, "Grüße \N{GRINNING FACE}"))

        assert await store.find_summary("conv_1", [ONE]) == summary(ONE, "Grüße \N{GRINNING FACE}")

    async def test_the_first_front_that_has_one_wins(self, store):
        await store.record(update(talk(), *chat("hi", "hello")))
        for hash in (ONE, TWO):
            await store.add_summary("conv_1", summary(hash, hash.hex()))

        assert (await store.find_summary("conv_1", [THREE, TWO, ONE])).hash == TWO
        assert (await store.find_summary("conv_1", [ONE, TWO])).hash == ONE

    async def test_there_may_be_none(self, store):
        assert await store.find_summary("conv_1", [ONE]) is None
        await store.record(update(talk(), *chat("hi", "hello")))
        await store.add_summary("conv_1", summary(ONE))

        assert await store.find_summary("conv_1", [TWO]) is None
        assert await store.find_summary("conv_1", []) is None

    async def test_the_first_one_of_a_front_stays(self, store):
        await store.record(update(talk(), *chat("hi", "hello")))
        await store.add_summary("conv_1", summary(ONE))
        await store.add_summary("conv_1", summary(ONE, "Another.", 2.0))

        assert await store.find_summary("conv_1", [ONE]) == summary(ONE)

    async def test_the_same_front_in_two_conversations_has_two(self, store):
        for id in ("conv_a", "conv_b"):
            await store.record(update(talk(id), *chat("hi", "hello")))
        await store.add_summary("conv_a", summary(ONE))

        assert await store.find_summary("conv_b", [ONE]) is None
        await store.add_summary("conv_b", summary(ONE, "b"))
        assert (await store.find_summary("conv_a", [ONE])).text == "They met."
        assert (await store.find_summary("conv_b", [ONE])).text == "b"

    async def test_a_conversation_that_is_not_there_gets_none(self, store):
        await store.add_summary("conv_1", summary(ONE))
        await store.record(update(talk(), *chat("hi", "hello")))

        assert await store.find_summary("conv_1", [ONE]) is None


async def test_in_sqlite_they_go_with_their_conversation(tmp_path):
    file = str(tmp_path / "sidecar.db")
    store = SQLiteStore(file)
    await store.open()
    try:
        for id in ("conv_a", "conv_b"):
            await store.record(update(talk(id), *chat("hi", "hello")))
            await store.add_summary(id, summary(ONE))
        with closing(sqlite3.connect(file)) as other:
            other.execute("PRAGMA foreign_keys = ON")
            other.execute("DELETE FROM conversation WHERE id = 'conv_a'")
            other.commit()

            assert other.execute("SELECT count(*) FROM summary").fetchone() == (1,)
        assert await store.find_summary("conv_a", [ONE]) is None
        assert await store.find_summary("conv_b", [ONE]) == summary(ONE)
    finally:
        await store.close()
