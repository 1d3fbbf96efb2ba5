"""Two sidecars of one machine on one file of SQLite, each started by itself, as their guides allow it."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from aiohttp import ClientSession

from tests.proxy.client import CHAT
from tests.proxy.process import serving

_APPEND = {"X-Conversation-ID": "a", "X-Sidecar-History": "append"}


async def asks(http: ClientSession, url: str, text: str) -> str:
    body = {"messages": [{"role": "user", "content": text}]}
    async with http.post(url + CHAT, json=body, headers=_APPEND) as response:
        assert response.status == 200, await response.text()
        assert "X-Sidecar-Degraded" not in response.headers
        said: str = (await response.json())["choices"][0]["message"]["content"]
        return said


async def test_they_keep_the_turns_of_a_chat_in_order_and_one_takes_the_place_of_the_other(tmp_path: Path):
    flags = ("--store", f"sqlite:///{tmp_path}/sidecar.db")
    async with (
        serving(*flags, folder=tmp_path) as one,
        serving(*flags, folder=tmp_path) as two,
        ClientSession() as http,
    ):
        both = (one.url, two.url)
        said = await asyncio.gather(*(asks(http, both[at % 2], f"question {at}") for at in range(12)))
        # The demo says how many messages it got: each turn had all those before it.
        counts = sorted(int(each.split()[2]) for each in said)
        assert counts == [1 + 2 * at for at in range(12)]
        one.running.send_signal(signal.SIGTERM)
        assert await asks(http, two.url, "and now?")
        assert await one.running.wait() == 0
        assert (await asks(http, two.url, "and now?")).startswith("I see 27 messages")
