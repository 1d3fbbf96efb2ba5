"""What every store promises of responses that are made in the background."""

from __future__ import annotations

import pytest

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.store import make_store
from sidecar.store.encrypted.store import EncryptedStore
from tests.store.conftest import KEY
from tests.store.trees import OTHER_TENANT, TENANT, chat, talk, update

WHERE, OTHER = Reference("conv_1", b"0123456789"), Reference("conv_2", b"abcdefghij")
FIRST = KeptEvents(0, 1, b"first")


async def begin(store, where=WHERE, runner="me", tenant=TENANT):
    await store.begin_response(RunningResponse(where, tenant, runner, b'{"told":1}', 1), FIRST)


async def events(store, after=-1, most=10, where=WHERE):
    return await store.response_events(TENANT, where, after, most)


async def test_from_its_beginning_on_it_is_known_to_its_own_tenant_alone(store):
    assert await store.running_response(TENANT, WHERE) is None
    await begin(store)
    found = await store.running_response(TENANT, WHERE)
    assert (found.where, found.tenant, found.runner, found.told) == (WHERE, TENANT, "me", b'{"told":1}')
    assert (found.last, found.is_unwanted, found.ended) == (1, False, None)
    assert 0 <= found.silent < 5
    assert await events(store) == [FIRST]
    assert await store.running_response(OTHER_TENANT, WHERE) is None
    assert await store.response_events(OTHER_TENANT, WHERE, -1, 10) == []
    assert await store.running_response(TENANT, OTHER) is None


async def test_its_events_are_told_from_any_on_and_a_few_at_a_time(store):
    await begin(store)
    more = [KeptEvents(2, 2, b"\x00"), KeptEvents(3, 5, b"3 to 5"), KeptEvents(6, 6, b"6")]
    for each in more:
        assert await store.add_events(WHERE, each)
    assert (await store.running_response(TENANT, WHERE)).last == 6
    assert await events(store) == [FIRST, *more]
    assert await events(store, after=3) == more[1:]
    assert await events(store, after=1, most=2) == more[:2]
    assert await events(store, after=6) == []


async def test_it_ends_once_and_then_nothing_is_added(store):
    await begin(store)
    assert await store.end_response(WHERE, b"over", 3, KeptEvents(2, 3, b"end"))
    found = await store.running_response(TENANT, WHERE)
    assert (found.told, found.last, found.ended is not None) == (b"over", 3, True)
    assert not await store.end_response(WHERE, b"again", 4)
    assert not await store.add_events(WHERE, KeptEvents(4, 4, b"late"))
    assert await store.running_response(TENANT, WHERE) is not None
    assert await events(store, after=1) == [KeptEvents(2, 3, b"end")]
    assert not await store.end_response(OTHER, b"", 1)


async def test_it_may_end_without_events_that_are_kept(store):
    await begin(store)
    assert await store.end_response(WHERE, b"", 9)
    found = await store.running_response(TENANT, WHERE)
    assert (found.told, found.last, await events(store)) == (b"", 9, [FIRST])


async def test_a_process_is_told_which_of_its_own_are_to_be_cancelled(store):
    await begin(store)
    await begin(store, OTHER)
    await begin(store, Reference("conv_3", b"k" * 10), "you")
    assert await store.made_by("me") == {WHERE.exchange: False, OTHER.exchange: False}
    await store.cancel_response(OTHER_TENANT, WHERE)
    await store.cancel_response(TENANT, WHERE)
    assert await store.made_by("me") == {WHERE.exchange: True, OTHER.exchange: False}
    assert (await store.running_response(TENANT, WHERE)).is_unwanted
    await store.end_response(WHERE, b"", 1)
    assert await store.made_by("me") == {OTHER.exchange: False}
    await store.heard_of("me")
    assert await store.made_by("nobody") == {}


async def test_it_is_forgotten_by_its_own_tenant_alone(store):
    await begin(store)
    assert not await store.forget_response(OTHER_TENANT, WHERE)
    assert await store.forget_response(TENANT, WHERE)
    assert not await store.forget_response(TENANT, WHERE)
    assert (await store.running_response(TENANT, WHERE), await events(store)) == (None, [])
    assert not await store.add_events(WHERE, KeptEvents(2, 2, b"late"))


async def test_all_that_are_old_are_forgotten_and_no_others(store):
    assert not await store.forget_responses(0.0)
    for number in range(30):
        await begin(store, Reference("conv_1", b"%010d" % number))
    await begin(store, OTHER)
    assert await store.forget_responses(60.0)
    assert await store.running_response(TENANT, OTHER) is not None
    assert not await store.forget_responses(-60.0)
    assert await store.running_response(TENANT, OTHER) is None
    assert await events(store, where=OTHER) == []


async def test_they_are_deleted_with_their_conversation_and_with_no_other(store):
    await store.record(update(talk(), *chat("hi", "hello")))
    await begin(store)
    await begin(store, OTHER)
    await store.delete("conv_1")
    assert await store.running_response(TENANT, WHERE) is None
    assert await events(store) == []
    assert await store.running_response(TENANT, OTHER) is not None


async def test_they_are_no_part_of_a_snapshot(store):
    await store.record(update(talk(), *chat("hi", "hello")))
    before = await store.snapshot("conv_1")
    await begin(store)
    assert await store.snapshot("conv_1") == before


@pytest.mark.parametrize("keys", [[], [KEY]])
async def test_nothing_of_a_forgotten_one_can_be_read_and_of_an_encrypted_one_never(tmp_path, keys):
    def words():
        return b"".join(each.read_bytes() for each in tmp_path.glob("sidecar.db*") if each.is_file())

    store = make_store(str(tmp_path / "sidecar.db"), keys=keys)
    await store.open()
    try:
        await begin(store)
        await store.add_events(WHERE, KeptEvents(2, 2, b"mellon " * 2000))
        assert (b"mellon" in words()) == (not keys)
        await store.forget_response(TENANT, WHERE)
        await store.purge(compact=False)
        assert b"mellon" not in words()
    finally:
        await store.close()


async def test_another_key_takes_none_along(tmp_path):
    store = make_store(str(tmp_path / "sidecar.db"))
    await store.open()
    await begin(store)
    await store.close()
    sealed = EncryptedStore(make_store(str(tmp_path / "sidecar.db")), [KEY], accept_plaintext=True)
    await sealed.open()
    try:
        await sealed.re_encrypt(lambda _: None)
        assert await sealed.running_response(TENANT, WHERE) is None
    finally:
        await sealed.close()
