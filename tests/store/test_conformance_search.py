"""What was said is found by its words in every store, with an index of it and without, and gone with it."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from msgspec.structs import replace

from sidecar.errors import StoreUnavailable
from sidecar.prompt.search_words import Sought
from sidecar.store import make_store, postings
from sidecar.store.encrypted.store import EncryptedStore
from sidecar.store.postgres.store import PostgresStore
from sidecar.store.searched import Indexed, Where
from tests.store.conftest import KEY
from tests.store.trees import OTHER_TENANT, TENANT, chat, message, question, reply, talk, update

SAID = ("How deep is the Harbour?", "Ten metres, in 2019.", "東京の天気", "Straße nach Łódź", "Houses")


@pytest.fixture
async def store(path):
    store = make_store(path)
    await store.open()
    yield store
    await store.close()


async def index(store):
    """Put all there is into the index; in how many steps."""
    steps = 0
    while await store.index_more():
        steps += 1
    return steps


async def found(store, question, **where):
    await index(store)
    looked = await store.look_for(Sought(question), Where(**{"seconds": 60.0, **where}))
    return [text for _, _, text in looked.found]


async def fill(store, count, *, id="conv_full", words="filler", tenant=TENANT):
    """So many messages in one conversation, one under the other."""
    nodes = chat(*(f"{words} {number}" for number in range(count)), tenant=tenant)
    await store.record(update(talk(id, tenant=tenant), *nodes))
    return nodes


@pytest.mark.parametrize(
    ("question", "expected"),
    [
        ("harbour DEEP", SAID[0]),
        ("metre", SAID[1]),
        ("metr", SAID[1]),
        ("2019", SAID[1]),
        ("京", SAID[2]),
        ("東京", SAID[2]),
        ("の天気", SAID[2]),
        ("strasse", SAID[3]),
        ("łodz", SAID[3]),
        ("house", SAID[4]),
        ("met", None),
        ("etres", None),
        ("20190", None),
        ("201x", None),
        ("京東", None),
        ("harbour metres", None),
    ],
)
@pytest.mark.parametrize("more", [0, postings.SEGMENT])
async def test_words_are_found_in_any_script_with_an_index_and_without(store, more, question, expected):
    await store.record(update(talk(), *chat(*SAID)))
    await fill(store, more)

    assert await found(store, question) == ([expected] if expected else [])


async def test_what_was_said_last_comes_first_and_it_goes_on_from_where_it_came_to(store):
    await fill(store, 2 * postings.SEGMENT + 10)

    first = await found(store, "filler", limit=3)
    assert first == [f"filler {2 * postings.SEGMENT + number}" for number in (9, 8, 7)]
    told, before = [], None
    while True:
        looked = await store.look_for(Sought("filler"), Where(limit=500, before=before))
        told += [text for _, _, text in looked.found]
        if looked.before is None:
            break
        before = looked.before
    assert told == [f"filler {number}" for number in reversed(range(2 * postings.SEGMENT + 10))]


async def test_a_tenant_finds_its_own_alone(store):
    await fill(store, postings.SEGMENT + 5)
    await fill(store, 5, id="conv_other", words="filler of another", tenant=OTHER_TENANT)

    assert await found(store, "another") == [f"filler of another {number}" for number in (4, 3, 2, 1, 0)]
    assert await found(store, "another", tenant=TENANT) == []
    assert len(await found(store, "filler", tenant=OTHER_TENANT)) == 5


async def test_all_branches_are_found_and_each_message_once(store):
    root, answer = chat("Which harbour?", "The old one.")
    again = reply("The harbour in the north.", root)
    await store.record(update(talk(), root, answer))
    await store.record(update(talk(), root, again))
    await store.record(update(talk(), root))

    assert await found(store, "harbour") == ["The harbour in the north.", "Which harbour?"]


async def test_what_says_nothing_or_is_too_large_is_passed_over(store):
    large = message({"role": "user", "content": "harbour " + "x" * postings.LARGEST})
    content = [{"type": "text", "text": "one harbour"}, {"type": "image"}]
    listed = message({"role": "user", "content": content})
    broken = replace(question("harbour"), body=b"[]")
    escaped = message({"role": "user", "content": "ein \u00fcbler harbour"})
    escaped = replace(escaped, body=b'{"role": "user", "content": "ein \\u00fcbler harbour"}')
    await store.record(update(talk(), large, listed, broken, escaped))

    assert await found(store, "harbour") == ["ein übler harbour", "one harbour"]
    assert await found(store, "ubler") == ["ein übler harbour"]


async def test_words_in_a_document_that_is_kept_by_itself_are_found(store):
    document = f"{'so it is ' * 2000} harbour"
    await store.record(update(talk(), message({"role": "user", "content": document})))
    await fill(store, postings.SEGMENT)

    assert await found(store, "harbour") == [document]


async def test_it_ends_when_its_time_is_over_and_goes_on(store):
    await fill(store, 200)
    await index(store)

    looked = await store.look_for(Sought("filler 3"), Where(seconds=0.0))
    assert looked.before is not None
    while looked.before is not None and not looked.found:
        looked = await store.look_for(Sought("filler 3"), Where(seconds=0.001, before=looked.before))
    assert [text for _, _, text in looked.found][:1] == ["filler 3"]


async def test_the_conversation_that_is_found_has_an_overview(store):
    await store.record(update(talk(key="mine"), *chat(*SAID)))
    about = await store.overview("conv_1")
    await store.record(update(talk("conv_2", key="mine", at=9.0)))
    newer = await store.overview("conv_2")

    assert about is not None
    assert (await store.overviews()).conversations == (newer, about)
    assert (await store.overview("mine"), await store.overview("yours")) == (newer, None)


async def test_an_encrypted_store_has_no_index_and_says_so(tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"), keys=[KEY])
    await store.open()
    try:
        await fill(store, 10)
        assert (store.may_index, await store.index_more()) == (False, False)
        with pytest.raises(StoreUnavailable, match="encrypted: there is no index"):
            await store.look_for(Sought("filler"))
        assert await store.overview("conv_full") is not None
    finally:
        await store.close()


@pytest.fixture(params=["sqlite", "postgres"])
def file_or_database(request, tmp_path):
    return (
        request.getfixturevalue("postgres_url") if request.param == "postgres" else str(tmp_path / "kept.db")
    )


@pytest.fixture
async def kept(file_or_database):
    """A store that keeps its index."""
    store = make_store(file_or_database)
    await store.open()
    yield store
    await store.close()


async def rows(store):
    """All rows of the index."""
    query = "SELECT * FROM search_row"
    if isinstance(store, PostgresStore):
        return [tuple(each) for each in await store._database.run(lambda connection: connection.fetch(query))]
    return await store._look(lambda connection: connection.execute(query).fetchall())


async def test_full_parts_come_in_once_and_are_counted(kept):
    await fill(kept, 2 * postings.SEGMENT + 100)
    await index(kept)
    told = await kept.indexed()

    assert (told.segments, told.full) == (2, 2)
    assert told.size == sum(len(row[-1]) for row in await rows(kept)) > 10_000
    assert await index(kept) == 0


async def test_no_word_stands_in_the_index(kept):
    await fill(kept, postings.SEGMENT + 1, words="zanzibar")
    await index(kept)

    assert all(b"zanzi" not in keys for *_, keys in await rows(kept))


async def test_of_a_part_whose_message_is_deleted_nothing_stays_and_the_rest_comes_in_again(kept):
    await kept.record(update(talk("conv_gone"), *chat("The zanzibar", "of old")))
    await index(kept)
    await fill(kept, postings.SEGMENT + 50)
    await index(kept)
    before = await rows(kept)
    assert before
    assert await found(kept, "zanzibar") == ["The zanzibar"]

    assert await kept.delete("conv_gone")
    assert await rows(kept) == []
    assert (await kept.indexed()).segments == 0
    assert await found(kept, "zanzibar") == []
    assert len(await found(kept, "filler", limit=5000)) == postings.SEGMENT + 50
    assert (await kept.indexed()).segments == 1
    assert 0 < len(await rows(kept)) <= len(before)


async def test_what_is_written_while_its_message_is_deleted_does_not_come_in(kept, monkeypatch):
    await kept.record(update(talk("conv_gone"), *chat("The zanzibar", "of old")))
    await index(kept)
    await fill(kept, postings.SEGMENT + 50)
    name = "_database" if isinstance(kept, PostgresStore) else "_writer"
    real = getattr(kept, name)

    class First:
        """Deletes a conversation before a segment is written."""

        def __getattr__(self, name):
            return getattr(real, name)

        async def run(self, work, **about):
            return await self._first(work, real.run)

        async def do(self, work):
            return await self._first(work, real.do)

        async def _first(self, work, do):
            if getattr(getattr(work, "func", None), "__name__", "") in ("_put", "_put_segment"):
                monkeypatch.setattr(kept, name, real)
                assert await kept.delete("conv_gone")
            return await do(work)

    monkeypatch.setattr(kept, name, First())
    assert await kept.index_more()
    assert await rows(kept) == []
    await index(kept)
    assert (await kept.indexed()).segments == 1


async def test_another_secret_makes_it_anew(kept):
    await fill(kept, postings.SEGMENT + 1)
    await index(kept)
    before = await rows(kept)
    await kept.replace_secret(b"another secret of 32 bytes......")

    assert (await kept.indexed()).segments == 0
    assert len(await found(kept, "filler", limit=5000)) == postings.SEGMENT + 1
    assert ((await kept.indexed()).segments, await rows(kept) != before) == (1, True)


async def test_it_is_dropped_when_it_is_wanted_no_more(kept):
    await fill(kept, postings.SEGMENT + 1)
    await index(kept)
    await kept.drop_index()

    assert (await kept.indexed()).segments == 0
    assert (await kept.indexed()).size == 0


async def test_a_store_that_is_encrypted_later_loses_its_index(tmp_path, monkeypatch):
    file = str(tmp_path / "sidecar.db")
    store = make_store(file)
    await store.open()
    await fill(store, postings.SEGMENT + 1)
    await index(store)
    await store.close()
    sealed = make_store(file, keys=[KEY], accept_plaintext=True)
    await sealed.open()
    assert isinstance(sealed, EncryptedStore)
    await sealed.re_encrypt(lambda _: None)
    await sealed.close()

    with closing(sqlite3.connect(file)) as connection:
        assert connection.execute("SELECT count(*) FROM search_row").fetchone() == (0,)


async def test_messages_that_come_in_the_place_of_deleted_ones_are_found(tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    try:
        await fill(store, postings.SEGMENT)
        await fill(store, 20, id="conv_last")
        await index(store)
        await store.delete("conv_last")
        await store.delete("conv_full")
        await fill(store, postings.SEGMENT + 1, id="conv_new", words="other")
        assert await found(store, "filler") == []
        assert len(await found(store, "other", limit=5000)) == postings.SEGMENT + 1
    finally:
        await store.close()


async def test_a_deleted_word_stands_nowhere_in_the_file_nor_its_place_in_the_index(tmp_path):
    file = tmp_path / "sidecar.db"
    store = make_store(str(file))
    await store.open()
    try:
        await store.record(update(talk("conv_gone"), *chat("zanzibar zanzibarine", "xylophones")))
        await fill(store, postings.SEGMENT + 10)
        await index(store)
        gone = [keys[:200] for number, keys in await rows(store)]
        await store.delete("conv_gone")
        await store.purge(compact=False)
        data = b"".join(each.read_bytes() for each in file.parent.glob("sidecar.db*"))
        assert not any(word in data for word in (b"zanzi", b"xylo"))
        assert not any(keys in data for keys in gone if len(keys) > 20)
    finally:
        await store.close()


async def test_a_memory_store_keeps_no_index():
    store = make_store(None)
    assert (await store.index_more(), await store.indexed()) == (False, Indexed(0, 0, 0))
    await store.drop_index()
