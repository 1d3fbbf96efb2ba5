"""While a large request is read, others are served."""

from __future__ import annotations

import asyncio
from collections.abc import Generator

from sidecar.dialects.chat.request import ChatRequest
from sidecar.proxy.receive import read_in_steps
from tests.conversation.build import request, user


async def test_between_two_steps_of_reading_others_run():
    order: list[str] = []

    def steps() -> Generator[None, None, ChatRequest]:
        for at in range(3):
            order.append(f"step {at}")
            yield
        return request(user("hi"))

    async def other() -> None:
        for at in range(3):
            order.append(f"other {at}")
            await asyncio.sleep(0)

    asked, _ = await asyncio.gather(read_in_steps(steps()), other())
    assert len(asked.path) == 1
    assert order == ["step 0", "other 0", "step 1", "other 1", "step 2", "other 2"]
