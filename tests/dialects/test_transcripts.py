"""Golden streams of real servers: what they say, in one piece and in any pieces."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.dialects.chat.assembly import Assembler, from_stream
from sidecar.dialects.chat.done_marker import Ending
from sidecar.dialects.sse import Decoder
from tests.dialects.gateways import GATEWAYS
from tests.dialects.transcripts import TRANSCRIPTS, Transcript

ALL = [*TRANSCRIPTS, *GATEWAYS]
each = pytest.mark.parametrize("transcript", ALL, ids=lambda transcript: transcript.name)


@each
def test_a_stream_says_what_its_server_meant(transcript: Transcript):
    assembled = from_stream(transcript.stream, transcript.choices)
    messages = [(reply.finish_reason, json.loads(reply.message)) for reply in assembled.replies]
    assert messages == transcript.messages
    assert [list(message) for _, message in messages] == [list(message) for _, message in transcript.messages]
    assert (assembled.model, assembled.done, assembled.ignored) == (
        transcript.model,
        transcript.done,
        transcript.ignored,
    )
    assert (assembled.usage or b"").decode() == (transcript.usage or "")
    assert (assembled.error or b"").decode() == (transcript.error or "")


@settings(deadline=None)
@given(st.sampled_from(ALL), st.data())
def test_any_split_at_any_bytes_says_the_same(transcript: Transcript, data: st.DataObject):
    stream = transcript.stream
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    chunks = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    decoder, assembler, ending = Decoder(), Assembler(transcript.choices), Ending()
    released = b""
    for chunk in chunks:
        released += ending.feed(chunk)
        for payload in decoder.feed(chunk):
            assembler.add(payload)
    for payload in decoder.close():
        assembler.add(payload)
    assert assembler.result() == from_stream(stream, transcript.choices)
    assert released + ending.held == stream
    assert ending.done == transcript.done
    assert ending.held.rstrip() == (b"data: [DONE]" if transcript.done else b"")


@each
def test_a_stream_cut_anywhere_says_a_part_of_it(transcript: Transcript):
    def said(stream):
        return from_stream(stream, transcript.choices).replies

    whole = {reply.index: json.loads(reply.message) for reply in said(transcript.stream)}
    for cut in range(len(transcript.stream)):
        for reply in said(transcript.stream[:cut]):
            assert _text(whole[reply.index]).startswith(_text(json.loads(reply.message)))


def _text(message):
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "".join(part.get("text") or part["thinking"][0]["text"] for part in content)
