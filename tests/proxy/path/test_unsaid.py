"""What the sidecar says of requests that go wrong holds no credential, wherever the client had put it."""

from __future__ import annotations

import asyncio
import logging

import pytest
from yarl import URL

from tests.proxy.client import CHAT, Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream

SECRET = "SECRET-of-a-client"
TARGETS = (f"{CHAT}?key={SECRET}", f"/v1/models?token={SECRET}", f"host:443?key={SECRET}", f"*?key={SECRET}")


async def said(sidecar: Sidecar, method: str, target: str, *lines: str) -> str:
    head = "\r\n".join((f"{method} {target} HTTP/1.1", "Host: x", "Connection: close", *lines, "", ""))
    reader, writer = await asyncio.open_connection("127.0.0.1", URL(sidecar.url).port)
    writer.write(head.encode())
    answer = (await reader.read()).decode()
    writer.close()
    return answer


def in_log(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(f"{vars(each)}" for each in caplog.records if each.name.startswith("sidecar"))


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("method", ["GET", "POST", "CONNECT", "OPTIONS"])
async def test_neither_log_nor_pages_repeat_a_credential(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture, method: str, target: str
):
    caplog.set_level(logging.DEBUG)
    sidecar = await start(trim={"window_refresh": 3600})
    await upstream.stop()
    own = [f"Authorization: Bearer {SECRET}", f"x-api-key: {SECRET}", f"X-User-ID: {SECRET}"]
    for more in ((), (own[0] + "x",), ("Upgrade: websocket", "Connection: upgrade"), ("Expect: nothing",)):
        assert await said(sidecar, method, target, *own, *more)
    pages = []
    for path in ("/-/ready", "/-/metrics", "/-/doctor"):
        pages.append((await sidecar.send("GET", path)).body.decode())
    for each in (*pages, in_log(caplog)):
        assert SECRET not in each
