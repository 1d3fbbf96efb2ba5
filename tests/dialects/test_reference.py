"""The assembler against a reader that is slow and plain."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from tests.dialects.gateways import GATEWAYS
from tests.dialects.transcripts import TRANSCRIPTS
from tests.fuzz.streams import STREAMS, one


@settings(deadline=None, max_examples=100)
@given(STREAMS)
def test_whatever_comes_is_read_by_the_rules(stream):
    one(stream)


@pytest.mark.parametrize(
    "transcript",
    [each for each in (*TRANSCRIPTS, *GATEWAYS) if each.choices == 1],
    ids=lambda each: each.name,
)
def test_so_is_what_servers_send(transcript):
    one(transcript.stream)
