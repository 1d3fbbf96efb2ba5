"""Whose turn it is to append, among replicas: stores on one database, each with a pool of its own."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from sidecar.errors import StoreUnavailable
from sidecar.store import make_store
from sidecar.store.postgres.database import Database
from sidecar.store.postgres.lease import held
from tests.store.trees import TENANT, chat, question, reply, talk, update


@pytest.fixture
async def replicas(postgres_url):
    """Two stores on one database. A turn that is not renewed ends after 0.6 seconds."""
    stores = [make_store(f"{postgres_url}&lease=0.6") for _ in range(2)]
    for store in stores:
        await store.open()
    yield stores
    for store in stores:
        await store.close()


async def leases(server, url):
    return await server.execute("SELECT FROM append_lease", url.split("/")[3].split("?")[0])


async def test_one_after_the_other(replicas):
    log = []

    async def append(number):
        async with replicas[number % 2].cross_process_lock("conv_1", 10.0):
            log.append(("in", number))
            await asyncio.sleep(0.01)
            log.append(("out", number))

    await asyncio.gather(*(append(number) for number in range(6)))

    assert [what for what, _ in log] == ["in", "out"] * 6
    assert all(log[at][1] == log[at + 1][1] for at in range(0, 12, 2))


async def test_conversations_do_not_wait_for_each_other(replicas):
    async with replicas[0].cross_process_lock("conv_1", 0.0), replicas[1].cross_process_lock("conv_2", 0.0):
        pass


async def test_who_would_wait_too_long_is_told(replicas):
    async with replicas[0].cross_process_lock("conv_1", 1.0):
        with pytest.raises(TimeoutError):
            async with replicas[1].cross_process_lock("conv_1", 0.1):
                raise AssertionError
        with pytest.raises(TimeoutError):
            async with replicas[1].cross_process_lock("conv_1", 0.0):
                raise AssertionError


async def test_a_turn_is_given_back_at_its_end_also_after_an_error(server, postgres_url, replicas):
    async def fail():
        async with replicas[0].cross_process_lock("conv_1", 1.0):
            assert await leases(server, postgres_url) == "SELECT 1"
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await leases(server, postgres_url) == "SELECT 0"
    async with replicas[1].cross_process_lock("conv_1", 0.0):
        pass


async def test_it_is_renewed_for_as_long_as_the_request_runs(replicas):
    async with replicas[0].cross_process_lock("conv_1", 1.0):
        with pytest.raises(TimeoutError):
            async with replicas[1].cross_process_lock("conv_1", 1.5):  # more than two leases
                raise AssertionError


async def test_who_leaves_while_waiting_leaves_nothing_behind(server, postgres_url, replicas):
    async def wait():
        async with replicas[1].cross_process_lock("conv_1", 10.0):
            raise AssertionError

    async with replicas[0].cross_process_lock("conv_1", 1.0):
        waiting = asyncio.ensure_future(wait())
        await asyncio.sleep(0.1)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting

    assert await leases(server, postgres_url) == "SELECT 0"


async def test_a_dead_replica_keeps_its_turn_only_for_the_time_of_the_lease(replicas, postgres_url):
    """It neither renews nor gives back: its connections are gone."""
    dead = make_store(f"{postgres_url}&lease=0.6&retry=0")
    await dead.open()
    clock = asyncio.get_running_loop().time
    begun = clock()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(dead.cross_process_lock("conv_1", 1.0))
        await dead.close()
        async with replicas[0].cross_process_lock("conv_1", 5.0):
            assert 0.3 < clock() - begun < 3.0


async def test_what_is_recorded_under_a_lost_turn_is_refused_whole(replicas, monkeypatch):
    """A replica that hung for long must not put its turn beside the one that came after."""
    hung, other = replicas
    ask, answer = chat("hi", "hello")
    await hung.record(update(talk(tip=answer.id), ask, answer))
    late, later = question("late", answer), question("later", answer)
    monkeypatch.setattr(hung._leases, "_renew", lambda lease: asyncio.sleep(60))

    async with hung.cross_process_lock("conv_1", 1.0):
        async with other.cross_process_lock("conv_1", 5.0):
            await other.record(update(talk(tip=later.id), later))
        told = update(talk(tip=late.id), late, reply("so", late), echoes=[(b"e" * 16, late.id)], system=b"[]")
        with pytest.raises(StoreUnavailable, match="the append lease was lost"):
            await hung.record(told)

    assert await hung.tree("conv_1") == [ask, answer, later]
    found = await hung.find(TENANT, ["conv_1"], [b"e" * 16])
    assert (found.conversation, found.nodes) == (talk(tip=later.id), {})
    assert await hung.system("conv_1") is None
    # Where no turn is held, as with a client that sends its history, there is nothing to lose.
    await hung.record(told)
    assert len(await hung.tree("conv_1")) == 5


async def test_a_new_conversation_is_not_begun_under_a_lost_turn_either(replicas, monkeypatch):
    hung, other = replicas
    monkeypatch.setattr(hung._leases, "_renew", lambda lease: asyncio.sleep(60))

    async with hung.cross_process_lock("conv_1", 1.0):
        async with other.cross_process_lock("conv_1", 5.0):
            pass
        with pytest.raises(StoreUnavailable):
            await hung.record(update(talk(), question("hi")))

    assert [each async for each in hung.conversations()] == []


async def test_a_task_that_the_request_started_records_under_its_turn(replicas):
    ask = question("hi")

    async with replicas[0].cross_process_lock("conv_1", 1.0):
        recording = asyncio.create_task(replicas[0].record(update(talk(), ask)))
        await recording

    assert await replicas[1].tree("conv_1") == [ask]


async def test_what_goes_on_after_the_request_is_recorded_all_the_same(replicas):
    """Such as the turn of a client that left, or that has its end before the commit."""
    ended = asyncio.Event()

    async def record(text):
        await ended.wait()
        await replicas[0].record(update(talk(), question(text)))

    async with replicas[0].cross_process_lock("conv_1", 1.0):
        late = asyncio.create_task(record("late"))
    async with replicas[1].cross_process_lock("conv_1", 1.0):
        ended.set()
        await late

    assert await replicas[1].tree("conv_1") == [question("late")]


async def test_a_turn_that_ends_while_it_is_recorded_takes_nothing_along(replicas, monkeypatch):
    async with replicas[0].cross_process_lock("conv_1", 1.0):
        lease = held.get()
        assert lease is not None
        await replicas[0]._leases._release(lease)
        run = Database.run

        class Ends:
            """A connection during whose first query the request ends."""

            def __init__(self, connection):
                self._connection = connection

            async def fetchval(self, *asked):
                found = await self._connection.fetchval(*asked)
                assert lease is not None
                lease.is_over = True
                return found

        async def ends(self, work, **about):
            return await run(self, lambda connection: work(Ends(connection)), **about)

        told = update(talk(), question("hi"))
        with pytest.raises(StoreUnavailable):
            await replicas[0].record(told)
        with monkeypatch.context() as patched:
            patched.setattr(Database, "run", ends)
            await replicas[0].record(told)

    assert await replicas[1].tree("conv_1") == [question("hi")]


async def test_recording_renews(replicas, monkeypatch):
    monkeypatch.setattr(replicas[0]._leases, "_renew", lambda lease: asyncio.sleep(60))

    async def wait():
        async with replicas[1].cross_process_lock("conv_1", 1.2):
            raise AssertionError

    async with replicas[0].cross_process_lock("conv_1", 1.0):
        waiting = asyncio.ensure_future(wait())
        for number in range(12):
            await asyncio.sleep(0.1)
            await replicas[0].record(update(talk(), question(f"{number}")))
        with pytest.raises(TimeoutError):
            await waiting


async def test_stores_of_one_process_have_nobody_to_wait_for():
    store = make_store(None)
    async with store.cross_process_lock("conv_1", 0.0), store.cross_process_lock("conv_1", 0.0):
        pass
