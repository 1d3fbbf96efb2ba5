"""What every store promises of the keys of clients."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store import make_store
from sidecar.store.client_keys import KeyRow
from sidecar.store.encrypted.store import EncryptedStore
from tests.store.conftest import KEY

FIRST = KeyRow("abc", 1, b'{"name":"first"}')


async def test_it_comes_back_and_others_are_not_there(store):
    assert await store.client_key("abc") is None
    assert await store.client_key_ids() == []

    assert await store.put_client_key(FIRST)
    assert await store.put_client_key(KeyRow("aaa", 1, b"\x00\xff", 20_000))

    assert await store.client_key("abc") == FIRST
    assert await store.client_key("aaa") == KeyRow("aaa", 1, b"\x00\xff", 20_000)
    assert await store.client_key("ab") is None
    assert await store.client_key_ids() == ["aaa", "abc"]


async def test_a_newer_version_takes_the_place_of_an_older_one_and_never_the_other_way(store):
    second = FIRST._replace(version=2, data=b"2")
    assert await store.put_client_key(FIRST)
    assert await store.put_client_key(second)
    assert not await store.put_client_key(FIRST)
    assert not await store.put_client_key(second._replace(data=b"another"))
    assert await store.client_key("abc") == second


async def test_of_two_that_change_it_at_once_one_is_told_to_look_again(store):
    assert await store.put_client_key(FIRST)
    new = [FIRST._replace(version=2, data=b"%d" % at) for at in range(2)]
    kept = await asyncio.gather(*(store.put_client_key(each) for each in new))
    assert sorted(kept) == [False, True]
    assert await store.client_key("abc") == new[kept.index(True)]


async def test_the_last_day_on_which_it_was_used_stays(store):
    await store.use_client_key("abc", 20_000)
    assert await store.client_key("abc") is None
    assert await store.put_client_key(FIRST)
    for day, last in ((20_000, 20_000), (19_999, 20_000), (20_001, 20_001)):
        await store.use_client_key("abc", day)
        assert await store.client_key("abc") == FIRST._replace(used=last)

    for version, used, last in ((2, None, 20_001), (3, 5, 20_001), (4, 20_002, 20_002)):
        assert await store.put_client_key(FIRST._replace(version=version, used=used))
        assert await store.client_key("abc") == FIRST._replace(version=version, used=last)


async def test_it_is_there_when_the_store_is_opened_again(path):
    for _ in range(2):
        store = make_store(path)
        await store.open()
        try:
            if path is not None:
                await store.put_client_key(FIRST)
                assert await store.client_key("abc") == FIRST
        finally:
            await store.close()


@pytest.fixture
async def encrypted(tmp_path):
    """A file in which a key is encrypted."""
    file = str(tmp_path / "sidecar.db")
    store = make_store(file, keys=[KEY])
    await store.open()
    for id in ("abc", "def"):
        assert await store.put_client_key(FIRST._replace(id=id))
    await store.close()
    return file


async def opened(file, keys=(KEY,), **named):
    store = make_store(file, keys=list(keys), **named)
    await store.open()
    return store


CHANGES = {
    "another key's": "UPDATE client_key SET data = (SELECT data FROM client_key WHERE id = 'def')",
    "of another version": "UPDATE client_key SET version = 7",
    "cut": "UPDATE client_key SET data = substr(data, 1, 50)",
    "not encrypted": 'UPDATE client_key SET data = CAST(\'{"name":"first"}\' AS BLOB)',
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
async def test_nothing_of_an_encrypted_one_is_believed_that_was_changed(encrypted, change):
    with closing(sqlite3.connect(encrypted)) as connection, connection:
        assert b"first" not in b"".join(data for (data,) in connection.execute("SELECT data FROM client_key"))
        connection.execute(f"{change} WHERE id = 'abc'")
    store = await opened(encrypted)
    try:
        with pytest.raises(StoreUnavailable, match=r"client key abc is not (what was written|encrypted)"):
            await store.client_key("abc")
        assert await store.client_key("def") == FIRST._replace(id="def")
    finally:
        await store.close()


async def test_a_file_with_keys_that_are_not_encrypted_is_taken_by_rekey_alone(tmp_path):
    file = str(tmp_path / "sidecar.db")
    plain = await opened(file, ())
    assert await plain.put_client_key(FIRST)
    await plain.close()
    with pytest.raises(StoreUnavailable, match="sidecar rekey"):
        await opened(file)

    store = await opened(file, accept_plaintext=True)
    assert isinstance(store, EncryptedStore)
    await store.re_encrypt(lambda _messages: None)
    await store.close()
    store = await opened(file)
    assert await store.client_key("abc") == FIRST._replace(version=2)
    await store.close()


async def test_re_encryption_takes_them_along(encrypted):
    other = bytes(reversed(range(32)))
    store = await opened(encrypted, (other, KEY))
    assert isinstance(store, EncryptedStore)
    await store.use_client_key("abc", 20_000)
    for _ in range(2):
        await store.re_encrypt(lambda _messages: None)
    await store.close()
    store = await opened(encrypted, (other,))
    assert await store.client_key("abc") == FIRST._replace(version=2, used=20_000)
    await store.close()
