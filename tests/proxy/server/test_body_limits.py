"""How much memory the bodies of all requests may take together, and what a compressed one may unpack to."""

from __future__ import annotations

import asyncio
import gzip
import zlib

import pytest

from sidecar.errors import TooManyBodies
from sidecar.proxy.bodies import Bodies
from tests.proxy.client import CHAT, Sidecar, assert_error, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says, waits

MIB = 1 << 20
BODY = b'{"messages":[{"role":"user","content":"%b"}]}'
LARGE = BODY % (b"x" * 3 * MIB)


async def half_sent(sidecar: Sidecar, body: bytes, sent: int) -> asyncio.StreamWriter:
    """A request of which so many bytes have been sent."""
    _, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode())
    writer.write(body[:sent])
    return writer


def of_4_mib(**more: float) -> dict[str, float]:
    return {"max_body": 4 * MIB, "bodies_in_flight": 8 * MIB, "body_wait": 0.2, **more}


async def test_a_body_without_room_is_refused_and_told_when_to_come_again(start: Start, upstream: Upstream):
    sidecar = await start(limits=of_4_mib())
    gate = asyncio.Event()
    upstream.will(waits(gate, says()))
    first = asyncio.ensure_future(sidecar.send("POST", CHAT, data=LARGE))
    await eventually(lambda: upstream.requests)
    refused = await sidecar.send("POST", CHAT, data=LARGE)
    assert_error(refused, 503, "too_many_bodies")
    assert int(refused.headers["Retry-After"]) > 0
    gate.set()
    assert (await first).status == 200
    assert (await sidecar.send("POST", CHAT, data=LARGE)).status == 200


async def test_a_body_waits_for_room_and_is_served_then(start: Start, upstream: Upstream):
    sidecar = await start(limits=of_4_mib(body_wait=10))
    gate = asyncio.Event()
    upstream.will(waits(gate, says()))
    first = asyncio.ensure_future(sidecar.send("POST", CHAT, data=LARGE))
    await eventually(lambda: upstream.requests)
    second = asyncio.ensure_future(sidecar.send("POST", CHAT, data=LARGE))
    await asyncio.sleep(0.2)
    assert len(upstream.requests) == 1
    gate.set()
    assert [(await first).status, (await second).status] == [200, 200]


async def test_small_bodies_find_room_beside_large_ones(start: Start, upstream: Upstream):
    sidecar = await start(limits=of_4_mib())
    writers = [await half_sent(sidecar, LARGE, 2 * MIB) for _ in range(5)]
    replies = await asyncio.gather(*(sidecar.ask("x" * 50_000, id=f"{at}") for at in range(20)))
    assert {each.status for each in replies} == {200}
    for writer in writers:
        writer.close()


async def test_what_a_client_that_leaves_had_taken_is_free_again(start: Start, upstream: Upstream):
    sidecar = await start(limits=of_4_mib())
    for _ in range(3):
        writer = await half_sent(sidecar, LARGE, 2 * MIB)
        await asyncio.sleep(0.05)
        writer.close()
    await asyncio.sleep(0.05)
    assert (await sidecar.send("POST", CHAT, data=LARGE)).status == 200


async def test_a_body_of_the_limit_is_taken_even_where_all_together_may_have_less(start: Start):
    sidecar = await start(limits={"max_body": 4 * MIB, "bodies_in_flight": MIB})
    assert (await sidecar.send("POST", CHAT, data=LARGE)).status == 200


async def test_a_declared_length_above_the_limit_is_refused_before_the_body(start: Start):
    sidecar = await start(limits={"max_body": 10_000})
    reader, writer = await asyncio.open_connection("127.0.0.1", int(sidecar.url.rsplit(":", 1)[1]))
    writer.write(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 10001\r\n\r\n".encode())
    assert b"413" in await asyncio.wait_for(reader.readline(), 5)
    writer.close()


@pytest.mark.parametrize(("text", "status"), [(b"x" * 3_000_000, 413), (b"x" * 900_000, 200)])
async def test_a_body_unpacks_to_so_many_times_its_size(sidecar: Sidecar, text: bytes, status: int):
    packed = gzip.compress(BODY % text)
    assert len(packed) < 10_000
    reply = await sidecar.send("POST", CHAT, data=packed, headers={"Content-Encoding": "gzip"})
    assert reply.status == status
    if status == 413:
        assert "limits.unpack_ratio" in assert_error(reply, 413, "body_too_large")["message"]


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


HI = BODY % b"hi"


@pytest.mark.parametrize(
    ("packed", "coding"),
    [
        (gzip.compress(HI[:10]) + gzip.compress(HI[10:]), "gzip"),
        (gzip.compress(b"") + gzip.compress(HI), "x-gzip"),
        (raw_deflate(HI), "deflate"),
        (zlib.compress(HI), "deflate"),
        (zlib.compress(HI), "identity, deflate"),
    ],
    ids=["members", "an empty member", "raw", "zlib", "identity"],
)
async def test_every_way_to_pack_is_read(sidecar: Sidecar, upstream: Upstream, packed: bytes, coding: str):
    reply = await sidecar.send("POST", CHAT, data=packed, headers={"Content-Encoding": coding})
    assert reply.status == 200
    assert upstream.last.body == HI


@pytest.mark.parametrize(
    ("packed", "coding"),
    [
        (gzip.compress(HI) + b"more", "gzip"),
        (zlib.compress(HI) + b"more", "deflate"),
        (gzip.compress(gzip.compress(HI)), "gzip, gzip"),
        (HI, "br"),
        (gzip.compress(HI) + gzip.compress(b"") * 3000, "gzip"),
        (b"", "gzip"),
    ],
    ids=["behind gzip", "behind zlib", "twice", "unknown", "countless members", "nothing"],
)
async def test_what_cannot_be_unpacked_is_refused(sidecar: Sidecar, packed: bytes, coding: str):
    reply = await sidecar.send("POST", CHAT, data=packed, headers={"Content-Encoding": coding})
    assert_error(reply, 400, "invalid_content_encoding")


async def test_two_large_bodies_never_wait_for_each_other_halfway():
    bodies = Bodies(16 * MIB, 4 * MIB, wait=5.0)

    async def upload() -> None:
        with bodies.hold() as held:
            for arrived in range(0, 4 * MIB, MIB // 4):
                await held.reach(arrived, 4 * MIB)
                await asyncio.sleep(0)

    async with asyncio.timeout(2):
        await asyncio.gather(*(upload() for _ in range(20)))


async def test_the_longest_waiting_is_served_first_and_nothing_is_lost_to_who_gives_up():
    bodies = Bodies(8 * MIB, 4 * MIB, wait=0.05)
    with bodies.hold() as first:
        await first.reach(3 * MIB)
        with pytest.raises(TooManyBodies), bodies.hold() as second:
            await second.reach(3 * MIB)
        late = asyncio.ensure_future(bodies.hold().reach(2 * MIB))
        await asyncio.sleep(0)
        late.cancel()
        await asyncio.gather(late, return_exceptions=True)
    with bodies.hold() as third:
        await third.reach(4 * MIB)


@pytest.mark.parametrize("coding", ["identity", "gzip"])
async def test_a_byte_order_mark_is_skipped(start: Start, upstream: Upstream, coding: str):
    sidecar = await start()
    body = b"\xef\xbb\xbf" + BODY % b"hi"
    sent = gzip.compress(body) if coding == "gzip" else body
    answer = await sidecar.send("POST", CHAT, data=sent, headers={"Content-Encoding": coding})
    assert answer.status == 200
    assert upstream.requests[-1].body == BODY % b"hi"
