"""The inspector, filled by people who chat in Open WebUI, and looked at in the same browser.

One test, since what fills it takes longest: branches, tools, an image, a cut, a summary, an error, an answer
that was stopped.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from playwright.async_api import Page

from tests.e2e.inspector.conftest import axe as axe
from tests.e2e.inspector.test_pages import Scheme, serious, tabbed_to, visited, watched
from tests.e2e.openwebui.conftest import House
from tests.e2e.openwebui.model import Model
from tests.e2e.openwebui.server import sidecar
from tests.e2e.openwebui.test_contents import PICTURE
from tests.e2e.program import free_ports

pytestmark = pytest.mark.asyncio(loop_scope="session")

TURNS = 5
_SCHEMES: tuple[Scheme, ...] = ("light", "dark")


@asynccontextmanager
async def inspected(house: House, folder: Path) -> AsyncIterator[tuple[str, Model]]:
    """A sidecar that cuts and summarises; the address of its inspector, and the model of its summaries."""
    port, admin, behind = free_ports(3)
    writer, program = Model(behind), sidecar(folder, port, house.model.port)
    program.environment |= {
        "SIDECAR_ADMIN__LISTEN": f"127.0.0.1:{admin}",
        "SIDECAR_INSPECTOR__KEEP_REQUESTS": "all",
        "SIDECAR_TRIM__MAX_MESSAGES": "6",
        "SIDECAR_SUMMARY__MODEL": "model-b",
        "SIDECAR_SUMMARY__UPSTREAM": f"http://127.0.0.1:{behind}/v1",
    }
    await writer.start()
    try:
        await program.start()
        async with house.connected_to(f"http://127.0.0.1:{port}/v1"):
            yield await _address(program.log), writer
    finally:
        await program.stop()
        await writer.stop()


async def _address(log: Path) -> str:
    for _ in range(100):
        if found := re.search(r"http://\S+/-/inspect/\S+", log.read_text()):
            return found[0]
        await asyncio.sleep(0.1)
    raise AssertionError(log.read_text())


async def _chatted(house: House, writer: Model, folder: Path) -> None:
    """What people do."""
    picture = folder / "picture.png"
    picture.write_bytes(PICTURE)
    chat = await house.chat()
    await chat.attach(picture)
    await chat.send("What do you see? [think]")
    await chat.send("What time is it there? [tools]", answers=3)
    await chat.regenerate(answers=3)
    await chat.send("Fail! [500]")

    chat = await house.chat()
    for at in range(TURNS):
        await chat.send(f"Question {at} of the harbour?")
    await writer.until(lambda: writer.asked)
    await writer.quiet()
    await chat.send("And what did I ask first?")
    await chat.send("Count! [slow]", wait=False)
    await chat.page.get_by_text("word15").wait_for()
    await chat.stop()


@pytest.mark.parametrize("running", ["template headers"], indirect=True)
async def test_what_people_did_in_open_webui_can_be_read_by_everybody(house: House, axe: str, tmp_path: Path):
    async with inspected(house, tmp_path) as (root, writer):
        await _chatted(house, writer, tmp_path)
        async with watched(house.browser) as at, watched(house.browser, scripts=False) as plain:
            seen = ""
            async for address in visited(plain.page, root):
                await at.page.goto(address)
                said = await plain.page.locator("body").inner_text()
                assert await at.page.locator("body").inner_text() == said
                seen += said
                await _fits(at.page, axe)
                await _pictured(at.page, tmp_path)
            assert not at.said
            assert all(each.startswith((root, "data:image/")) for each in at.asked), at.asked
            for told in ("trimmed", "summary", "2 of 2", "client hung up", "500", "get_current"):
                assert told in seen, told
            await _read(at.page, root, axe)
            await _pictured(at.page, tmp_path)
            assert not at.said


async def _read(page: Page, root: str, axe: str) -> None:
    """With the keyboard alone: what an error said; why so much of the long chat was left out; the summary."""
    await page.goto(root)
    await tabbed_to(page, "What do you see? [think]")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/c/**")
    await page.get_by_role("link", name="what went where").last.focus()
    await page.keyboard.press("Enter")
    await page.get_by_text("the model says 500").first.wait_for()
    await _fits(page, axe)

    await page.goto(root)
    await tabbed_to(page, "Question 0 of the harbour?")
    await page.keyboard.press("Enter")
    await page.wait_for_url("**/c/**")
    summed = page.locator("footer.foot").filter(has_text="summary")
    await summed.get_by_role("link", name="what went where").last.focus()
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="The summary that stood for what was left out").wait_for()
    said = await page.locator("main").inner_text()
    assert "The limit was 6 messages: " in said
    assert "trim.step" in said
    await _fits(page, axe)


async def _fits(page: Page, axe: str) -> None:
    """Nobody is shut out, and nothing is beyond the edge, whatever the colours and the width."""
    for scheme in _SCHEMES:
        await page.emulate_media(color_scheme=scheme)
        found = await serious(page, axe)
        assert not found, (page.url, scheme, found)
    for width in (360, 1280):
        await page.set_viewport_size({"width": width, "height": 900})
        wide = await page.evaluate("document.documentElement.scrollWidth")
        assert wide <= width, (page.url, wide)


async def _pictured(page: Page, folder: Path) -> None:
    """For people who want to see it: among what is left of a test."""
    number = len(list(folder.glob("page-*.png")))
    for scheme, width in zip(_SCHEMES, (1280, 360), strict=True):
        await page.emulate_media(color_scheme=scheme)
        await page.set_viewport_size({"width": width, "height": 900})
        name = re.sub(r"[^a-z]+", "-", (await page.title()).lower())[:40]
        await page.screenshot(path=folder / f"page-{number:03}-{name}-{scheme}-{width}.png", full_page=True)
    await page.set_viewport_size({"width": 1280, "height": 900})
