"""What every store promises of requests that are kept as their clients sent them."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store import make_store
from sidecar.store.encrypted.store import EncryptedStore
from tests.store.conftest import KEY
from tests.store.trees import OTHER_TENANT, TENANT, chat, exchange, question, talk, update


async def asked(store, number: int, id="conv_1"):
    """So many exchanges of one conversation, the oldest first."""
    ask = question("hi")
    done = [exchange(id, ask) for _ in range(number)]
    for each in done:
        await store.record(update(talk(id), ask, exchange=each))
    return [each.id for each in done]


async def kept(store, ids, id="conv_1"):
    return [await store.kept_request(TENANT, id, each) for each in ids]


async def size_of(store):
    return [each.size async for each in store.conversation_stats()]


async def test_it_comes_back_to_its_own_tenant_alone(store):
    ids = await asked(store, 2)
    await store.keep_request("conv_1", ids[0], b"\x00bytes\xff", most=100)

    assert await kept(store, ids) == [b"\x00bytes\xff", None]
    assert await store.kept_request(OTHER_TENANT, "conv_1", ids[0]) is None
    assert await store.kept_request(TENANT, "conv_2", ids[0]) is None


async def test_none_is_kept_of_an_exchange_that_is_not_there(store):
    (id,) = await asked(store, 1)
    await store.keep_request("conv_1", b"other" * 2, b"a", most=100)
    await store.keep_request("conv_2", id, b"a", most=100)

    assert await store.kept_request(TENANT, "conv_1", b"other" * 2) is None
    assert await store.kept_request(TENANT, "conv_2", id) is None


async def test_kept_twice_it_is_as_it_was_first(store):
    (id,) = await asked(store, 1)
    for each in (b"first", b"second"):
        await store.keep_request("conv_1", id, each, most=100)
    assert await kept(store, [id]) == [b"first"]


async def test_without_room_for_others_the_newest_is_kept_alone(store):
    ids = await asked(store, 3)
    for at, each in enumerate(ids):
        await store.keep_request("conv_1", each, b"%d" % at, most=0)
    assert await kept(store, ids) == [None, None, b"2"]


async def test_where_they_take_too_much_the_oldest_go(store):
    ids = await asked(store, 4)
    for each in ids:
        await store.keep_request("conv_1", each, b"x" * 400, most=1000 + 2 * 64)  # encrypted they are longer
    assert await kept(store, ids) == [None, None, b"x" * 400, b"x" * 400]


async def test_an_older_one_that_comes_late_is_not_kept_in_place_of_a_newer(store):
    ids = await asked(store, 2)
    for at in (1, 0):
        await store.keep_request("conv_1", ids[at], b"%d" % at, most=0)
    assert await kept(store, ids) == [None, b"1"]


async def test_they_count_in_what_a_conversation_takes(store):
    (id,) = await asked(store, 1)
    (before,) = await size_of(store)
    await store.keep_request("conv_1", id, b"x" * 1000, most=0)
    (after,) = await size_of(store)
    assert after - before in range(1000, 1065)


async def test_they_are_deleted_with_their_conversation_and_with_no_other(store):
    ids, others = await asked(store, 300), await asked(store, 1, "conv_2")
    for each in ids:
        await store.keep_request("conv_1", each, b"x", most=1 << 20)
    await store.keep_request("conv_2", others[0], b"y", most=0)
    assert await store.delete("conv_1")

    for each in ids[:3]:
        await store.record(update(talk(), *chat("hi", "hello")))
        assert await store.kept_request(TENANT, "conv_1", each) is None
    assert await kept(store, others, "conv_2") == [b"y"]


async def test_all_are_dropped_at_once(store):
    ids = await asked(store, 250)
    for each in ids:
        await store.keep_request("conv_1", each, b"x", most=1 << 20)
    await store.drop_requests()
    await store.drop_requests()

    assert set(await kept(store, ids)) == {None}
    assert len(await store.exchanges(TENANT, "conv_1", limit=300)) == 250


async def test_they_are_no_part_of_a_snapshot(store):
    (id,) = await asked(store, 1)
    before = await store.snapshot("conv_1")
    await store.keep_request("conv_1", id, b"x", most=0)
    assert await store.snapshot("conv_1") == before


@pytest.mark.parametrize("keys", [[], [KEY]])
async def test_in_a_file_nothing_of_a_deleted_one_can_be_read_and_of_an_encrypted_one_never(tmp_path, keys):
    def words():
        return b"".join(each.read_bytes() for each in tmp_path.glob("sidecar.db*") if each.is_file())

    store = make_store(str(tmp_path / "sidecar.db"), keys=keys)
    await store.open()
    try:
        ids = await asked(store, 3)
        for number, each in enumerate(ids):
            await store.keep_request("conv_1", each, b"mellon-%d " % number * 2000, most=30_000)
        await store.purge(compact=False)
        assert (b"mellon-0" in words(), b"mellon-2" in words()) == (False, not keys)
        await store.delete("conv_1")
        await store.purge(compact=False)
        assert b"mellon" not in words()
    finally:
        await store.close()


async def test_one_that_was_put_in_anothers_place_is_not_read(tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"), keys=[KEY])
    await store.open()
    try:
        ids = await asked(store, 2)
        await store.keep_request("conv_1", ids[0], b"bytes", most=100)
        with closing(sqlite3.connect(tmp_path / "sidecar.db")) as connection, connection:
            connection.execute("UPDATE kept_request SET exchange = ?", (ids[1],))
        with pytest.raises(StoreUnavailable, match="changed"):
            await store.kept_request(TENANT, "conv_1", ids[1])
    finally:
        await store.close()


async def test_another_key_takes_none_along(tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    ids = await asked(store, 1)
    await store.keep_request("conv_1", ids[0], b"bytes", most=100)
    await store.close()
    sealed = EncryptedStore(make_store(str(tmp_path / "sidecar.db")), [KEY], accept_plaintext=True)
    await sealed.open()
    try:
        await sealed.re_encrypt(lambda _: None)
        assert await kept(sealed, ids) == [None]
    finally:
        await sealed.close()
