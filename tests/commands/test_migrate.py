"""All that one store holds into another."""

from __future__ import annotations

import io
import json

import pytest
from msgspec.structs import replace

from sidecar.commands.migrate import copied
from sidecar.commands.progress import Progress
from sidecar.errors import SidecarError
from sidecar.export import as_json
from sidecar.store import Store, make_store
from tests.commands.conftest import talk as talks
from tests.store.record import SECRET, fill
from tests.store.trees import question, talk, update

KINDS = ["sqlite", "postgres"]


@pytest.fixture
async def stores(request, tmp_path, server):
    """Open stores by kind, made when they are asked for; closed in the end."""
    made: list[Store] = []

    async def make(kind):
        # Two in one test, so not the one that is shared.
        postgres = kind == "postgres"
        path = server.url(await server.database()) if postgres else str(tmp_path / f"{len(made)}.db")
        made.append(make_store(path, keys=[bytes(32)] if kind == "encrypted" else []))
        await made[-1].open()
        return made[-1]

    yield make
    for store in made:
        await store.close()


async def copy(old, new):
    return await copied(old, new, Progress("copied", out=io.StringIO()))


async def everything(store):
    wholes = [await store.snapshot(each.id) async for each in store.conversation_stats()]
    return sorted(wholes, key=lambda whole: whole.conversation.id), await store.load_learned()


async def export(store):
    lines = []
    async for each in store.conversations():
        exchanges = await store.exchanges(each.tenant, each.id)
        lines.append(as_json(each, await store.tree(each.id), await store.threads(each.id), exchanges))
    return sorted(lines)


@pytest.mark.parametrize("kind", [*KINDS, "encrypted"])
@pytest.mark.parametrize("other", KINDS)
async def test_everything_goes_along_and_back(stores, tmp_path, kind, other):
    await fill(tmp_path / "filled.db")
    filled = make_store(str(tmp_path / "filled.db"))
    await filled.open()
    first, second = await stores(kind), await stores(other)
    try:
        assert await copy(filled, first) == (4, 23)
        assert await copy(first, second) == (4, 23)
        assert second.secret == SECRET
        assert await everything(second) == await everything(first) == await everything(filled)
        assert await export(second) == await export(filled)
        told = [json.loads(line) for line in await export(second)]
        counts = [sum(len(each[name]) for each in told) for name in ("threads", "exchanges")]
        assert (len(told), counts) == (4, [2, 2])
    finally:
        await filled.close()


@pytest.mark.parametrize("kind", KINDS)
async def test_run_again_it_brings_what_is_new_and_doubles_nothing(stores, kind):
    old, new = await stores("sqlite"), await stores(kind)
    first = question("hi")
    await old.record(update(talk(), first))
    await old.save_learned("tokens:a", b"1")
    await copy(old, new)
    await old.record(update(replace(talk(), updated_at=2.0), question("and?", first)))
    await old.record(update(talk("conv_2"), first))
    await new.save_learned("tokens:a", b"2")

    for _ in range(2):
        assert await copy(old, new) == (2, 3)
        assert (await everything(new))[0] == (await everything(old))[0]
        assert await new.load_learned() == {"tokens:a": b"2"}


@pytest.mark.parametrize("kind", KINDS)
async def test_a_store_that_holds_others_conversations_is_refused(stores, kind):
    old, new = await stores("sqlite"), await stores(kind)
    await old.record(update(talk(), question("hi")))
    await new.record(update(talk("conv_2"), question("hi")))
    before = new.secret
    with pytest.raises(SidecarError, match="another secret"):
        await copy(old, new)

    assert new.secret == before
    assert len((await everything(new))[0]) == 1


def test_the_command_makes_a_store_that_can_be_served_from(run, file, tmp_path):
    talks(file, ("a", "hi", {}), ("b", "hi", {}))
    other = tmp_path / "other.db"
    urls = ["--from", f"sqlite:///{file}", "--to", f"sqlite:///{other}"]

    for _ in range(2):
        code, out, err = run("migrate", *urls, store=None)
        assert (code, out, err) == (0, "", "sidecar: copied 2 conversations with 4 messages\n")
    assert run("export", store=other) == run("export")
    assert run("verify", store=other)[0] == 0
    talks(other, ("a", "and?", {}))
    assert '"and?"' in run("export", "--conversation", "a", store=other)[1]
    assert run("conversations", "list", store=other)[1].count("\n") == 3


@pytest.mark.parametrize(
    ("source", "target", "said"),
    [
        ("sqlite:///x.db", "sqlite:///x.db", "name the same store"),
        ("sqlite:///x.db", "memory:", "--to is `memory:`"),
        ("sqlite:////nowhere/x.db", "sqlite:///y.db", "there is no store"),
        ("x.db", "sqlite:///y.db", "store (flag --store)"),
    ],
)
def test_what_makes_no_sense_is_said(run, source, target, said):
    code, _, err = run("migrate", "--from", source, "--to", target, store=None)

    assert code in (1, 2)
    assert said in err
