"""Two hundred hostile payloads, in whatever a client and a model write: in a real browser nothing of them
runs, loads, or leaves its box."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser

from tests.e2e.inspector.conftest import upstream as upstream
from tests.e2e.inspector.conftest import visit as visit
from tests.e2e.inspector.test_pages import watched
from tests.e2e.openwebui.browser import browser as started
from tests.inspector.conftest import Visitor
from tests.inspector.test_hostile import PAYLOADS
from tests.proxy.mock_upstream import Upstream, says

_TURNS = 5  # payloads of a conversation
_WORD = "x" * 1_000_000
_UNFOLD = "document.querySelectorAll('details').forEach(each => each.open = true)"
_MADE = """[...document.querySelectorAll('*')].filter(each =>
    ['IFRAME', 'OBJECT', 'EMBED', 'BASE', 'STYLE', 'VIDEO', 'AUDIO'].includes(each.tagName)
    || [...each.attributes].some(one => one.name.startsWith('on') || /^\\s*javascript:/i.test(one.value))
    || (each.tagName === 'IMG' && !each.src.startsWith('data:image/'))
    || (each.tagName === 'SCRIPT' && !each.src.endsWith('/inspector.js'))).map(each => each.outerHTML)"""


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    async with started() as running:
        yield running


@pytest.fixture
async def visitor(visit, upstream: Upstream) -> Visitor:
    """All payloads, each as question, answer, reasoning, model, call and result."""
    visitor: Visitor = await visit()
    for first in range(0, len(PAYLOADS), _TURNS):
        for number, payload in enumerate(PAYLOADS[first : first + _TURNS]):
            call = {"id": payload, "type": "function", "function": {"name": payload, "arguments": payload}}
            upstream.will(says(payload, reasoning_content=payload, tool_calls=[call], model=payload))
            result = {"role": "tool", "tool_call_id": payload, "content": payload}
            asked: list[dict[str, Any]] = [{"role": "user", "content": payload, "name": payload}]
            if number:
                before = PAYLOADS[first + number - 1]
                asked.insert(0, {**result, "tool_call_id": before})
            reply = await visitor.sidecar.ask(
                *asked, id=f"hostile-{first}", model=payload, headers={"X-Sidecar-History": "append"}
            )
            assert reply.status == 200, (payload, reply.status)
    upstream.will(says(_WORD))
    assert (await visitor.sidecar.ask(_WORD, id="a-word")).status == 200
    return visitor


async def test_in_a_real_browser_no_payload_runs_loads_or_leaves_its_box(visitor: Visitor, browser: Browser):
    found: list[dict[str, Any]] = []
    at: str | None = ""
    while at is not None:
        page = await visitor.value(f"?before={at}" if at else "")
        found, at = found + page["rows"], page["next"]
    assert len(found) == len(PAYLOADS) // _TURNS + 1
    paths = ["", "live", "usage", "search?q=script", "search?q=alert", "search?q=onerror"]
    for row in found:
        paths += [f"c/{row['id']}/", f"c/{row['id']}/x/{row['last']['id']}"]
    seen = ""
    async with watched(browser) as browsed:
        await browsed.page.set_viewport_size({"width": 360, "height": 900})
        for path in paths:
            response = await browsed.page.goto(visitor.root + path)
            assert response is not None
            assert response.status == 200, path
            await browsed.page.evaluate(
                "document.querySelectorAll('details').forEach(each => each.open = true)"
            )
            assert await browsed.page.evaluate(_MADE) == [], path
            seen += await browsed.page.locator("body").inner_text()
            wide = await browsed.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 360, (path, wide)
        assert seen.count("<script>alert(1)</script>") > 40, "they were never shown"
        assert browsed.said == []
        assert all(each.startswith((visitor.root, "data:image/")) for each in browsed.asked)
