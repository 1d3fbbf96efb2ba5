"""What a user of Open WebUI does and sees, in a real browser.

Written for the front end of Open WebUI 0.12: what it is asked for by name (labels, ids) has been the same
for many releases. An action ends when the model has answered and nothing is under way any more.
"""

from __future__ import annotations

import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from playwright.async_api import Browser, Locator, Page, async_playwright

from tests.e2e.openwebui.model import Model

__all__ = ["Chat", "browser", "page_of"]

_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
_MESSAGE = '[id^="message-"]:has(.chat-user), [id^="message-"]:has(.chat-assistant)'
_QUESTION = '[id^="message-"]:has(.chat-user)'
_ANSWER = '[id^="message-"]:has(.chat-assistant)'
# The time and the number of the branch stand under a message, how long it took to think above it.
_NOT_SAID = re.compile(r"(\n+\w{3} \d+, \d+:\d+\s[AP]M)?(\n+\d+/\d+)?$|^Thought for [\w ]+\n+")


@asynccontextmanager
async def browser() -> AsyncIterator[Browser]:
    """Chromium without a window; `$CHROMIUM` names another one."""
    async with async_playwright() as playwright:
        name = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        running = await playwright.chromium.launch(executable_path=name, args=_FLAGS)
        try:
            yield running
        finally:
            await running.close()


async def page_of(running: Browser, url: str, token: str) -> Page:
    """A page of its own for whoever this token belongs to."""
    context = await running.new_context(viewport={"width": 1400, "height": 1000})
    # Set before any script of the page runs, so that it never sees somebody who is not signed in.
    await context.add_init_script(f"if (location.origin === '{url}') localStorage.token = '{token}'")
    page = await context.new_page()
    page.set_default_timeout(20_000)
    return page


class Chat:
    """One chat on one page."""

    def __init__(self, page: Page, url: str, model: Model) -> None:
        self.page, self.url, self.model = page, url, model

    @property
    def id(self) -> str:
        found = re.search(r"/c/([0-9a-f-]{36})", self.page.url)
        assert found is not None, self.page.url
        return found[1]

    async def begin(self, *models: str, temporary: bool = False) -> None:
        """An empty chat with these models."""
        names = ",".join(models or ("model-a",))
        await self._go(f"/?models={names}" + ("&temporary-chat=true" if temporary else ""))

    async def open(self, id: str) -> None:
        """A chat that is there already, at its current branch."""
        await self._go(f"/c/{id}")
        await self.page.locator(_MESSAGE).last.wait_for()

    async def send(
        self, text: str, *, answers: int = 1, wait: bool = True, follow_ups: int | None = None
    ) -> None:
        """Say this. `answers`: how many requests for the model that brings about.

        `follow_ups`: after how many tasks for them, in all, it is over. They are the last that comes of a
        turn, and to wait for them is quicker than to wait until nothing comes any more.
        """
        if follow_ups is None:
            await self._said(len(self.model.turns) + answers if wait else 0, self._type(text))
            return
        await self._type(text)
        await self.model.until(lambda: self.model.tasks.count("follow_ups") >= follow_ups)
        await self.model.quiet(0)
        await self._stopped()

    async def attach(self, file: Path) -> None:
        """Attach it to what is said next, and wait until Open WebUI has read it."""
        async with self.page.expect_response(lambda each: "/process/status" in each.url) as status:
            await self.page.set_input_files("input[type=file]", str(file))
        await (await status.value).finished()
        await self.page.wait_for_timeout(300)

    async def stop(self) -> None:
        await self.page.get_by_label("Stop", exact=True).first.click()
        await self._settled()

    async def regenerate(self, how: str = "Try Again", *, at: int = -1, answers: int = 1) -> None:
        async def press() -> None:
            await _press(self._answer(at).get_by_label("Regenerate", exact=True))
            await self.page.get_by_text(how, exact=True).first.click()

        await self._said(len(self.model.turns) + answers, press())

    async def go_on(self) -> None:
        """Continue response."""
        button = self._answer(-1).get_by_label("Continue Response", exact=True)
        await self._said(len(self.model.turns) + 1, _press(button))

    async def edit_question(self, at: int, text: str) -> None:
        async def edit() -> None:
            message = self._question(at)
            await _press(message.get_by_label("Edit", exact=True))
            await message.locator("textarea").fill(text)
            await message.locator("#confirm-edit-message-button").click()

        await self._said(len(self.model.turns) + 1, edit())

    async def edit_answer(self, at: int, text: str, *, copy: bool = False) -> None:
        """Nothing is asked of the model by that. `copy` keeps the answer as it was beside the new one."""
        message = self._answer(at)
        await _press(message.get_by_label("Edit", exact=True))
        await message.locator("textarea").fill(text)
        save = "#save-new-message-button" if copy else "#confirm-edit-message-button"
        await message.locator(save).click()
        await self.page.get_by_text(text, exact=True).wait_for()
        await self._settled()

    async def delete(self, at: int) -> None:
        """Delete a question together with its answer."""
        message = self._question(at)
        gone = await message.inner_text()
        await _press(message.get_by_label("Delete", exact=True))
        await self.page.get_by_role("button", name="Confirm", exact=True).click()
        await self.page.get_by_text(gone, exact=True).wait_for(state="detached")
        await self._settled()

    async def turn_back(self, at: int) -> None:
        """Show the branch before this one at that question."""
        await _press(self._question(at).get_by_label("Previous message", exact=True))
        await self._settled()

    async def merge(self) -> None:
        """Merge the answers that stand side by side."""
        await self.page.locator("#merge-response-button").click()
        await self.page.get_by_text("Merged by the model.").first.wait_for()
        await self._settled()

    async def shown(self) -> list[str]:
        """The messages on the page from top to bottom, as a user reads them."""
        found = self.page.locator(".chat-user, .chat-assistant")
        return [_NOT_SAID.sub("", text.strip()).strip() for text in await found.all_inner_texts()]

    def _question(self, at: int) -> Locator:
        return _nth(self.page.locator(_QUESTION), at)

    def _answer(self, at: int) -> Locator:
        return _nth(self.page.locator(_ANSWER), at)

    async def _go(self, path: str) -> None:
        await self.page.goto(self.url + path)
        await self.page.locator("#chat-input").wait_for(timeout=60_000)
        # The page takes input before it knows its models, and forgets what was said to none.
        await self.page.locator("#model-selector-model-button, [id^=model-selector]").first.wait_for()

    async def _type(self, text: str) -> None:
        await self.page.locator("#chat-input").click()
        await self.page.keyboard.insert_text(text)
        await self.page.locator("#send-message-button").click()

    async def _said(self, turns: int, action) -> None:
        await action
        if turns:
            await self.model.turned(turns)
            await self._settled()

    async def _settled(self) -> None:
        await self.model.quiet()
        await self._stopped()

    async def _stopped(self) -> None:
        await self.page.get_by_label("Stop", exact=True).wait_for(state="detached")


def _nth(found: Locator, at: int) -> Locator:
    return found.last if at == -1 else found.nth(at)


async def _press(buttons: Locator) -> None:
    """Some of the buttons show only under the mouse; a press on them is the same."""
    await buttons.first.evaluate("button => button.click()")
