"""Message ids that are none."""

from __future__ import annotations

import asyncio

from yarl import URL

from tests.proxy.client import CHAT, Sidecar

BODY = b'{"messages": [{"role": "user", "content": "hi"}]}'


async def test_a_message_id_that_is_no_text_does_not_cost_the_turn(sidecar: Sidecar):
    address = URL(sidecar.url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(
        b"POST %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n"
        b"X-Conversation-ID: a\r\nX-Message-ID: \xff\r\nX-User-Message-ID: good\r\n\r\n%s"
        % (CHAT.encode(), len(BODY), BODY)
    )
    assert (await reader.read()).startswith(b"HTTP/1.1 200 ")
    writer.close()
    await writer.wait_closed()
    messages = (await sidecar.only()).messages
    assert [each["message_id"] for each in messages] == ["good", None]
