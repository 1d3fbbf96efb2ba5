"""A stream whose client did not ask for its token counts has none, and its page says how to ask."""

from __future__ import annotations

import pytest

from tests.inspector.conftest import Visitor
from tests.inspector.test_client_view import ids
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import CUT, DONE, Upstream, event, says, streams

HOW = "stream_options.include_usage"


async def page(visitor: Visitor) -> str:
    (exchange,) = await ids(visitor)
    return (await visitor.get(f"{await opened(visitor, 'a')}x/{exchange}")).text


async def test_a_stream_without_counts_says_how_a_client_asks_for_them(visitor: Visitor, upstream: Upstream):
    upstream.will(streams(event({"content": "hello"}), event({}, finish="stop"), DONE))
    await visitor.sidecar.ask("hi", id="a", stream=True)
    assert HOW in await page(visitor)


async def test_an_answer_in_one_piece_was_not_asked_for_its_counts(visitor: Visitor, upstream: Upstream):
    upstream.will(says("hello"))
    await visitor.sidecar.ask("hi", id="a")
    assert HOW not in await page(visitor)


async def test_a_stream_that_broke_off_has_no_counts_whoever_asks(visitor: Visitor, upstream: Upstream):
    upstream.will(streams(event({"content": "hel"}), CUT))
    with pytest.raises(Exception, match="payload"):
        await visitor.sidecar.ask("hi", id="a", stream=True)
    assert HOW not in await page(visitor)
