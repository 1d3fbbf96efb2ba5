"""What was said cannot be read without the key, nor guessed, nor put elsewhere."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Sent, packed
from sidecar.conversation.records import Snapshot, Summary, Thread
from sidecar.errors import StoreUnavailable
from sidecar.store import MemoryStore, make_store
from sidecar.store.encrypted.cipher import (
    ENCRYPTED,
    BlockPseudonym,
    ContentCipher,
    TenantPseudonym,
    is_encrypted,
)
from sidecar.store.encrypted.content import Content
from sidecar.store.encrypted.store import EncryptedStore
from sidecar.store.parts import WITH_SEALED_PARTS, shell, shell_of
from tests.store.trees import OTHER_TENANT, TENANT, chat, exchange, question, reply, talk, thread, update

OLD, NEW = bytes(range(32)), bytes(range(32, 64))
FRONT = b"f" * 16


class Stores:
    """One file, opened with whatever keys."""

    def __init__(self, folder):
        self.folder, self.path = folder, str(folder / "sidecar.db")
        self._open = []

    async def __call__(self, *keys, **options):
        await self.close()
        store = make_store(self.path, keys=keys, **options)
        await store.open()
        self._open.append(store)
        return store

    async def close(self):
        while self._open:
            await self._open.pop().close()

    def words(self):
        return b"".join(file.read_bytes() for file in sorted(self.folder.iterdir()))

    def mixed_by_an_earlier_version(self):
        """As one left a store that was in use when it got a key: nothing is encrypted but the secret."""
        with closing(sqlite3.connect(self.path)) as connection, connection:
            (kept,) = connection.execute("SELECT value FROM secret").fetchone()
            encrypted = ContentCipher([OLD]).encrypt(b"m" + kept, "\0secret")
            connection.execute("UPDATE secret SET value = ?", (encrypted,))

    def execute(self, sql, *values):
        with closing(sqlite3.connect(self.path)) as connection, connection:
            assert connection.execute(sql, values).rowcount > 0


@pytest.fixture
async def stores(tmp_path):
    stores = Stores(tmp_path)
    yield stores
    await stores.close()


async def fill(store, id="conv_1", tenant=TENANT, key="mine"):
    """One conversation with a secret word wherever there may be one."""
    ask, _ = chat("the xyzzy question", "never mind", tenant=tenant)
    answer = reply("the xyzzy answer", ask, tenant=tenant, usage=b'{"of":"xyzzy"}', model="demo")
    about = talk(id, key=key, tenant=tenant, tip=answer.id)
    detail = Detail((answer.id,), target="xyzzy target", sent=Sent("xyzzy rule"))
    done = exchange(id, ask, at=7, detail=detail)
    root = thread(ask, answer, system=b'["xyzzy prompt"]', model="xyzzy model", tools=("xyzzy tool",))
    await store.record(update(about, ask, answer, system=b'["xyzzy system"]', exchange=done, thread=root))
    await store.add_summary(id, Summary(FRONT, "the xyzzy summary", "small", 1.0))
    return ask, answer


async def _filled(stores, *keys):
    store = await stores(*keys)
    await fill(store)
    await fill(store, "conv_2", OTHER_TENANT)
    return store


async def everything(store):
    return [await store.snapshot(each.id) async for each in store.conversation_stats(sized=False)]


def refused(error):
    return pytest.raises(StoreUnavailable, match=error)


async def test_no_file_tells_what_was_said_nor_what_the_hashes_are_keyed_by(stores):
    store = await stores(OLD)
    await fill(store)
    secret = store.secret

    for _ in range(2):
        told = stores.words()
        assert b"xyzzy" not in told
        assert TENANT not in told
        assert secret not in told
        await stores.close()
    assert b"mine" in told, "the client's id, for one, can be read"


async def test_with_the_key_all_of_it_is_there(stores):
    ask, answer = await fill(await stores(OLD))
    store = await stores(OLD)

    assert await store.tree("conv_1") == [ask, answer]
    assert await store.system("conv_1") == (b'["xyzzy system"]', b'["xyzzy system"]')
    assert (await store.find_summary("conv_1", [FRONT])).text == "the xyzzy summary"
    (done,) = await store.exchanges(TENANT, "conv_1")
    assert (done.detail.target, done.detail.sent) == ("xyzzy target", Sent("xyzzy rule"))
    assert await store.exchange(TENANT, "conv_1", done.id) == done
    (root,) = await store.threads("conv_1")
    assert (root.system, root.model, root.tools) == (b'["xyzzy prompt"]', "xyzzy model", ("xyzzy tool",))
    assert [each.tenant async for each in store.conversations()] == [TENANT]
    assert [each.id async for each in store.conversation_stats(tenant=TENANT)] == ["conv_1"]
    assert [each.id async for each in store.conversation_stats(tenant=OTHER_TENANT)] == []


async def test_another_key_stops_the_start_and_says_which_one_is_missing(stores):
    await fill(await stores(OLD))
    with refused(r"encrypted with a key \(called \w{8}\) that is none of encryption.key"):
        await stores(NEW)
    await stores(OLD)


IMAGES = [f"data:image/png;base64,{letter * 20_000}" for letter in "AB"]


async def test_no_file_tells_what_an_image_shows_nor_that_two_tenants_have_the_same(stores):
    store = await stores(NEW)
    for number, tenant in enumerate((TENANT, OTHER_TENANT, TENANT)):
        about = talk(f"conv_{number}", tenant=tenant)
        await store.record(update(about, *[question([text, IMAGES[0]], tenant=tenant) for text in "ab"]))
    await store.close()

    assert b"A" * 64 not in stores.words()
    with closing(sqlite3.connect(stores.path)) as connection:
        parts = connection.execute("SELECT name, bytes FROM part").fetchall()
    assert len(parts) == 3
    assert len({name for name, _bytes in parts}) == len({part[-16_000:] for _name, part in parts}) == 3


async def test_a_part_put_in_the_place_of_another_or_moved_within_its_message_is_an_error(stores):
    store = await stores(NEW)
    asked = [question(["a", *IMAGES]), question(["b", *IMAGES[::-1]]), question(["c", IMAGES[0]])]
    await store.record(update(talk(), *asked))
    assert await store.tree("conv_1") == asked
    with closing(sqlite3.connect(stores.path)) as connection:
        (body, other) = [row[0] for row in connection.execute("SELECT body FROM message LIMIT 2").fetchall()]
    held, swapped = shell_of(body), shell_of(other)
    assert held is not None
    assert swapped is not None
    assert held.names == swapped.names[::-1], "each was kept once"

    for names in (held.names[::-1], held.names[:1] * 2):
        stores.execute(
            "UPDATE message SET body = ? WHERE number = 1", shell(held.size, held.places, names, held.rest)
        )
        with pytest.raises(StoreUnavailable, match="body of b2"):
            await store.tree("conv_1")
    at = len(WITH_SEALED_PARTS) + 8 + 7  # where the lowest byte of the first place stands
    moved = held.rest[:at] + bytes([held.rest[at] + 1]) + held.rest[at + 1 :]
    stores.execute(
        "UPDATE message SET body = ? WHERE number = 1", shell(held.size, held.places, held.names, moved)
    )
    with pytest.raises(StoreUnavailable, match="body of b2"):
        await store.tree("conv_1")


async def test_parts_under_an_older_key_are_encrypted_anew_and_stay_one(stores):
    asked = [question([text, IMAGES[0]]) for text in "abc"]
    store = await stores(OLD)
    await store.record(update(talk(), *asked))
    store = await stores(NEW, OLD)
    more = question(["d", IMAGES[0]])
    await store.record(update(talk(), more))
    assert await store.tree("conv_1") == [*asked, more]

    assert await store.re_encrypt(lambda _: None) == 1
    assert await store.re_encrypt(lambda _: None) == 0
    store = await stores(NEW)
    assert await store.tree("conv_1") == [*asked, more]
    await store.close()
    with closing(sqlite3.connect(stores.path)) as connection:
        assert connection.execute("SELECT count(*) FROM part").fetchone() == (1,)


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_without_a_key_a_encrypted_store_is_not_opened(server, tmp_path, kind):
    path = await server.store_url() if kind == "postgres" else str(tmp_path / "sidecar.db")
    encrypted = make_store(path, keys=[OLD])
    await encrypted.open()
    await fill(encrypted)
    await encrypted.close()
    plain = make_store(path)
    with refused("is encrypted: set encryption.key or encryption.key_file") as caught:
        await plain.open()
    await plain.close()

    assert caught.value.code == ENCRYPTED


async def test_the_settings_secret_keys_the_hashes_and_the_kept_one_stays_encrypted(stores):
    store = await stores(OLD, secret="a secret of some length")

    assert store.secret == b"a secret of some length"
    await fill(store)
    assert b"a secret of some length" not in stores.words()
    assert len((await stores(OLD)).secret) == 32


@pytest.mark.parametrize(
    "swap",
    [
        "UPDATE message SET body = (SELECT body FROM message WHERE number = 2) WHERE number = 1",
        "UPDATE message SET body = (SELECT body FROM message WHERE number = 3) WHERE number = 1",
        "UPDATE message SET body = (SELECT usage FROM message WHERE number = 2) WHERE number = 2",
        "UPDATE message SET body = (SELECT first FROM system_prompt WHERE conversation = 1) WHERE number = 1",
        "UPDATE message SET body = CAST(substr(body, 1, length(body) - 8) || zeroblob(8) AS BLOB)"
        " WHERE number = 1",
    ],
)
async def test_what_was_changed_or_put_elsewhere_does_not_open(stores, swap):
    store = await stores(OLD)
    await fill(store)
    await fill(store, "conv_2", OTHER_TENANT)
    await stores.close()
    stores.execute(swap)
    store = await stores(OLD)

    with refused("changed, or is from elsewhere"):
        await store.tree("conv_1")
    assert len(await store.tree("conv_2")) == 2


@pytest.mark.parametrize(
    "swap",
    [
        "UPDATE exchange SET outcome = 'start' WHERE conversation = 1",
        "UPDATE exchange SET model = NULL WHERE conversation = 1",
        "UPDATE exchange SET parent = zeroblob(24) WHERE conversation = 1",
        "UPDATE exchange SET status = 500 WHERE conversation = 1",
        "UPDATE exchange SET input_tokens = input_tokens + 1 WHERE conversation = 1",
        "UPDATE exchange SET id = x'00000000000861626364' WHERE conversation = 1",
        "UPDATE exchange SET detail = (SELECT detail FROM exchange WHERE conversation = 2)"
        " WHERE conversation = 1",
    ],
)
async def test_an_exchange_that_was_changed_or_put_elsewhere_does_not_open(stores, swap):
    store = await stores(OLD)
    await fill(store)
    await fill(store, "conv_2", OTHER_TENANT)
    await stores.close()
    stores.execute(swap)
    store = await stores(OLD)

    with refused("changed, or is from elsewhere"):
        await store.exchanges(TENANT, "conv_1")
    assert len(await store.exchanges(OTHER_TENANT, "conv_2")) == 1


@pytest.mark.parametrize(
    "swap",
    [
        "UPDATE thread SET system = (SELECT system FROM thread WHERE number = 2) WHERE number = 1",
        "UPDATE thread SET system = (SELECT system FROM thread WHERE number = 3) WHERE number = 1",
        "UPDATE thread SET system = (SELECT first FROM system_prompt WHERE conversation = 1)"
        " WHERE number = 1",
        "UPDATE thread SET model = (SELECT model FROM thread WHERE number = 2) WHERE number = 1",
        "UPDATE thread SET model = (SELECT tools ->> '$[0]' FROM thread WHERE number = 1) WHERE number = 1",
        "UPDATE thread SET tools = (SELECT tools FROM thread WHERE number = 2) WHERE number = 1",
        "UPDATE thread SET root = (SELECT id FROM message WHERE number = 2) WHERE number = 1",
    ],
)
async def test_a_thread_that_was_changed_or_put_elsewhere_does_not_open(stores, swap):
    store = await stores(OLD)
    await fill(store)
    other = question("good day")
    await store.record(update(talk(), other, thread=thread(other)))
    await fill(store, "conv_2", OTHER_TENANT)
    await stores.close()
    stores.execute(swap)
    store = await stores(OLD)

    with refused("thread's (system|model|tools) of b2:[0-9a-f]{48} in conversation conv_1 is not what was"):
        await store.threads("conv_1")
    assert len(await store.threads("conv_2")) == 1


@pytest.mark.parametrize(
    "forged",
    [
        "UPDATE thread SET system = CAST('[]' AS BLOB)",
        "UPDATE thread SET model = 'forged'",
        "UPDATE thread SET tools = CAST('[]' AS BLOB)",
        """UPDATE thread SET tools = CAST('["forged"]' AS BLOB)""",
        """UPDATE thread SET tools = CAST(replace(tools, ']', ',"forged"]') AS BLOB)""",
    ],
)
async def test_a_thread_of_somebody_without_the_key_is_not_believed(stores, forged):
    await fill(await stores(OLD))
    await stores.close()
    stores.execute(forged)
    store = await stores(OLD)

    with refused("is not encrypted, and all of it was"):
        await store.threads("conv_1")
    with refused("is not encrypted, and all of it was"):
        await store.snapshot("conv_1")


async def test_an_encrypted_thread_keeps_what_the_next_turn_does_not_name(stores):
    store = await stores(OLD)
    ask, answer = await fill(store)
    await store.record(update(talk(), thread=Thread(ask.id, tools=())))

    (now,) = await store.threads("conv_1")
    assert now == Thread(ask.id, answer.id, None, "xyzzy model", (), is_answered=True)


async def test_what_somebody_wrote_without_the_key_is_not_believed(stores):
    await fill(await stores(OLD))
    await stores.close()
    stores.execute("UPDATE message SET body = ? WHERE number = 1", b'{"role":"user","content":"forged"}')
    stores.execute("UPDATE summary SET text = 'forged'")
    stores.execute("UPDATE exchange SET detail = ?", packed(Detail(target="forged")))
    store = await stores(OLD)

    with refused("is not encrypted, and all of it was"):
        await store.tree("conv_1")
    with refused("is not encrypted, and all of it was"):
        await store.find_summary("conv_1", [FRONT])
    with refused("is not encrypted, and all of it was"):
        await store.exchanges(TENANT, "conv_1")


FORGED = b'{"role":"user","content":"forged"}'
CLEAR_SECRET = "UPDATE secret SET value = zeroblob(32)"
CLEAR_TENANTS = f"UPDATE conversation SET tenant = x'{TENANT.hex()}'"
CLEAR_BODIES = f"UPDATE message SET body = x'{FORGED.hex()}'"


class TestAStoreThatWasEncrypted:
    @pytest.mark.parametrize("accept_plaintext", [False, True])
    @pytest.mark.parametrize(
        "changes", [[CLEAR_SECRET], [CLEAR_SECRET, CLEAR_BODIES], ["DELETE FROM secret"]]
    )
    async def test_a_secret_that_is_not_encrypted_is_not_taken(self, stores, changes, accept_plaintext):
        await _filled(stores, OLD)
        await stores.close()
        for each in changes:
            stores.execute(each)

        with refused("the secret of the store is not encrypted, and what it holds is"):
            await stores(OLD, accept_plaintext=accept_plaintext)

    async def test_all_of_it_in_clear_is_not_served(self, stores):
        await _filled(stores, OLD)
        await stores.close()
        for each in (CLEAR_SECRET, CLEAR_TENANTS, CLEAR_BODIES):
            stores.execute(each)

        with refused("put a backup in its place"):
            await stores(OLD)

    @pytest.mark.parametrize(
        "change",
        [
            CLEAR_TENANTS,
            "UPDATE conversation SET tenant = zeroblob(33)",
            "UPDATE conversation SET tenant = CAST(x'01' || zeroblob(16) AS BLOB)",
            "UPDATE conversation SET tenant = CAST(substr(tenant, 1, 20) AS BLOB)",
            "UPDATE conversation SET tenant = (SELECT tenant FROM conversation WHERE id = 'conv_2')",
            "UPDATE message SET parent = NULL WHERE number = 2",
            "UPDATE message SET digest = zeroblob(16) WHERE number = 2",
            "UPDATE message SET conversation = 3 - conversation",
        ],
    )
    async def test_a_tenant_or_a_place_that_was_changed_is_an_error(self, stores, change):
        await _filled(stores, OLD)
        await stores.close()
        stores.execute(change)
        store = await stores(OLD)

        with refused("conversation conv_1 is not "):
            await store.snapshot("conv_1")
        assert {each.id async for each in store.conversation_stats()} == {"conv_1", "conv_2"}

    async def test_a_tenant_that_cannot_be_told_hides_no_other_conversation(self, stores):
        await _filled(stores, OLD)
        await stores.close()
        stores.execute("UPDATE conversation SET tenant = zeroblob(33) WHERE id = 'conv_1'")
        store = await stores(OLD)

        assert [each.tenant async for each in store.conversation_stats()] == [b"", OTHER_TENANT]

    @pytest.mark.parametrize("length", [*range(8), 10, 11, 15, 23, 24, 38, 39, 40])
    async def test_a_value_that_was_cut_is_an_error(self, stores, length):
        await _filled(stores, OLD)
        await stores.close()
        stores.execute(f"UPDATE message SET body = CAST(substr(body, 1, {length}) AS BLOB), usage = NULL")
        stores.execute(f"UPDATE summary SET text = substr(text, 1, {length})")
        stores.execute(f"UPDATE system_prompt SET last = CAST(substr(last, 1, {length}) AS BLOB)")
        store = await stores(OLD)

        wrong = refused("in conversation conv_1 is not (what was written there|encrypted)")
        with wrong:
            await store.tree("conv_1")
        with wrong:
            await store.system("conv_1")
        with wrong:
            await store.find_summary("conv_1", [FRONT])
        with wrong:
            await store.snapshot("conv_1")

    async def test_a_cut_secret_is_an_error(self, stores):
        await _filled(stores, OLD)
        await stores.close()
        for length in (38, 11, 8):
            stores.execute(f"UPDATE secret SET value = CAST(substr(value, 1, {length}) AS BLOB)")
            with refused("the secret of the store is not what was written there"):
                await stores(OLD)

    async def test_an_earlier_version_knew_tenants_by_another_name_and_that_goes_on(self, stores):
        store = make_store(stores.path, keys=[OLD])
        assert isinstance(store, EncryptedStore)
        store._pseudonym_type = BlockPseudonym
        await store.open()
        ask, answer = await fill(store)
        await store.close()
        for keys in ([OLD], [NEW, OLD], [NEW]):
            store = await stores(*keys)
            if len(keys) == 2:
                assert await store.re_encrypt(lambda _: None) == 1
            assert [each.id async for each in store.conversation_stats(tenant=TENANT)] == ["conv_1"]
            assert (await store.snapshot("conv_1")).nodes == (ask, answer)
        await stores.close()
        stores.execute("UPDATE conversation SET tenant = CAST(x'01' || zeroblob(16) AS BLOB)")
        with refused("or is another tenant's"):
            await (await stores(NEW)).snapshot("conv_1")


class TestAStoreThatGetsAKey:
    async def test_what_was_there_is_read_and_gone_on_from_and_what_is_new_is_encrypted(self, stores):
        ask, answer = await fill(await stores(), key=None)
        await stores.close()
        stores.mixed_by_an_earlier_version()
        store = await stores(OLD)
        more = question("and plugh?", answer)

        assert await store.tree("conv_1") == [ask, answer]
        assert await store.find_by_history(TENANT, [answer.hash]) == "conv_1"
        assert await store.candidates(TENANT, [], [answer.digest]) == {"conv_1": 2}
        assert (await store.find(TENANT, ["conv_1"], [answer.hash])).nodes == {answer.hash: [answer]}
        assert (await store.find(OTHER_TENANT, ["conv_1"], [answer.hash])).conversation is None
        await store.record(update(talk(), more))
        assert await store.tree("conv_1") == [ask, answer, more]
        await fill(store, "conv_2")
        assert [each.id async for each in store.conversation_stats(tenant=TENANT)] == ["conv_2", "conv_1"]
        assert (await store.find_summary("conv_1", [FRONT])).text == "the xyzzy summary"
        assert b"plugh" not in stores.words()
        assert b"xyzzy" in stores.words()

    async def test_it_keeps_its_secret_and_no_longer_opens_without_the_key(self, stores):
        plain = await stores()
        await fill(plain)
        secret = plain.secret

        store = await stores(OLD, accept_plaintext=True)
        assert store.secret == secret
        with refused("is encrypted: set"):
            await stores()
        await (await stores(OLD, accept_plaintext=True)).re_encrypt(lambda _: None)
        assert (await stores(OLD)).secret == secret

    async def test_only_who_encrypts_it_takes_it(self, stores):
        before = await everything(await _filled(stores))
        for _ in range(2):
            with refused("is not encrypted, and there is a key: `sidecar rekey` encrypts it"):
                await stores(OLD)
        store = await stores(OLD, accept_plaintext=True)
        assert await everything(store) == before

        with refused("encrypted in part, since `sidecar rekey` was broken off: run it again"):
            await stores(OLD)
        await (await stores(OLD, accept_plaintext=True)).re_encrypt(lambda _: None)
        assert await everything(await stores(OLD)) == before

    async def test_once_gone_over_nothing_of_it_can_be_read(self, stores):
        store = await stores()
        await fill(store)
        await fill(store, "conv_2", OTHER_TENANT)
        before, secret = await everything(store), store.secret
        store = await stores(OLD, accept_plaintext=True)
        seen: list[int] = []

        assert await store.re_encrypt(seen.append) == 2
        await store.purge(compact=True)

        assert seen == [2, 2]
        told = stores.words()
        assert (b"xyzzy" in told, TENANT in told, OTHER_TENANT in told, secret in told) == (False,) * 4
        store = await stores(OLD)
        assert await everything(store) == before
        assert await store.re_encrypt(seen.append) == 0
        stores.execute("UPDATE message SET body = ? WHERE number = 1", b'{"content":"forged"}')
        with refused("is not encrypted"):
            await store.tree("conv_1")


class TestRotation:
    async def test_all_keys_decrypt_and_the_first_encrypts(self, stores):
        _, answer = await fill(await stores(OLD))
        store = await stores(NEW, OLD)
        before = await everything(store)
        more = question("and?", answer)
        await store.record(update(talk(), more))

        assert len(before) == 1
        assert len(await store.tree("conv_1")) == 3
        with refused("none of encryption.key"):
            await stores(NEW)

    async def test_after_the_store_was_gone_over_the_old_key_is_not_needed(self, stores):
        store = await stores(OLD)
        await fill(store)
        await fill(store, "conv_2", OTHER_TENANT)
        before = await everything(store)

        assert await (await stores(NEW, OLD)).re_encrypt(lambda _: None) == 2
        assert await everything(await stores(NEW)) == before
        with refused("none of encryption.key"):
            await stores(OLD)

    async def test_a_conversation_of_exchanges_alone_is_gone_over_as_well(self, stores):
        done = exchange("conv_1", None)
        await (await stores(OLD)).record(update(talk(), exchange=done))

        assert await (await stores(NEW, OLD)).re_encrypt(lambda _: None) == 1
        assert await (await stores(NEW)).exchanges(TENANT, "conv_1") == [done]

    async def test_a_conversation_of_a_thread_alone_is_gone_over_as_well(self, stores):
        root = thread(question("hi"))
        await (await stores(OLD)).record(update(talk(), thread=root))

        assert await (await stores(NEW, OLD)).re_encrypt(lambda _: None) == 1
        store = await stores(NEW)
        assert await store.threads("conv_1") == [root]
        assert await store.re_encrypt(lambda _: None) == 0

    async def test_a_model_that_stayed_as_it_was_is_gone_over_as_well(self, stores):
        root = thread(question("hi"))
        await (await stores(OLD)).record(update(talk(), thread=root))
        store = await stores(NEW, OLD)
        await store.record(update(talk(), thread=replace(root, model=None)))

        assert await store.re_encrypt(lambda _: None) == 1
        assert await (await stores(NEW)).threads("conv_1") == [root]

    async def test_broken_off_it_goes_on_with_what_is_left(self, stores):
        store = await stores(OLD)
        for number in range(5):
            await fill(store, f"conv_{number}")
        before = await everything(store)
        store = await stores(NEW, OLD)
        seen = []

        def breaks_off(messages):
            seen.append(messages)
            if len(seen) == 3:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await store.re_encrypt(breaks_off)
        store = await stores(NEW, OLD)
        assert await everything(store) == before
        assert await store.re_encrypt(lambda _: None) == 2
        assert await everything(await stores(NEW)) == before

    async def test_what_is_recorded_meanwhile_stays(self, monkeypatch):
        inner = MemoryStore()
        store = EncryptedStore(inner, [OLD])
        await store.open()
        _, answer = await fill(store)
        later = EncryptedStore(inner, [NEW, OLD])
        await later.open()
        more = question("and?", answer)
        rewrite = inner.replace_snapshot

        async def late(conversation, change):
            await later.record(update(talk(), more))
            return await rewrite(conversation, change)

        monkeypatch.setattr(inner, "replace_snapshot", late)
        assert await later.re_encrypt(lambda _: None) == 1
        assert (await later.tree("conv_1"))[-1] == more

    async def test_one_deleted_meanwhile_is_passed_over(self, monkeypatch):
        inner = MemoryStore()
        store = EncryptedStore(inner, [OLD])
        await store.open()
        await fill(store)

        async def gone(conversation):
            return None

        monkeypatch.setattr(inner, "snapshot", gone)
        assert await store.re_encrypt(lambda _: None) == 0


async def test_a_secret_from_elsewhere_is_kept_encrypted(stores):
    store = await stores(OLD)
    await store.replace_secret(b"s" * 32)
    await fill(store)

    assert b"s" * 32 not in stores.words()
    store = await stores(OLD)
    assert store.secret == b"s" * 32
    assert len(await store.tree("conv_1")) == 2


async def test_a_copy_is_as_encrypted_as_the_store(stores, tmp_path):
    store = await stores(OLD)
    ask, answer = await fill(store)
    await store.backup(str(tmp_path / "copy.db"), lambda share: None)
    copy = make_store(str(tmp_path / "copy.db"), keys=[OLD])
    await copy.open()

    assert await copy.tree("conv_1") == [ask, answer]
    assert b"xyzzy" not in stores.words()
    await copy.close()


async def test_it_says_what_waits_and_checks_like_the_store_inside(stores):
    store = await stores(OLD)

    assert store.waiting() == (0, 0)
    await store.check()
    await store.probe()
    async with store.cross_process_lock("a", 1.0):
        pass


def test_a_piece_opens_in_its_place_alone():
    cipher = ContentCipher([OLD])
    encrypted = cipher.encrypt(b"said", "conv_1", b"node", b"body")

    assert is_encrypted(encrypted)
    assert cipher.decrypt(encrypted, "conv_1", b"node", b"body") == b"said"
    for place in (("conv_2", b"node", b"body"), ("conv_1", b"nod", b"ebody"), ("conv_1", b"node")):
        with refused("changed, or is from elsewhere"):
            cipher.decrypt(encrypted, *place)


def test_the_same_words_never_look_alike():
    cipher = ContentCipher([OLD])

    assert len({cipher.encrypt(b"said", "conv_1") for _ in range(100)}) == 100


def test_what_comes_again_looks_the_same_in_its_place_alone():
    cipher, place = ContentCipher([OLD]), ("conv_1", b"root", b"thread's system")
    encrypted = cipher.encrypt_deterministic(b"xyzzy", *place)

    assert cipher.encrypt_deterministic(b"xyzzy", *place) == encrypted
    assert ContentCipher([OLD, NEW]).encrypt_deterministic(b"xyzzy", *place) == encrypted
    assert cipher.decrypt(encrypted, *place) == b"xyzzy"
    text = cipher.encrypt_text_deterministic("xyzzy", *place)
    assert text == cipher.encrypt_text_deterministic("xyzzy", *place)
    assert cipher.decrypt_text(text, *place) == "xyzzy"
    with refused("changed, or is from elsewhere"):
        cipher.decrypt(encrypted, "conv_1", b"root", b"thread's tools")
    others = [
        cipher.encrypt_deterministic(b"xyzzy", "conv_2", b"root", b"thread's system"),
        cipher.encrypt_deterministic(b"xyzzy", "conv_1", b"rooth", b"thread's system"),
        cipher.encrypt_deterministic(b"xyzzy", "conv_1", b"root", b"thread's tools"),
        cipher.encrypt_deterministic(b"xyzzx", *place),
        ContentCipher([NEW]).encrypt_deterministic(b"xyzzy", *place),
        cipher.encrypt(b"xyzzy", *place),
    ]
    nonces = {each[11:23] for each in (encrypted, *others)}
    assert len(nonces) == 7, "no nonce comes twice with other words, or in another place"


@pytest.mark.parametrize("field", ["system", "model", "tools"])
def test_a_thread_with_one_piece_under_an_older_key_is_not_under_the_newest(field):
    plain = thread(question("hi"))
    old, new = (Content(ContentCipher(keys)).encrypt_thread("conv_1", plain) for keys in ([OLD], [NEW]))
    content, mixed = Content(ContentCipher([NEW, OLD])), replace(new, **{field: getattr(old, field)})

    assert content.is_newest(Snapshot(talk(), threads=(new,)))
    assert not content.is_newest(Snapshot(talk(), threads=(mixed,)))
    assert content.decrypt_thread("conv_1", mixed) == plain


def test_a_text_comes_back_whatever_is_in_it():
    cipher = ContentCipher([OLD])
    for text in ("", "Grüße \N{GRINNING FACE}", "half \ud83d an emoji"):
        assert cipher.decrypt_text(cipher.encrypt_text(text, "c"), "c") == text


@pytest.mark.parametrize("kind", [TenantPseudonym, BlockPseudonym])
def test_a_tenant_has_one_other_name_under_a_secret(kind):
    pseudonyms = kind(b"s" * 32)
    name = pseudonyms.pseudonym(TENANT)

    assert name == kind(b"s" * 32).pseudonym(TENANT) != kind(b"t" * 32).pseudonym(TENANT)
    assert TENANT not in name
    assert pseudonyms.tenant_of(name) == TENANT
    for other in (b"", b"\x01", b"\x02", TENANT, name[:-1], name + b"x", b"\x03" + name[1:]):
        assert pseudonyms.tenant_of(other) is None
    with pytest.raises(ValueError, match="16 bytes"):
        pseudonyms.pseudonym(b"short")


def test_what_is_encrypted_is_version_1():
    """Whoever changes it makes a version 2 that still opens this."""
    golden = "007365616c311bdde13f6e6e6e6e6e6e6e6e6e6e6e6e99e53be8a2cd192b45261d076124dd60ac4504a7"
    encrypted = bytes.fromhex(golden)

    assert ContentCipher([OLD]).decrypt(encrypted, "conv_1", b"node", b"body") == b"said"
    assert BlockPseudonym(b"s" * 32).pseudonym(TENANT).hex() == "016d9ec4e323368893052e6b0540b96c4a"
    assert (
        TenantPseudonym(b"s" * 32).pseudonym(TENANT).hex()
        == "02bb375859389322c5dc49bbd66a483273dbd6b45049521ee1b5e124f48f3e2da7"
    )


def test_a_name_of_a_tenant_that_was_changed_is_nobodys():
    pseudonyms = TenantPseudonym(b"s" * 32)
    name = pseudonyms.pseudonym(TENANT)
    for at in range(len(name)):
        assert pseudonyms.tenant_of(name[:at] + bytes([name[at] ^ 1]) + name[at + 1 :]) is None


async def test_a_postgresql_store_gets_a_key_and_another_one(server):
    url = await server.store_url()
    plain = make_store(url)
    await plain.open()
    _, answer = await fill(plain, key=None)
    await plain.close()
    for keys in ([OLD], [NEW, OLD], [NEW]):
        store = EncryptedStore(make_store(url), keys, accept_plaintext=True)
        await store.open()
        answer = reply(f"and {len(keys)}", answer)
        await store.record(update(talk(), answer))
        assert await store.find_by_history(TENANT, [answer.hash]) == "conv_1"
        if OLD in keys:
            assert await store.re_encrypt(lambda _: None) == 1
            await store.purge(compact=True)
        whole = await store.snapshot("conv_1")
        assert whole is not None
        assert [node.body for node in whole.nodes[:1]] == [question("the xyzzy question").body]
        assert whole.nodes[-1] == answer
        assert whole.conversation.tenant == TENANT
        await store.close()
    raw = make_store(url)
    raw.check_secret = len  # whatever it is
    await raw.open()
    try:
        whole = await raw.snapshot("conv_1")
        assert whole is not None
        assert all(is_encrypted(node.body) for node in whole.nodes)
        assert whole.conversation.tenant != TENANT
    finally:
        await raw.close()


@pytest.mark.parametrize(
    ("texts", "is_aside"), [(("a", "b"), False), (("a" * (2 << 20), "b"), True), (("a", "b") * 300, True)]
)
async def test_what_is_large_is_encrypted_and_decrypted_while_others_are_served(monkeypatch, texts, is_aside):
    store, aside = EncryptedStore(MemoryStore(), [OLD]), []
    to_thread = asyncio.to_thread

    async def watched(work):
        aside.append(work)
        return await to_thread(work)

    await store.open()
    monkeypatch.setattr(asyncio, "to_thread", watched)
    nodes = chat(*texts)
    await store.record(update(talk(tip=nodes[-1].id), *nodes))
    assert await store.tree("conv_1") == list(nodes)
    assert await store.path("conv_1", nodes[-1].id) == list(nodes)
    assert len(aside) == 3 * is_aside
    await store.close()
