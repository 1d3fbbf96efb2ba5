"""Two versions of the sidecar on one PostgreSQL, and a database of the first schema that this one opens.

`recorded/postgres_1.statements` holds what a sidecar of schema 1 sends. It was written down once, and stays.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest
from msgspec.structs import replace

from sidecar.commands.verify import wrongs
from sidecar.conversation.identity import conversation_id, tenant_of
from sidecar.conversation.tree import Chain
from sidecar.export import as_json, as_markdown
from sidecar.store import make_store
from sidecar.store.migrations import migrations
from sidecar.store.postgres import maintenance, schema
from sidecar.store.postgres.rows import arrays_of, keys_of, node_of, number_of
from tests.store.record import SECRET
from tests.store.trees import TENANT, chat, exchange, question, reply, talk, thread, update

FILE = Path(__file__).parent / "recorded" / "postgres_1.statements"
SQL = dict(re.findall(r"^-- name: (\w+)\n(.*?)(?=\n\n-- name: |\Z)", FILE.read_text("utf-8"), re.S | re.M))
SYSTEM = b'[{"role":"system","content":"Be kind."}]'


class Before:
    """What a sidecar of schema 1 does, on one connection, which keeps its prepared statements."""

    def __init__(self, connection):
        self.connection = connection

    async def record(self, turn):
        each, echoes = turn.conversation, dict(turn.echoes)
        about = [number_of(each.id), each.updated_at, each.tip, each.full, each.system, each.weights]
        keys = keys_of(turn.nodes, echoes)
        about += [*arrays_of(turn.nodes), keys, list(echoes), list(echoes.values()), turn.system]
        under = turn.nodes[0].parent if turn.nodes else None
        if under is not None:
            await self.connection.fetchval(SQL["RECORD_UNDER"], *about, None, None, None, under)
        else:
            new = each.id, each.tenant, each.key, each.created_at
            await self.connection.fetchval(SQL["RECORD_BEGINNING"], *about, None, None, None, *new)

    async def tree(self, id):
        return [node_of((*row, None)) for row in await self.connection.fetch(SQL["TREE"], number_of(id))]

    async def find(self, id, hash):
        """The ids of the nodes that it finds."""
        rows = await self.connection.fetch(SQL["FIND"], [number_of(id)], TENANT, [hash])
        return [node_of((*row, None), 11).id for row in rows]

    async def delete(self, id):
        async with self.connection.transaction():
            assert await self.connection.fetchval(SQL["HOLD"], number_of(id)) is not None
            await self.connection.execute(SQL["DELETE"], number_of(id))

    async def conversation_stats(self):
        rows = await self.connection.fetch(SQL["COUNTED"], -1, number_of(""), 1 << 62, 500)
        return [row["id"] for row in rows]

    async def export(self):
        told = []
        for id in await self.conversation_stats():
            about = talk(id)
            told.append(as_json(about, await self.tree(id)) + as_markdown(about, await self.tree(id)))
        return told


@pytest.fixture
async def url(server, monkeypatch):
    """A database that a sidecar of schema 1 has made."""
    url = server.url(await server.database())
    first = migrations("postgres")[:1]
    with monkeypatch.context() as patched:
        patched.setattr(schema, "migrations", lambda _: first)
        store = make_store(url)
        await store.open()
        await store.replace_secret(SECRET)
        await store.close()
    return url


@pytest.fixture
async def before(url):
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT version FROM sidecar_schema") == 1
    yield Before(connection)
    await connection.close()


@pytest.fixture
async def opened(url):
    made = []

    async def open():
        made.append(make_store(url, upgrades=True))
        await made[-1].open()
        return made[-1]

    yield open
    for store in made:
        await store.close()


async def fill(before):
    """Two tenants with something of everything that there was."""
    for user in ("ada", "grace"):
        tenant = tenant_of(SECRET, "Bearer sk", user)
        nodes = chat("Grüße \N{GRINNING FACE}", "hello", "and?", "so", tenant=tenant)
        again = reply("hello again", nodes[0], tenant=tenant, state="partial", usage=b'{"prompt_tokens":3}')
        id = conversation_id(SECRET, tenant, "same-key")
        digest = Chain(tenant).hash(None, SYSTEM)
        about = talk(id, key="same-key", tenant=tenant, tip=again.id, full=True, weights=b"w", system=digest)
        echoes = [(b"e" * 16, nodes[1].id)]
        await before.record(update(about, *nodes, again, echoes=echoes, system=SYSTEM))


async def exported(store):
    told = []
    async for each in store.conversation_stats(sized=False):
        tree = await store.tree(each.id)
        told.append(as_json(talk(each.id), tree) + as_markdown(talk(each.id), tree))
    return told


async def test_a_database_of_schema_1_is_opened_exports_the_same_and_goes_on(before, opened):
    await fill(before)
    told = await before.export()
    assert len(told) == 2

    store = await opened()

    newest = migrations("postgres")[-1][0]
    assert await before.connection.fetchval("SELECT version FROM sidecar_schema") == newest
    assert await exported(store) == told
    assert store.secret == SECRET
    async for each in store.conversation_stats():
        whole = await store.snapshot(each.id)
        assert (whole.exchanges, whole.threads, list(wrongs(whole, store.secret))) == ((), (), [])
        more = question("more", whole.nodes[-1], tenant=each.tenant)
        done = exchange(each.id, more)
        about, root = replace(whole.conversation, tip=more.id), thread(whole.nodes[0], more)
        await store.record(update(about, more, exchange=done, thread=root))
        assert await store.exchanges(each.tenant, each.id) == [done]
        assert await store.threads(each.id) == [root]


async def test_a_sidecar_of_before_goes_on_while_and_after_the_database_is_migrated(before, opened):
    ask, answer = chat("hi", "hello")
    await before.record(update(talk(), ask, answer))
    assert await before.find("conv_1", answer.hash) == [answer.id]

    store = await opened()
    more, so = chat("and?", "so", under=answer)
    done = exchange("conv_1", more, so)
    root = thread(ask, so)
    await store.record(update(talk(tip=so.id), more, so, exchange=done, thread=root))
    assert await before.find("conv_1", so.hash) == [so.id]
    last = question("thanks", so)
    await before.record(update(talk(tip=last.id), last))

    assert await store.tree("conv_1") == await before.tree("conv_1") == [ask, answer, more, so, last]
    assert (await store.find(TENANT, ["conv_1"], [last.hash])).nodes == {last.hash: [last]}
    assert await store.exchanges(TENANT, "conv_1") == [done]
    assert await store.threads("conv_1") == [root], "the older one writes none"
    assert await before.conversation_stats() == ["conv_1"]
    await before.connection.execute(SQL["VACUUM"])
    await before.connection.execute(SQL["PROBE"])


async def test_both_record_into_one_conversation_at_once_and_nothing_is_lost(before, opened):
    store = await opened()
    root = question("hi")
    await before.record(update(talk(), root))
    mine = [reply(f"new {number}", root) for number in range(40)]
    theirs = [reply(f"old {number}", root) for number in range(40)]
    done = [exchange("conv_1", root, answer) for answer in mine]

    async def by_the_older():
        for answer in theirs:
            await before.record(update(talk(), answer))

    await asyncio.gather(
        by_the_older(),
        *(
            store.record(update(talk(), answer, exchange=each))
            for answer, each in zip(mine, done, strict=True)
        ),
    )

    kept = await store.tree("conv_1")
    assert sorted(node.id for node in kept) == sorted(node.id for node in (root, *mine, *theirs))
    assert await store.exchanges(TENANT, "conv_1") == done[::-1]


async def rows(before, table="exchange"):
    return await before.connection.fetchval(f"SELECT count(*) FROM {table}")


async def test_what_a_sidecar_of_before_deletes_is_gone_for_everybody(before, opened):
    store = await opened()
    ask, answer = chat("hi", "hello")
    done = exchange("conv_1", ask, answer)
    other = exchange("conv_2", ask, answer)
    await store.record(update(talk(), ask, answer, exchange=done))
    await store.record(update(talk("conv_2"), ask, answer, exchange=other))

    await before.delete("conv_1")
    assert await store.exchanges(TENANT, "conv_1") == []
    assert await store.exchange(TENANT, "conv_1", done.id) is None
    await before.record(update(talk(), ask, answer))  # the same chat, begun anew
    assert await store.exchanges(TENANT, "conv_1") == []
    assert await store.exchange(TENANT, "conv_1", done.id) is None
    assert (await store.snapshot("conv_1")).exchanges == ()
    again = replace(done, outcome="start")  # with the very id of one that is gone
    await store.record(update(talk(), exchange=again))
    assert await store.exchanges(TENANT, "conv_1") == [again]

    assert await rows(before) == 3
    await store.purge(compact=False)
    assert await rows(before) == 2
    assert await store.exchanges(TENANT, "conv_1") == [again]
    assert await store.exchanges(TENANT, "conv_2") == [other]
    await store.delete("conv_1")
    assert await rows(before) == 1


async def test_a_thread_of_what_a_sidecar_of_before_deletes_is_gone_for_everybody(before, opened):
    store = await opened()
    ask, answer = chat("hi", "hello")
    mine, other = (update(talk(id), ask, answer, thread=thread(ask, answer)) for id in ("conv_1", "conv_2"))
    await store.record(mine)
    await store.record(other)

    await before.delete("conv_1")
    assert await store.threads("conv_1") == []
    await before.record(update(talk(), ask, answer))  # the same chat, begun anew
    assert await store.threads("conv_1") == []
    assert (await store.snapshot("conv_1")).threads == ()
    again = thread(ask, model=None, is_answered=False)
    await store.record(update(talk(), thread=again))
    await store.add_snapshot(await store.snapshot("conv_1"))
    assert await store.replace_snapshot("conv_1", lambda whole: whole)
    assert await store.threads("conv_1") == [again], "nothing of the one that is gone goes on in it"

    assert await rows(before, "thread") == 3
    await store.purge(compact=False)
    assert await rows(before, "thread") == 2
    assert await store.threads("conv_1") == [again]
    assert await store.threads("conv_2") == [thread(ask, answer)]
    await store.delete("conv_1")
    assert await rows(before, "thread") == 1


def key_of(id):
    return id.encode().ljust(16, b"e")


async def test_what_a_sidecar_of_before_lists_of_chats_that_have_a_name_goes_in_steps(
    before, opened, monkeypatch
):
    monkeypatch.setattr(maintenance, "_STEP", 2)
    store = await opened()
    ask, answer = chat("hi", "hello")
    for id, key in (("conv_1", None), ("conv_2", "mine"), ("conv_3", "other")):
        await before.record(update(talk(id, key=key), ask, answer, echoes=[(key_of(id), answer.id)]))
    await store.record(update(talk("conv_4", key="new"), ask, answer))
    assert await rows(before, "known_by") == 12
    assert await store.find_by_history(TENANT, [answer.hash]) == "conv_3"

    await store.purge(compact=False)

    assert await rows(before, "known_by") == 3 + 3
    assert await store.find_by_history(TENANT, [key_of("conv_2")]) == "conv_2"
    assert await store.find_by_history(TENANT, [answer.hash]) == "conv_1"
    assert await store.candidates(TENANT, [ask.hash], [answer.digest]) == {"conv_1": 2}


async def test_a_rekey_goes_over_the_exchanges_that_are_there_and_what_was_left_behind_goes(before, opened):
    store = await opened()
    ask = question("hi")
    done = exchange("conv_1", ask)
    await store.record(update(talk(), ask, exchange=done))
    await before.delete("conv_1")
    await before.record(update(talk(), ask))
    again = replace(done, outcome="start")
    await store.record(update(talk(), exchange=again))
    changed = replace(again, detail=replace(again.detail, finish="stop"))

    assert await store.replace_snapshot("conv_1", lambda whole: replace(whole, exchanges=(changed,)))

    assert await store.exchanges(TENANT, "conv_1") == [changed]
    await store.purge(compact=False)
    assert await rows(before) == 1


IMAGE = "so it is " * 2000


async def parts_in(connection):
    return await connection.fetchval("SELECT count(*) FROM part")


async def test_no_part_of_a_message_is_kept_by_itself_while_a_sidecar_of_before_may_be_at_work(
    before, opened
):
    store = await opened()
    ask, edited = question(IMAGE), question([IMAGE, "so?"])
    await store.record(update(talk(), ask, edited))

    assert await before.tree("conv_1") == await store.tree("conv_1") == [ask, edited]
    assert await parts_in(before.connection) == 0


async def test_once_all_are_replaced_it_is_switched_on_and_what_was_there_stays(before, opened):
    ask = question(IMAGE)
    await before.record(update(talk(), ask))
    await opened()
    await before.connection.execute("UPDATE sidecar_schema SET shares_parts = true")

    store = await opened()
    edited = [question([IMAGE, f"so? {number}"]) for number in range(3)]
    await store.record(update(talk(), ask, *edited))

    assert await store.tree("conv_1") == [ask, *edited]
    assert await parts_in(before.connection) == 1
    assert await before.find("conv_1", ask.hash) == [ask.id]
    await store.delete("conv_1")
    assert await parts_in(before.connection) == 0


async def test_a_database_that_only_this_version_has_opened_keeps_parts_by_themselves(server):
    url = server.url(await server.database())
    for _ in range(2):
        store = make_store(url)
        await store.open()
        assert store.shares_parts
        await store.close()
