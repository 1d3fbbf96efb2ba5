"""What was deleted from a SQLite store is in none of its files, and a copy is made while it is used."""

from __future__ import annotations

import asyncio
import os
import random
import sqlite3
import string
import tempfile
from base64 import b64encode
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Sent
from sidecar.conversation.records import Snapshot
from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.store import SQLiteStore
from sidecar.store.sqlite import beside, deletion
from sidecar.store.sqlite import maintenance as life
from tests.store.trees import TENANT, chat, exchange, question, reply, talk, thread, update


@pytest.fixture
async def store(tmp_path):
    store = SQLiteStore(str(tmp_path / "sidecar.db"))
    await store.open()
    yield store
    await store.close()


def words(folder):
    """All bytes of the database, of its log and of whatever else lies beside it."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


def text(word, length, seed):
    return f"{word} " + "".join(random.Random(seed).choices(string.ascii_letters, k=length))


async def fill(store, word):
    """Conversations that grow by turns, with messages of all sizes, so that rows move between pages."""
    tips: dict[int, list] = {}
    for at in range(300):
        number = at * 7 % 20
        name = word if number % 2 else "harmless"
        under = tips.get(number, [None])[-1]
        ask = question(text(name, at * 37 % 3000, at), under)
        answer = reply(text(name, at * 91 % 9000, -at), ask, usage=f'{{"of":"{name}"}}'.encode())
        tips.setdefault(number, []).extend([ask, answer])
        system = f'["{name} {at}"]'.encode()
        detail = Detail((answer.id,), target=name, sent=Sent(name, exceptions=((ask.id, name),) * (at % 9)))
        done = exchange(
            f"conv_{number}", ask, answer, outcome=name, model=f"{name}-1", error=name, detail=detail
        )
        about = talk(f"conv_{number}", key=f"{name}-{number}")
        prompt, tools = text(name, at * 53 % 7000, at).encode(), (name,) * (at % 9)
        root = thread(tips[number][at % 2], answer, system=prompt, model=name * (at % 5), tools=tools)
        await store.record(update(about, ask, answer, system=system, exchange=done, thread=root))
    return [f"conv_{number}" for number in range(1, 20, 2)]


@pytest.mark.parametrize("compact", [True, False])
async def test_no_word_of_it_is_left_in_any_file(store, tmp_path, compact):
    ids = await fill(store, "xyzzy")
    assert words(tmp_path).count(b"xyzzy") > 300

    for id in ids:
        await store.delete(id)
    await store.purge(compact=compact)

    assert words(tmp_path).count(b"harmless") > 150
    assert words(tmp_path).count(b"xyzzy") == 0
    await store.close()
    assert words(tmp_path).count(b"xyzzy") == 0


def image(seed):
    """A data URL, and the bytes that it stands for."""
    data = random.Random(seed).randbytes(30_000)
    return f"data:image/png;base64,{b64encode(data).decode()}", data


def is_in(data, found):
    """Is any piece of this in it?"""
    return any(data[at : at + 32] in found for at in range(0, len(data) - 32, 32))


@pytest.mark.parametrize("compact", [True, False])
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.integers(0, 3), st.lists(st.integers(0, 4), max_size=3), st.booleans(), st.integers(0, 9)
        ),
        min_size=2,
        max_size=12,
    ),
    st.sets(st.integers(0, 3), min_size=1, max_size=3),
)
async def test_of_two_that_share_images_one_is_deleted_whole_and_the_other_stays(compact, told, deleted):
    """`told`: in which conversation, with which images, whether the last question was edited, which words."""
    with tempfile.TemporaryDirectory() as folder:
        store = SQLiteStore(str(Path(folder) / "sidecar.db"))
        await store.open()
        try:
            kept: dict[str, dict] = {}
            for number, images, is_edit, word in told:
                nodes = kept.setdefault(f"conv_{number}", {})
                above = [each for each in nodes.values() if each.source == "upstream"][
                    : None if is_edit else -1
                ]
                parts = [{"type": "image_url", "image_url": {"url": image(each)[0]}} for each in images]
                content = [{"type": "text", "text": f"{number} {word}"}, *parts]
                ask = question(content, above[-1] if above else None)
                answer = reply(f"answer {number}", ask)
                nodes |= {ask.id: ask, answer.id: answer}
                await store.record(update(talk(f"conv_{number}"), ask, answer))
            for number in deleted:
                await store.delete(f"conv_{number}")
                kept.pop(f"conv_{number}", None)
            await store.purge(compact=compact)

            for id, nodes in kept.items():
                assert await store.tree(id) == list(nodes.values())
            left = {at for number, images, *_ in told if number not in deleted for at in images}
            found = words(Path(folder))
            assert {at for at in range(5) if is_in(image(at)[1], found)} == left
        finally:
            await store.close()


@pytest.mark.parametrize("compact", [True, False])
async def test_no_exchange_of_it_is_left_in_any_file(store, tmp_path, compact):
    """Where there are more of them than messages, as in a chat that failed over and over."""
    ask = question("hi")
    for name in ("xyzzy", "harmless"):
        many = [exchange(name, ask, outcome=name, detail=Detail(target=f"{name}-2")) for _ in range(1500)]
        known = [thread(question(f"{name} {at}"), model=name, system=name.encode()) for at in range(500)]
        await store.add_snapshot(Snapshot(talk(name), (ask,), exchanges=tuple(many), threads=tuple(known)))
    assert words(tmp_path).count(b"xyzzy") > 2500

    await store.delete("xyzzy")
    await store.purge(compact=compact)

    assert words(tmp_path).count(b"harmless") > 2500
    assert words(tmp_path).count(b"xyzzy") == 0
    assert len(await store.exchanges(TENANT, "harmless", limit=2000)) == 1500
    assert len(await store.threads("harmless", 2000)) == 500


async def test_a_process_that_knows_no_exchanges_or_threads_deletes_them_as_well(store, tmp_path):
    """One of the version before, that had opened the file already."""
    ask, answer = chat("hi", "hello")
    done = exchange("conv_1", ask, answer, outcome="xyzzy")
    root = thread(ask, answer, system=b'["xyzzy"]')
    await store.record(update(talk(), ask, answer, exchange=done, thread=root))
    with closing(sqlite3.connect(tmp_path / "sidecar.db")) as before, before:
        before.execute("PRAGMA foreign_keys = ON")
        before.execute("PRAGMA secure_delete = ON")
        for table in ("message", "echo", "summary", "system_prompt"):
            before.execute(f"DELETE FROM {table} WHERE conversation = 1")
        before.execute("DELETE FROM conversation WHERE number = 1")
    await store.purge(compact=False)

    assert words(tmp_path).count(b"xyzzy") == 0
    await store.record(update(talk(), ask, answer))
    assert await store.exchanges(TENANT, "conv_1") == []
    assert await store.threads("conv_1") == []


async def test_what_a_newer_system_message_replaced_is_gone_as_well(store, tmp_path):
    await store.record(update(talk(), question("hi"), system=b"[1]"))
    await store.record(update(talk(), system=b'["xyzzy"]'))
    await store.record(update(talk(), system=b"[2]"))
    await store.purge(compact=False)

    assert words(tmp_path).count(b"xyzzy") == 0


async def test_what_a_thread_was_sent_last_is_all_that_is_left_of_its_prompts(store, tmp_path):
    ask = question("hi")
    for system in (b"[1]", b'["xyzzy"]', b'["' + b"xyzzy" * 9000 + b'"]', b"[2]"):
        await store.record(update(talk(), ask, thread=thread(ask, system=system, tools=("xyzzy",) * 9)))
    await store.record(update(talk(), ask, thread=thread(ask, system=b"[3]")))
    await store.purge(compact=False)

    assert words(tmp_path).count(b"xyzzy") == 0
    assert await store.threads("conv_1") == [thread(ask, system=b"[3]")]


async def test_compacting_gives_the_space_back(store, tmp_path):
    for id in await fill(store, "xyzzy"):
        await store.delete(id)
    before = (tmp_path / "sidecar.db").stat().st_size
    await store.purge(compact=True)

    assert (tmp_path / "sidecar.db").stat().st_size < 0.7 * before
    assert (tmp_path / "sidecar.db-wal").stat().st_size == 0


async def test_a_deletion_that_was_broken_off_is_found_by_nobody_and_ended_by_the_next_scrub(
    store, tmp_path, monkeypatch
):
    nodes = chat(*(f"xyzzy {number}" for number in range(1000)))
    await store.record(update(talk(key="mine"), *nodes))

    async def breaks_off(self, number):
        raise StoreUnavailable("the power is gone")

    with monkeypatch.context() as patched:
        patched.setattr(life.Maintenance, "_delete_expired", breaks_off)
        with pytest.raises(StoreUnavailable):
            await store.delete("conv_1")

    assert [each async for each in store.conversation_stats()] == []
    assert [each async for each in store.conversations()] == []
    assert await store.find_by_history(talk().tenant, [nodes[1].hash]) is None
    assert await store.snapshot("deleted:1") is None
    assert await store.replace_snapshot("deleted:1", lambda whole: whole) is False
    assert words(tmp_path).count(b"xyzzy") > 500
    await store.purge(compact=False)
    assert words(tmp_path).count(b"xyzzy") == 0


async def test_a_deletion_goes_in_steps_between_which_others_record(store):
    large = [question("x" * 1_100_000)]  # too large to be kept smaller
    for _ in range(11):
        large.append(reply("y" * 1_100_000, large[-1]))
    await store.record(update(talk(), *large))
    steps = 0
    deleting = asyncio.ensure_future(store.delete("conv_1"))
    while not deleting.done():
        steps += 1
        await store.record(update(talk("conv_2"), question(f"{steps}")))

    assert steps >= 3


async def test_a_backup_is_whole_while_turns_are_recorded(store, tmp_path):
    await fill(store, "harmless")
    file = tmp_path / "copy.db"
    recorded = 0
    seen: list[float] = []
    copying = asyncio.ensure_future(store.backup(str(file), seen.append))
    while not copying.done():
        recorded += 1
        await store.record(update(talk(f"new_{recorded}"), *chat("hi", "hello")))
    await copying

    copy = SQLiteStore(str(file))
    await copy.open()
    try:
        kept = [each.id async for each in copy.conversation_stats(sized=False)]
        assert len(kept) >= 20
        assert copy.secret == store.secret
        for id in kept:
            assert await copy.snapshot(id) == await store.snapshot(id)
    finally:
        await copy.close()
    assert file.stat().st_mode & 0o777 == 0o600
    assert not (tmp_path / "copy.db.part").exists()


async def test_a_backup_overwrites_nothing(store, tmp_path):
    file = tmp_path / "copy.db"
    file.write_text("Dear diary")
    with pytest.raises(SidecarError, match="already exists"):
        await store.backup(str(file), lambda share: None)

    assert file.read_text() == "Dear diary"


async def test_a_backup_that_fails_leaves_nothing_behind(store, tmp_path, monkeypatch):
    def fails(connection, *, to):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(life, "_copy", fails)
    with pytest.raises(StoreUnavailable, match="disk is full"):
        await store.backup(str(tmp_path / "copy.db"), lambda share: None)

    assert sorted(os.listdir(tmp_path)) == ["sidecar.db", "sidecar.db-shm", "sidecar.db-wal"]


async def test_a_backup_that_is_given_up_ends_soon_and_leaves_nothing_behind(store, tmp_path, monkeypatch):
    def endless(connection, *, to):
        connection.execute(
            "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
        )

    monkeypatch.setattr(life, "_copy", endless)
    seen: list[float] = []
    copying = asyncio.ensure_future(store.backup(str(tmp_path / "copy.db"), seen.append))
    while not seen:
        await asyncio.sleep(0.05)
    copying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(copying, 10)

    assert sorted(os.listdir(tmp_path)) == ["sidecar.db", "sidecar.db-shm", "sidecar.db-wal"]


async def test_the_whole_of_a_conversation_is_of_one_moment(store):
    nodes = chat("hi", "hello")
    about = talk(tip=nodes[-1].id)
    await store.record(update(about, *nodes))

    async def grows():
        under = nodes[-1]
        for number in range(200):
            under = reply(f"{number}", under)
            await store.record(update(replace(about, tip=under.id), under))

    growing = asyncio.ensure_future(grows())
    while not growing.done():
        whole = await store.snapshot("conv_1")
        assert whole.conversation.tip == whole.nodes[-1].id
    await growing


async def test_a_locked_database_is_said_and_not_waited_for_without_end(store, tmp_path, monkeypatch):
    monkeypatch.setattr(beside, "_LOCK_TIMEOUT", 0.05)
    await store.record(update(talk(), question("hi")))
    with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreUnavailable, match="locked"):
            await store.purge(compact=True)


async def test_while_the_log_waits_for_somebody_who_reads_turns_are_recorded(store, tmp_path):
    await store.record(update(talk(), question("hi")))
    with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM message").fetchall()
        await store.record(update(talk(), question("and?")))
        scrubbing = asyncio.ensure_future(store.purge(compact=False))
        for number in range(10):
            await asyncio.wait_for(store.record(update(talk(), question(f"{number}"))), 3)
            await asyncio.sleep(0.05)
        assert not scrubbing.done()
        other.execute("COMMIT")
        await asyncio.wait_for(scrubbing, 10)
    assert (tmp_path / "sidecar.db-wal").stat().st_size == 0


async def test_a_log_that_somebody_still_reads_is_said_to_be_there(store, tmp_path, monkeypatch):
    monkeypatch.setattr(life, "_LOCK_TIMEOUT", 0.05)
    await store.record(update(talk(), question("hi")))
    with closing(sqlite3.connect(tmp_path / "sidecar.db", isolation_level=None)) as other:
        other.execute("BEGIN")
        other.execute("SELECT * FROM message").fetchall()
        await store.record(update(talk(), question("and?")))
        with pytest.raises(StoreUnavailable, match="while others read"):
            await store.purge(compact=False)


async def test_a_conversation_of_many_large_parts_is_deleted_in_steps(store, monkeypatch):
    for number in range(6):
        ask = question([{"type": "text", "text": text(f"document {number}", 1_000_000, number)}])
        await store.record(update(talk(), ask))
    steps = []
    portion = deletion.delete_portion

    def delete(number, connection):
        steps.append(number)
        return portion(number, connection)

    monkeypatch.setattr(life, "delete_portion", delete)

    assert await store.delete("conv_1")

    assert len(steps) == 2, "after the first, with all messages and five of the parts"
    assert await store._reader.do(lambda reader: reader.execute("SELECT count(*) FROM part").fetchone()) == (
        0,
    )


async def test_what_was_begun_to_be_deleted_is_completed_with_its_parts(store, tmp_path):
    ask = question(image(1)[0])
    await store.record(update(talk(), ask))
    await store._writer.do(
        lambda writer: writer.execute(
            "UPDATE conversation SET id = 'deleted:1', tenant = x'', \"key\" = NULL"
        )
    )
    await store._writer.do(lambda writer: writer.execute("DELETE FROM message"))

    await store.purge(compact=False)

    assert not is_in(image(1)[1], words(tmp_path))


@pytest.mark.parametrize("change", ["DELETE FROM part", "UPDATE part SET bytes = flipped(bytes)"])
async def test_a_part_that_is_missing_or_damaged_is_told_and_never_another_message(store, change):
    ask = question(image(1)[0])
    await store.record(update(talk(), ask))

    def flipped(held: bytes) -> bytes:
        return held[:-9] + bytes([held[-9] ^ 1]) + held[-8:]

    def damage(writer: sqlite3.Connection) -> None:
        writer.create_function("flipped", 1, flipped)
        assert writer.execute(change).rowcount == 1

    await store._writer.do(damage)

    with pytest.raises(
        StoreUnavailable, match=f"the body of b2:{ask.id.hex()} is not what was written there"
    ):
        await store.tree("conv_1")
