"""When the store failed, and what is missing since: said on the pages and by the doctor afterwards."""

from __future__ import annotations

import asyncio
import time

import pytest
from aiohttp import ClientError
from markupsafe import escape

from sidecar.doctor.outages import Lost, LostOf, Outage, Outages, joined, lost_by_chat, told
from sidecar.errors import StoreUnavailable
from sidecar.store import SQLiteStore
from tests.inspector.conftest import Visitor
from tests.proxy.faults.test_store_errors import broken
from tests.proxy.mock_upstream import Upstream, says, sends


async def ask(visitor: Visitor, upstream: Upstream, *ids: str) -> None:
    for each in ids:
        upstream.will(says("ok"))
        reply = await visitor.sidecar.ask("hi", "ho", "and?", id=each, headers={"X-OpenWebUI-Chat-Id": each})
        assert reply.status == 200


async def only_outage(visitor: Visitor, lost: str) -> str:
    """What the list says of it, once it says this: a request counts as missing when it is over, which is a
    moment after its client has the answer."""
    async with asyncio.timeout(10):
        while True:
            (said,) = (await visitor.value())["outages"]
            if lost in said:
                return str(said)
            await asyncio.sleep(0.005)


async def test_what_was_answered_meanwhile_is_said_to_be_missing(visitor: Visitor, upstream: Upstream):
    await ask(visitor, upstream, "before")
    tag = (await visitor.get()).headers["ETag"]
    assert (await visitor.value())["outages"] == []
    with broken(visitor.sidecar, reading=False):
        await ask(visitor, upstream, "one", "two", "three")
        assert (await only_outage(visitor, "3 requests are not recorded")).startswith("Since 2")
        assert (await visitor.get(**{"If-None-Match": tag})).status == 200
    await ask(visitor, upstream, "after")

    value = await visitor.value()
    assert {each["key"] for each in value["rows"]} == {"before", "after"}
    (said,) = value["outages"]
    assert said.startswith(("From 2", "At 2"))
    assert "3 requests are not recorded." in said
    page = await visitor.get()
    assert said in page.text
    # Those are named, and not linked: nothing of them is kept, nor came again.
    assert [(each["name"], each["unrecorded"], each["is_kept"]) for each in value["lost_of"]] == [
        (each, 1, False) for each in ("one", "two", "three")
    ]
    assert page.text.count("nothing of it is kept") == 3
    assert not any(f"c/{each['id']}/" in page.text for each in value["lost_of"])
    found = await visitor.value("search?q=has:store")
    assert (found["hits"], found["outages"], len(found["lost_of"])) == ([], [said], 3)
    assert said in (await visitor.get("search?q=batteries")).text  # it may have been among what is lost
    assert (await visitor.value("search?q=ho"))["outages"] == []

    await ask(visitor, upstream, "two")
    row = next(each for each in (await visitor.value())["rows"] if each["key"] == "two")
    assert (row["marks"], row["errors"]) == ([{"name": "store failed", "times": 1, "is_bad": True}], 0)
    (hit,) = (await visitor.value("search?q=has:store"))["hits"]
    (own,) = hit["lost"]
    assert hit["row"]["key"] == "two"
    assert "1 request of this chat was answered and is not recorded" in own
    assert "came later" in own
    assert str(escape(own)) in (await visitor.get("search?q=has:store")).text
    assert (await visitor.value(f"c/{row['id']}/"))["lost"] == [own]
    assert str(escape(own)) in (await visitor.get(f"c/{row['id']}/")).text
    page = await visitor.get()
    assert f'<a href="./c/{row["id"]}/" title="{row["id"]}">two</a>' in page.text
    assert page.text.count("nothing of it is kept") == 2
    assert (await visitor.value("search?q=has:error"))["hits"] == []  # its client saw none
    assert "Remembered until the sidecar is started anew" in page.text
    assert "3 requests are not recorded." in " ".join((await visitor.get("doctor")).text.split())
    upstream.will(sends(b"{}"))
    doctor = await visitor.value("doctor")
    (outage,) = doctor["store_outages"]
    assert (outage["requests_lost"], outage["since"] <= outage["until"]) == (3, True)


async def test_while_all_works_nothing_is_said(visitor: Visitor, upstream: Upstream):
    await ask(visitor, upstream, "one")
    assert "the store failed" not in (await visitor.get()).text
    held = (await visitor.get()).headers["ETag"]
    assert (await visitor.get(**{"If-None-Match": held})).status == 304


def test_what_several_processes_saw_at_a_time_is_one():
    a, b = LostOf("a", None, 0, 1), LostOf("b", None, 1)
    one, two = Outage(1.0, 5.0, 2, 1, (a, b)), Outage(3.0, 9.0, 2, 1, (LostOf("b", "key", 0, 1), LostOf("c")))
    late = Outage(20.0, 21.0, 4)
    assert joined([late, two, one]) == [
        Outage(1.0, 9.0, 4, 2, (a, LostOf("b", "key", 1, 1), LostOf("c"))),
        late,
    ]
    assert joined([one, Outage(2.0, None, 1), late]) == [Outage(1.0, None, 7, 1, (a, b))]
    assert joined([]) == []
    assert one == Outage(1.0, 5.0, 2, 1, (a, b)), "as it was"


def test_only_the_last_ones_are_remembered():
    outages = Outages()
    outages.lost(Lost("a"))
    outages.end()
    assert not outages.last
    for at in range(50):
        outages.begin()
        for chat in range(at):
            outages.lost(Lost(f"{chat}"))
        outages.end()
    assert len(outages.last) == 20
    assert (outages.last[-1].lost, len(outages.last[-1].chats)) == (49, 20)


def test_an_outage_without_a_loss_says_so():
    assert told(Outage(0.0, 60.0)) == (
        "From 1970-01-01 00:00:00 to 1970-01-01 00:01:00 (UTC) the store failed: no request is missing."
    )
    assert told(Outage(0.0, 0.5)).startswith("At 1970-01-01 00:00:00 (UTC) the store failed")
    assert told(Outage(0.0, None, 1)).endswith("the store failed: 1 request is not recorded.")


def test_it_is_said_whether_what_is_lost_was_answered_or_refused():
    said = told(Outage(0.0, None, 1, 1))
    assert "1 request is not recorded, and ended with an error (503 store_unavailable, or a" in said
    said = "3 requests are not recorded: 1 was answered all the same, 2 ended with an error"
    assert said in told(Outage(0.0, None, 3, 2))
    assert "2 were answered" in told(Outage(0.0, None, 3, 1))
    old = Outage(0.0, 1.0, 1, 1, (LostOf("a", None, 0, 1),))
    new = Outage(9.0, 9.0, 2, 0, (LostOf("b", "conv_told", 1), LostOf("a", "name", 2, 1)))
    found = lost_by_chat([old, new])
    assert found["conv_told"] is found["b"], "by which its client may name it"
    assert (found["a"].key, found["a"].unrecorded, found["a"].refused) == ("name", 2, 2)
    newer, older = found["a"].said
    assert newer.startswith(
        "At 1970-01-01 00:00:09 (UTC) the store failed. 1 request of this chat ended with an"
    )
    assert "2 requests of this chat were answered and are not recorded" in newer
    assert "came later" not in older


def test_what_ended_before_or_after_an_outage_is_not_lost_in_it():
    outages = Outages()
    outages.begin()
    outages.end()
    outages.lost(Lost("a", is_refused=True), time.time() + 60)
    assert outages.last[-1].lost == 0
    outages.lost(Lost(None), time.time() - 60)
    assert (outages.last[-1].lost, outages.last[-1].chats) == (1, ())


@pytest.mark.parametrize("stream", [False, True])
async def test_what_was_refused_in_an_outage_is_counted_named_and_found(
    visitor: Visitor, upstream: Upstream, stream: bool
):
    sidecar = visitor.sidecar
    await sidecar.ask("hi", id="kitchen")
    with broken(sidecar, reading=False):
        if stream:  # its client sees it break off, or nothing of it
            with pytest.raises(ClientError):
                await sidecar.ask("batteries", id="kitchen", stream=True)
        else:
            assert (await sidecar.ask("batteries", id="kitchen")).status == 503
        assert (await sidecar.ask("oat milk", id="kitchen")).status == 503  # it is not even asked for
        assert (await sidecar.ask("hi", "ho", "and?", headers={"X-OpenWebUI-Chat-Id": "held"})).status == 200
        await only_outage(visitor, "3 requests are not recorded: 1 was answered all the same, 2 ended with")
    await ask(visitor, upstream, "after")  # by which it is known to work again
    value = await visitor.value()
    row = next(each for each in value["rows"] if each["key"] == "kitchen")
    assert row["errors"] == 2
    assert ("store failed", 2) in [(each["name"], each["times"]) for each in row["marks"]]
    assert [(each["name"], each["refused"], each["is_kept"]) for each in value["lost_of"]] == [
        ("kitchen", 2, True),
        ("held", 0, False),
    ]
    for word in ("store", "error"):
        (hit,) = (await visitor.value(f"search?q=has:{word}"))["hits"]
        assert hit["row"]["key"] == "kitchen"
    (said,) = (await visitor.value(f"c/{row['id']}/"))["lost"]
    assert "2 requests of this chat ended with an error" in said
    assert "came later" not in said
    doctor = await visitor.value("doctor")
    (outage,) = doctor["store_outages"]
    assert (outage["requests_lost"], outage["requests_refused"]) == (3, 2)
    assert doctor["refused"].get("store_unavailable", 0) == (1 if stream else 2)


async def test_what_could_not_be_read_and_went_on_is_counted_as_well(visitor: Visitor, upstream: Upstream):
    headers = {"X-OpenWebUI-Chat-Id": "held"}
    await visitor.sidecar.ask("hi", headers=headers)
    with broken(visitor.sidecar, reading=True):
        await visitor.sidecar.ask("hi", "ok", "and?", headers=headers)  # at hand, and not written
        assert (await visitor.sidecar.ask("hi", "ok", "no?", headers=headers)).outcome == "bypass"
    value = await visitor.value()
    assert value["outages"][0].endswith("2 requests are not recorded.")
    assert [(each["name"], each["unrecorded"], each["is_kept"]) for each in value["lost_of"]] == [
        ("held", 2, True)
    ]
    (row,) = value["rows"]
    assert row["errors"] == 0


@pytest.mark.parametrize("append", [False, True])
async def test_a_store_that_can_only_not_be_read_any_more_fails_as_well(visitor: Visitor, append: bool):
    await visitor.sidecar.ask("hi", id="a")
    with broken(visitor.sidecar, reading=True):
        if append:
            assert (await visitor.sidecar.ask("and?", id="a")).status == 503
        else:
            reply = await visitor.sidecar.ask("x", "y", "z", headers={"X-OpenWebUI-Chat-Id": "a"})
            assert reply.outcome == "bypass"
    (outage,) = (await visitor.value("doctor"))["store_outages"]
    assert (outage["requests_lost"], outage["requests_refused"]) == (1, int(append))


async def test_what_is_damaged_in_one_place_is_no_outage(visitor: Visitor, monkeypatch: pytest.MonkeyPatch):
    await visitor.sidecar.ask("hi", id="a")

    async def find(*_: object) -> None:
        raise StoreUnavailable("this conversation is damaged")

    with monkeypatch.context() as patch:
        patch.setattr(SQLiteStore, "find", find)
        assert (await visitor.sidecar.ask("and?", id="a")).status == 503
    assert (await visitor.value())["outages"] == []
    assert (await visitor.value("doctor"))["refused"] == {"store_unavailable": 1}
