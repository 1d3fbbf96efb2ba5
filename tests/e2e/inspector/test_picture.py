"""The picture in the README: what an exchange looks like in which something was restored and something cut.

`PICTURE=config/guides/inspector.png ./dev e2e tests/e2e/inspector/test_picture.py` makes it anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from playwright.async_api import Browser, expect

from tests.e2e.inspector.test_pages import watched
from tests.inspector.conftest import Visitor
from tests.proxy.client import Sidecar
from tests.proxy.mock_upstream import Upstream, event, says, streams, told

_LARGEST = 150_000  # bytes; it is in every clone, and on the first screen
_CHAT = "lisbon"
_MODEL = "m"
_TOOLS = [{"type": "function", "function": {"name": "ferries", "parameters": {"type": "object"}}}]
_PRODUCED, _SPELLED_ANEW = '{"from": "Lisbon", "to": "Cacilhas"}', '{"from":"Lisbon","to":"Cacilhas"}'


def _call(arguments: str) -> dict[str, Any]:
    return {"id": "call_1", "type": "function", "function": {"name": "ferries", "arguments": arguments}}


async def test_the_picture_shows_what_was_restored_and_what_was_cut(
    visit, upstream: Upstream, browser: Browser, tmp_path: Path
):
    visitor: Visitor = await visit(trim={"max_turns": 2, "step": 0.5})
    await _chat(visitor.sidecar, upstream)
    file = Path(os.environ.get("PICTURE") or tmp_path / "inspector.png")
    async with watched(browser) as at:
        await at.page.set_viewport_size({"width": 750, "height": 900})
        await at.page.goto(visitor.root)
        await at.page.get_by_text("Plan a weekend in Lisbon.").first.click()
        await at.page.get_by_text("what went where").last.click()
        await expect(at.page.get_by_role("heading", name="What went where")).to_be_visible()
        seen = await at.page.locator("body").inner_text()
        # Smaller, so that all of it fits on a screen.
        await at.page.evaluate("document.documentElement.style.zoom = 0.75")
        end = await at.page.locator("table").last.evaluate("each => each.getBoundingClientRect().bottom")
        await at.page.screenshot(
            path=file, full_page=True, clip={"x": 0, "y": 0, "width": 750, "height": end + 20}
        )
        assert not at.said
    assert "restored" in seen
    assert "left out" in seen
    assert 10_000 < file.stat().st_size <= _LARGEST


async def _chat(sidecar: Sidecar, upstream: Upstream) -> None:
    """Three turns; the client spells a call in its own way when it sends it back."""
    upstream.will(says("Day 1: **tram 28** and Alfama. Day 2: the ferry to Cacilhas."))
    upstream.will(says(None, finish="tool_calls", tool_calls=[_call(_PRODUCED)]))
    upstream.will(says("Every 20 minutes, until 1:20 at night."))
    usage = {"prompt_tokens": 412, "completion_tokens": 9, "prompt_tokens_details": {"cached_tokens": 371}}
    *pieces, done = told("The last one leaves at 1:20.")
    upstream.will(streams(*pieces, event({}, usage=usage), done))
    said: list[str | dict[str, Any]] = ["Plan a weekend in Lisbon."]
    await sidecar.ask(*said, id=_CHAT, model=_MODEL, tools=_TOOLS)
    said += ["Day 1: **tram 28** and Alfama. Day 2: the ferry to Cacilhas.", "When do the ferries go?"]
    await sidecar.ask(*said, id=_CHAT, model=_MODEL, tools=_TOOLS)
    result = {"role": "tool", "tool_call_id": "call_1", "content": '{"every_minutes": 20, "last": "01:20"}'}
    said += [{"role": "assistant", "content": None, "tool_calls": [_call(_SPELLED_ANEW)]}, result]
    await sidecar.ask(*said, id=_CHAT, model=_MODEL, tools=_TOOLS)
    said += ["Every 20 minutes, until 1:20 at night.", "And the last one?"]
    await sidecar.ask(*said, id=_CHAT, model=_MODEL, tools=_TOOLS, stream=True)
