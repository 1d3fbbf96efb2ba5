"""How much of a reply is kept: the rest is relayed all the same, and the chat goes on."""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from typing import Any

import pytest

from tests.proxy.client import Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import DONE, EVENTS, JSON, Upstream, completion, event, sends, streams

LIMIT = 100_000
LONG = "word after word " * 20_000  # 320 kB


def pieces(text: str, size: int = 20_000, **more: Any) -> list[bytes]:
    """Events that are not alike, so that each of them counts."""
    parts = [text[at : at + size] for at in range(0, len(text), size)]
    return [event({"content": part}, system_fingerprint=f"f{at}", **more) for at, part in enumerate(parts)]


def stream_of(text: str) -> list[bytes]:
    return [event({"role": "assistant", "content": ""}), *pieces(text), event({}, finish="stop"), DONE]


async def answer_of(sidecar: Sidecar) -> dict[str, Any]:
    (answer,) = [each for each in (await sidecar.only()).messages if each["message"]["role"] == "assistant"]
    return answer


async def test_a_longer_stream_is_relayed_whole_and_its_beginning_kept(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": LIMIT})
    upstream.will(streams(*stream_of(LONG)))
    reply = await sidecar.ask("hi", id="a", stream=True)
    assert reply.body == b"".join(stream_of(LONG))
    answer = await answer_of(sidecar)
    kept = answer["message"]["content"]
    assert answer["state"] == "partial"
    assert LONG.startswith(kept)
    assert LIMIT / 2 < len(kept) < LIMIT
    assert await sidecar.metric("sidecar_replies_cut_total") == 1


async def test_a_longer_body_is_relayed_whole_and_its_question_kept(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": LIMIT})
    body = completion(LONG)
    upstream.will(sends(body[:50_000], body[50_000:]))
    assert (await sidecar.ask("hi", id="a")).body == body
    assert (await sidecar.only()).texts == ["hi"]
    assert await sidecar.metric("sidecar_replies_cut_total") == 1


@pytest.mark.parametrize("streamed", [True, False])
async def test_a_reply_that_unpacks_to_more_is_kept_in_part(start: Start, upstream: Upstream, streamed: bool):
    sidecar = await start(limits={"max_reply": LIMIT})
    body = gzip.compress(b"".join(stream_of(LONG)) if streamed else completion(LONG))
    assert len(body) < LIMIT
    packed = {**(EVENTS if streamed else JSON), "Content-Encoding": "gzip"}
    upstream.will((streams if streamed else sends)(body, headers=packed))
    reply = await sidecar.ask("hi", id="a", stream=streamed)
    assert reply.body == body
    assert await sidecar.metric("sidecar_replies_cut_total") == 1
    if streamed:
        assert (await answer_of(sidecar))["state"] == "partial"


async def test_the_words_of_a_stream_count_and_not_its_bytes(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": 1_200_000})
    words = [event({"role": "assistant", "content": ""}), *[event({"content": "word "})] * 20_000]
    stream = [b"".join(words[at : at + 500]) for at in range(0, len(words), 500)]
    assert sum(map(len, stream)) > 2_000_000
    upstream.will(streams(*stream, event({}, finish="stop"), DONE))
    await sidecar.ask("hi", id="a", stream=True)
    answer = await answer_of(sidecar)
    assert (answer["state"], answer["message"]["content"]) == ("complete", "word " * 20_000)


async def test_every_choice_of_a_longer_reply_is_partial(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": LIMIT})
    first = [event({"content": "short"}, index=0), event({}, finish="stop", index=0)]
    upstream.will(streams(*first, *pieces(LONG), DONE))
    await sidecar.ask("hi", id="a", stream=True, n=2)
    messages = (await sidecar.only()).messages
    assert {each["state"] for each in messages if each["message"]["role"] == "assistant"} == {"partial"}


async def test_a_client_that_sends_all_goes_on_with_what_it_saw(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": LIMIT})
    upstream.will(streams(*stream_of(LONG)))
    await sidecar.ask("hi", id="a", stream=True)
    assert (await sidecar.ask("hi", LONG, "and now?", id="a")).status == 200
    assert upstream.last.said == ["hi", LONG, "and now?"]
    assert (await sidecar.ask("hi", LONG, "and now?", "ok", "then?", id="a")).status == 200
    assert upstream.last.said == ["hi", LONG, "and now?", "ok", "then?"]


async def test_a_client_that_sends_only_what_is_new_goes_on_too(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": LIMIT})
    await sidecar.ask("hi", id="a")
    upstream.will(streams(*stream_of(LONG)))
    await sidecar.ask("much, please", id="a", stream=True)
    assert (await sidecar.ask("and now?", id="a")).status == 200
    said = upstream.last.said
    assert [said[0], said[1], said[2], said[-1]] == ["hi", "ok", "much, please", "and now?"]


async def test_many_long_replies_share_what_there_is(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": 8 << 20, "replies_in_flight": 1 << 20})
    much = "x" * 5_000_000
    upstream.will(streams(*stream_of(much)))
    assert (await sidecar.ask("hi", id="a", stream=True)).body == b"".join(stream_of(much))
    answer = await answer_of(sidecar)
    assert answer["state"] == "partial"
    assert 1 << 20 < len(answer["message"]["content"]) < 3 << 20
    # What it had is free again.
    upstream.will(streams(*stream_of("y" * 1_400_000)))
    await sidecar.ask("hi", id="b", stream=True)
    assert [each.messages[-1]["state"] for each in await sidecar.stored() if each.key == "b"] == ["complete"]


async def test_nobody_waits_for_the_rest_of_a_reply_whose_client_has_left(start: Start, upstream: Upstream):
    sidecar = await start(limits={"max_reply": LIMIT}, history={"on_disconnect": "finish"})
    upstream.will(streams(*pieces(LONG), 60.0))
    body = json.dumps({"model": "m", "stream": True, "messages": [{"role": "user", "content": "hi"}]})
    headers = {"X-Conversation-ID": "a"}
    async with sidecar.http.post(
        f"{sidecar.url}/v1/chat/completions", data=body, headers=headers
    ) as response:
        await response.content.readany()
    await eventually(upstream.last.gone.is_set)


async def test_what_unpacks_to_nothing_is_not_held_back_for_ever(sidecar: Sidecar, upstream: Upstream):
    packer = zlib.compressobj(wbits=31)
    nothing = b"\x00\x00\x00\xff\xff" * 4000  # empty blocks
    body = packer.compress(event({"content": "a"}) + b"data: [D") + packer.flush(zlib.Z_SYNC_FLUSH)
    left = asyncio.Event()
    upstream.will(streams(body, *[nothing] * 20, left, headers={**EVENTS, "Content-Encoding": "gzip"}))
    request = json.dumps({"stream": True, "messages": [{"role": "user", "content": "hi"}]})
    async with sidecar.http.post(f"{sidecar.url}/v1/chat/completions", data=request) as response:
        came = b""
        while len(came) < 20 * len(nothing) // 2:
            came += await response.content.readany()
    left.set()
