"""What is kept no longer: by the command, and by a server that runs."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from msgspec.structs import replace

from sidecar.retention import expired, prune
from sidecar.settings import Retention
from sidecar.store import MemoryStore
from tests.commands.conftest import talk as talks
from tests.store.trees import OTHER_TENANT, TENANT, question, talk, update

DAY = 86400.0


async def stored(*, sizes=(), tenant=TENANT, prefix="conv"):
    """Conversations that were used last on day 1, 2, …"""
    store = MemoryStore()
    await add(store, sizes, tenant, prefix)
    return store


async def add(store, sizes, tenant, prefix):
    for day, size in enumerate(sizes, 1):
        node = replace(question("hi"), body=b"x" * size)
        about = replace(talk(f"{prefix}_{day}", tenant=tenant), updated_at=day * DAY)
        await store.record(update(about, node))


async def kept(store):
    return [each.id async for each in store.conversation_stats()]


async def test_what_was_used_long_ago_goes():
    store = await stored(sizes=[1, 1, 1, 1])

    assert await prune(store, Retention(max_days=2), 4.5 * DAY) == 2
    assert await kept(store) == ["conv_3", "conv_4"]


async def test_so_many_of_each_tenant_stay():
    store = await stored(sizes=[1, 1, 1])
    await add(store, [1, 1], OTHER_TENANT, "other")

    assert await prune(store, Retention(max_conversations=2), 9 * DAY) == 1
    assert await kept(store) == ["conv_2", "conv_3", "other_1", "other_2"]


async def test_so_many_bytes_of_each_tenant_stay():
    store = await stored(sizes=[60, 30, 40, 30])
    await add(store, [100], OTHER_TENANT, "other")

    assert await prune(store, Retention(max_bytes=100), 9 * DAY) == 1
    assert await kept(store) == ["conv_2", "conv_3", "conv_4", "other_1"]


async def test_what_is_old_does_not_stay_because_it_is_small():
    store = await stored(sizes=[1, 200, 30])

    assert await prune(store, Retention(max_bytes=100), 9 * DAY) == 2
    assert await kept(store) == ["conv_3"]


async def test_the_newest_one_stays_whatever_its_size():
    store = await stored(sizes=[500, 500])

    assert await prune(store, Retention(max_bytes=100), 9 * DAY) == 1
    assert await kept(store) == ["conv_2"]


async def test_the_order_in_which_they_began_does_not_matter():
    store = MemoryStore()
    for id, day in (("a", 3), ("b", 1), ("c", 2)):
        await store.record(update(replace(talk(id), updated_at=day * DAY), question("hi")))

    assert [id async for id, _ in expired(store, Retention(max_conversations=1), 9 * DAY)] == ["b", "c"]


async def test_all_rules_count_together():
    store = await stored(sizes=[10, 10, 80, 30, 10])
    rules = Retention(max_days=3, max_conversations=2, max_bytes=1000)

    assert await prune(store, rules, 5.5 * DAY) == 3
    assert await kept(store) == ["conv_4", "conv_5"]


async def test_without_rules_nothing_is_even_looked_at():
    store = await stored(sizes=[1])

    def seen(holding):
        raise AssertionError

    assert await prune(store, Retention(), 1e12, seen) == 0


async def test_one_that_is_used_meanwhile_stays():
    store = await stored(sizes=[1, 1])

    class Used(MemoryStore):
        async def delete(self, conversation, *, unless_after=None):
            about = replace(talk(conversation), updated_at=9 * DAY)
            await store.record(update(about, question("and?")))
            return await store.delete(conversation, unless_after=unless_after)

        def conversation_stats(self, **which):
            return store.conversation_stats(**which)

    assert await prune(Used(), Retention(max_days=1), 5 * DAY) == 0
    assert await kept(store) == ["conv_1", "conv_2"]


async def test_others_come_between_the_steps():
    store = await stored(sizes=[1] * 30)
    turns = 0

    async def others():
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    task = asyncio.ensure_future(others())
    await prune(store, Retention(max_bytes=10_000), 9 * DAY, pause=0.001)
    task.cancel()
    assert turns > 10


def keys(run):
    return [
        json.loads(line)["key"] for line in run("conversations", "list", "--format", "jsonl")[1].splitlines()
    ]


@pytest.fixture
def filled(file):
    talks(file, *((f"c-{number}", f"word-{number}", {}) for number in range(5)))


def test_the_command_goes_by_the_settings(run, filled, file, monkeypatch):
    monkeypatch.setenv("SIDECAR_RETENTION__MAX_CONVERSATIONS", "2")

    assert run("prune", "--dry-run") == (0, "", "sidecar: would delete 3 conversations\n")
    assert len(keys(run)) == 5
    assert run("prune", "--compact") == (0, "", "sidecar: deleted 3 conversations\n")
    assert keys(run) == ["c-3", "c-4"]
    left = b"".join(each.read_bytes() for each in file.parent.iterdir())
    assert b"word-1" not in left
    assert b"word-4" in left
    assert run("prune") == (0, "", "sidecar: deleted 0 conversations\n")


def test_a_command_without_rules_says_which_there_are(run, filled):
    code, _, err = run("prune")

    assert code == 1
    assert "set retention.max_days" in err


def test_a_server_prunes_by_itself(file):
    async def until_pruned():
        from sidecar.server.serve import running
        from sidecar.settings import Settings
        from sidecar.store import SQLiteStore

        settings = Settings(
            store=f"sqlite:///{file}",
            listen="127.0.0.1:0",
            retention=Retention(max_conversations=1, every=0.05),
        )
        async with running(settings):
            other = SQLiteStore(str(file))
            await other.open()
            end = time.monotonic() + 10
            while len(await kept(other)) != 1:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)
            await other.close()

    talks(file, ("a", "hi", {}), ("b", "hi", {}), ("c", "hi", {}))
    asyncio.run(until_pruned())


async def test_a_store_that_fails_is_counted_and_tried_again():
    from sidecar.background.retention import RetentionJob
    from sidecar.errors import StoreUnavailable

    store = await stored(sizes=[1, 1, 1])
    failures: list[tuple[str, str]] = []
    tasks: list[asyncio.Task[None]] = []

    class Failing(MemoryStore):
        def conversation_stats(self, **which):
            if not failures:
                raise StoreUnavailable("the disk is full")
            return store.conversation_stats(**which)

        async def delete(self, conversation, **which):
            return await store.delete(conversation, **which)

    def spawn(work):
        tasks.append(asyncio.ensure_future(work))
        return tasks[-1]

    rules = Retention(max_conversations=1, every=0.01)
    pruning = RetentionJob(Failing(), rules, spawn, lambda step, error: failures.append((step, str(error))))
    pruning.start()
    while len(await kept(store)) != 1:
        await asyncio.sleep(0.01)
    pruning.stop()
    with pytest.raises(asyncio.CancelledError):
        await tasks[0]
    assert failures == [("prune", "the disk is full")]


@pytest.mark.parametrize("rules", [Retention(), Retention(max_days=1, every=0)])
async def test_without_rules_or_without_a_time_nothing_is_begun(rules):
    from sidecar.background.retention import RetentionJob

    def spawn(work):
        raise AssertionError

    pruning = RetentionJob(MemoryStore(), rules, spawn, lambda step, error: None)
    pruning.start()
    pruning.stop()
