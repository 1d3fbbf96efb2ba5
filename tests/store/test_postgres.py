"""What only the store in PostgreSQL has: its start, its schema, and a server that goes away."""

from __future__ import annotations

import asyncio
import logging

import asyncpg
import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store import make_store
from sidecar.store.migrations import migrations
from sidecar.store.postgres import schema
from sidecar.store.postgres.database import Database
from tests.store.trees import TENANT, chat, question, reply, talk, update


@pytest.fixture
async def url(server):
    """A database with nothing in it, not even tables."""
    return server.url(await server.database())


async def opened(url, **about):
    store = make_store(url, **about)
    await store.open()
    return store


async def refusal(url):
    store = make_store(url)
    with pytest.raises(StoreUnavailable) as caught:
        await store.open()
    await store.close()
    return caught.value.message


def database_of(url):
    return url.split("/")[3].split("?")[0]


class TestTheStart:
    async def test_two_that_start_together_make_the_tables_once(self, url):
        stores = await asyncio.gather(*(opened(url) for _ in range(5)))
        try:
            assert len({store.secret for store in stores}) == 1
            await stores[0].record(update(talk(), *chat("hi", "hello")))
            assert len(await stores[1].tree("conv_1")) == 2
        finally:
            await asyncio.gather(*(store.close() for store in stores))

    async def test_a_secret_is_kept_with_the_data_and_a_given_one_goes_before_it(self, url):
        first = await opened(url)
        await first.close()
        second, third = await opened(url), await opened(url, secret="a secret of some length")
        await asyncio.gather(second.close(), third.close())

        assert second.secret == first.secret
        assert third.secret == b"a secret of some length"

    async def test_a_newer_schema_is_refused_with_a_way_out(self, server, url):
        await (await opened(url)).close()
        newest = migrations("postgres")[-1][0]
        await server.execute(f"UPDATE sidecar_schema SET version = {newest + 1}", database_of(url))

        assert (await refusal(url)).endswith(
            f"/{database_of(url)} has schema {newest + 1}, and this version knows schemas up to {newest}: "
            "use the newer sidecar that wrote it, or another `store`"
        )

    async def test_an_older_schema_gets_only_what_it_lacks(self, server, url, monkeypatch):
        store = await opened(url)
        await store.record(update(talk(), question("hi")))
        await store.close()
        known = migrations("postgres")
        another = (
            known[-1][0] + 1,
            "CREATE TABLE later (value text); CREATE INDEX by_value ON later (value);",
        )
        monkeypatch.setattr(schema, "migrations", lambda _: [*known, another])

        store = await opened(url, upgrades=True)

        assert await store.tree("conv_1") == [question("hi")]
        await store.close()
        assert await server.execute("DELETE FROM later", database_of(url)) == "DELETE 0"

    async def test_a_migration_that_breaks_off_leaves_nothing_behind(self, server, url, monkeypatch):
        known = migrations("postgres")
        with monkeypatch.context() as patched:
            patched.setattr(schema, "migrations", lambda _: [*known, (99, "CREATE TABLE half (x text); OH")])
            assert "syntax error" in await refusal(url)
        with pytest.raises(asyncpg.UndefinedTableError):
            await server.execute("SELECT 1 FROM conversation", database_of(url))

        await (await opened(url)).close()

    async def test_tables_of_another_program_are_left_alone(self, server, url):
        await server.execute("CREATE TABLE chat (id text)", database_of(url))

        assert "holds tables of another program (chat): name an empty database" in await refusal(url)
        assert await server.execute("DELETE FROM chat", database_of(url)) == "DELETE 0"

    async def test_a_schema_of_its_own_can_be_named_beside_them(self, server, url):
        await server.execute("CREATE TABLE chat (id text); CREATE SCHEMA sidecar", database_of(url))
        await (await opened(f"{url}&search_path=sidecar")).close()

        assert await server.execute("DELETE FROM sidecar.message", database_of(url)) == "DELETE 0"
        assert "has no schema to make tables in" in await refusal(f"{url}&search_path=nowhere")

    async def test_an_unknown_database_says_what_to_do(self, server):
        message = await refusal(server.url("nowhere"))

        assert message.startswith("cannot open the store postgresql://sidecar@/nowhere: ")
        assert message.endswith('database "nowhere" does not exist (make it, or name another in `store`)')

    async def test_a_refused_login_says_so_and_tells_no_password(self, server, url, caplog):
        await server.execute("CREATE ROLE guest LOGIN PASSWORD 'swordfish'")
        server.demand_password("guest")
        try:
            message = await refusal(url.replace("//sidecar@", "//guest:hunter2@"))
        finally:
            server.demand_password(None)

        assert 'password authentication failed for user "guest"' in message
        assert "is the user right, and the password?" in message
        assert "hunter2" not in message + caplog.text

    async def test_a_user_without_rights_says_what_is_needed(self, server, url):
        await server.execute("CREATE ROLE reader LOGIN")

        assert "GRANT ALL ON SCHEMA" in await refusal(url.replace("//sidecar@", "//reader@"))

    async def test_a_server_that_is_not_there_is_waited_for_so_long(self, tmp_path, caplog):
        message = await refusal(f"postgresql://me:hunter2@/x?host={tmp_path}&start_wait=1.2")

        assert "(waited `start_wait` = 1.2 s)" in message
        (said,) = [each for each in caplog.records if each.message == "waiting for the store"]
        assert (said.levelno, said.store) == (logging.WARNING, "postgresql://me@/x")
        assert "hunter2" not in message + caplog.text

    async def test_one_that_comes_later_is_used(self, mortal_server):
        url = mortal_server.url(await mortal_server.database())
        mortal_server.kill()
        opening = asyncio.ensure_future(opened(url))
        await asyncio.sleep(0.3)
        assert not opening.done()
        mortal_server.start()

        store = await opening

        await store.probe()
        await store.close()

    async def test_commits_that_do_not_wait_for_the_disk_are_warned_of(self, server, url, caplog):
        await server.execute(f"ALTER DATABASE {database_of(url)} SET synchronous_commit = off")
        await (await opened(url)).close()

        assert "does not wait for the disk" in caplog.text


class TestAServerThatGoesAway:
    async def test_what_is_asked_meanwhile_is_answered_once_it_is_back(self, mortal_server, caplog):
        store = await opened(mortal_server.url(await mortal_server.database()))
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask))
        mortal_server.kill()
        asked = [
            asyncio.ensure_future(each)
            for each in (
                store.record(update(talk(), ask, answer)),
                store.find(TENANT, ["conv_1"], [ask.hash]),
            )
        ]
        await asyncio.sleep(0.2)
        assert not any(each.done() for each in asked)
        mortal_server.start()

        await asyncio.gather(*asked)

        assert await store.tree("conv_1") == [ask, answer]
        assert [each.message for each in caplog.records].count("retrying the store") == 1
        await store.close()

    async def test_it_is_waited_for_once_and_not_by_everybody(self, mortal_server):
        store = await opened(mortal_server.url(await mortal_server.database(), retry=1))
        clock = asyncio.get_running_loop().time
        mortal_server.kill()
        waits = []
        for _ in range(3):
            begun = clock()
            with pytest.raises(StoreUnavailable, match="the store failed: the database cannot be reached"):
                await store.record(update(talk(), question("hi")))
            waits.append(clock() - begun)

        assert waits[0] >= 1
        assert max(waits[1:]) < 1
        begun = clock()
        with pytest.raises(StoreUnavailable):
            await store.probe()
        assert clock() - begun < 1
        mortal_server.start()
        await store.record(update(talk(), question("hi")))
        await store.close()

    async def test_a_turn_whose_commit_was_not_confirmed_is_there_once(self, server, url, monkeypatch):
        """The connection is lost when the turn is in the store, and before that was told."""
        store = await opened(url)
        run = Database.run
        lost: list[bool] = []

        async def loses_the_answer(self, work, **about):
            async def first(connection):
                result = await work(connection)
                if not lost:
                    lost.append(True)
                    raise asyncpg.ConnectionDoesNotExistError("connection was closed")
                return result

            return await run(self, first, **about)

        monkeypatch.setattr(Database, "run", loses_the_answer)
        nodes = chat("hi", "hello")
        await store.record(
            update(talk(tip=nodes[1].id), *nodes, echoes=[(b"e" * 16, nodes[0].id)], system=b"[]")
        )

        assert lost
        assert await store.tree("conv_1") == nodes
        await store.close()

    async def test_a_primary_that_became_a_standby_is_left_for_the_new_one(self, server, url):
        store = await opened(url)
        name = database_of(url)
        await server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await server.execute(
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        recording = asyncio.ensure_future(store.record(update(talk(), question("hi"))))
        await asyncio.sleep(0.2)
        assert not recording.done()
        await server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = off")

        await recording

        assert await store.tree("conv_1") == [question("hi")]
        await store.close()

    async def test_a_store_that_is_not_open_says_so(self, url):
        store = await opened(url)
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable, match="not open"):
            await store.probe()


class TestRecording:
    @pytest.fixture
    async def store(self, postgres_url):
        store = await opened(postgres_url)
        yield store
        await store.close()

    async def test_a_name_with_a_nul_in_it_is_kept_as_near_as_can_be(self, store):
        ask = question("hi")
        answer = reply("\0 hello", ask, model="m\0", finish_reason="\0")
        await store.record(update(talk(), ask, answer))
        await store.save_learned("tokens:\0", b"1")

        found = await store.tree("conv_1")

        assert (found[1].body, found[1].model) == (answer.body, "m\ufffd")
        assert await store.load_learned() == {"tokens:\ufffd": b"1"}

    async def test_a_text_that_is_no_unicode_is_refused(self, store):
        with pytest.raises(StoreUnavailable, match="the store failed: it cannot hold a value"):
            await store.record(update(talk(), question("hi", model="\ud800")))
        with pytest.raises(StoreUnavailable):
            await anext(store.conversations("\ud800"))

    async def test_a_caller_that_leaves_does_not_take_its_turn_along(self, store):
        recording = asyncio.ensure_future(store.record(update(talk(), question("hi"))))
        await asyncio.sleep(0)
        recording.cancel()
        await store.close()
        await store.open()

        assert await store.tree("conv_1") == [question("hi")]

    async def test_turns_recorded_at_once_on_many_connections_are_all_there_in_one_order(self, store):
        ask, answer = chat("hi", "hello")
        await store.record(update(talk(), ask, answer))
        told = []
        for number in range(40):
            more = question(f"more {number}", answer)
            told.append((more, reply("so", more)))
        await asyncio.gather(*(store.record(update(talk(), *each)) for each in told))

        tree = await store.tree("conv_1")

        assert len(tree) == len(set(tree)) == 82
        assert tree == await store.tree("conv_1")
        for more, so in told:
            assert tree.index(so) == tree.index(more) + 1, "a turn stays together"

    @pytest.mark.parametrize(("prepared", "kept"), [("auto", True), ("on", True), ("off", False)])
    async def test_statements_are_prepared_unless_that_is_switched_off(self, postgres_url, prepared, kept):
        assert await self.prepares(f"{postgres_url}&prepared={prepared}") is kept

    async def test_behind_a_pooler_statements_are_not_prepared_by_themselves(self, postgres_url, monkeypatch):
        """A pooler answers with the number of a process of its own."""
        monkeypatch.setattr(asyncpg.Connection, "get_server_pid", lambda self: 1)

        assert await self.prepares(postgres_url) is False
        assert await self.prepares(f"{postgres_url}&prepared=on") is True

    @staticmethod
    async def prepares(url):
        """Does the store at this URL leave prepared statements on its connections?"""
        store = await opened(f"{url}&connections=1")
        await store.record(update(talk(), *chat("hi", "hello")))
        await store.find(TENANT, ["conv_1"], [])
        ((number,),) = await store._fetch("SELECT count(*) FROM pg_prepared_statements WHERE NOT from_sql")
        await store.close()
        return number > 1
