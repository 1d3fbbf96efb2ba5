"""When the store failed, and what is missing since: said on the pages and by the doctor afterwards."""

from __future__ import annotations

import asyncio

from sidecar.doctor.outages import Outage, Outages, joined, told
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
    # Those are named; what a chat has of them came with its next request, from its client.
    assert len(value["lost_of"]) == 3
    assert all(f'href="./c/{each}/">{each}</a>' in page.text for each in value["lost_of"])
    assert (await visitor.value("search?q=has:store"))["hits"] == []  # nothing of these came again

    await ask(visitor, upstream, "two")
    row = next(each for each in (await visitor.value())["rows"] if each["key"] == "two")
    assert row["marks"] == [{"name": "store failed", "times": 0, "is_bad": True}]
    (hit,) = (await visitor.value("search?q=has:store"))["hits"]
    assert (hit["row"]["key"], hit["lost"]) == ("two", [said])
    assert said in (await visitor.get("search?q=has:store")).text
    assert (await visitor.value(f"c/{row['id']}/"))["lost"] == [said]
    assert said in (await visitor.get(f"c/{row['id']}/")).text
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
    one, two = Outage(1.0, 5.0, 2, ("a", "b")), Outage(3.0, 9.0, 1, ("b", "c"))
    late = Outage(20.0, 21.0, 4)
    assert joined([late, two, one]) == [Outage(1.0, 9.0, 3, ("a", "b", "c")), late]
    assert joined([one, Outage(2.0, None, 1), late]) == [Outage(1.0, None, 7, ("a", "b"))]
    assert joined([]) == []
    assert one == Outage(1.0, 5.0, 2, ("a", "b")), "as it was"


def test_only_the_last_ones_are_remembered():
    outages = Outages()
    outages.lost("a")
    outages.end()
    assert not outages.last
    for at in range(50):
        outages.begin()
        for chat in range(at):
            outages.lost(f"{chat}")
        outages.end()
    assert len(outages.last) == 20
    assert (outages.last[-1].lost, len(outages.last[-1].chats)) == (49, 20)


def test_an_outage_without_a_loss_says_so():
    assert told(Outage(0.0, 60.0)) == (
        "From 1970-01-01 00:00:00 to 1970-01-01 00:01:00 (UTC) the store failed: no request is missing."
    )
    assert told(Outage(0.0, 0.5)).startswith("At 1970-01-01 00:00:00 (UTC) the store failed")
    assert told(Outage(0.0, None, 1)).endswith("the store failed: 1 request is not recorded.")
