"""What a client sends again with every request is in the store once."""

from __future__ import annotations

import base64
import random
import sqlite3
from contextlib import closing

from tests.proxy.client import Sidecar, assert_error
from tests.proxy.mock_upstream import Upstream

OPEN_WEBUI = {"X-OpenWebUI-Chat-Id": "a"}
PIXELS = random.Random(1).randbytes(150_000)
IMAGE = "data:image/png;base64," + base64.b64encode(PIXELS).decode()
LOOK = {
    "role": "user",
    "content": [{"type": "text", "text": "look"}, {"type": "image_url", "image_url": {"url": IMAGE}}],
}
TOOLS = [
    {
        "type": "function",
        "function": {"name": f"tool_{number}", "description": "what it is for. " * 100, "parameters": {}},
    }
    for number in range(20)
]
SYSTEM = {"role": "system", "content": "You are helpful. " * 500}


def stored(sidecar: Sidecar) -> bytes:
    """Every byte that the file holds, once the log is in it."""
    path = sidecar.settings.store_path
    assert path is not None
    with closing(sqlite3.connect(path)) as other:
        assert other.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0
    with open(path, "rb") as file:
        return file.read()


async def talk(sidecar: Sidecar, turns: int) -> None:
    history: list = [SYSTEM, LOOK]
    for number in range(turns):
        assert (await sidecar.ask(*history, headers=OPEN_WEBUI, tools=TOOLS)).status == 200
        history += [
            {"role": "assistant", "content": "ok"},
            {"role": "user", "content": f"question {number}"},
        ]


async def test_an_image_that_comes_with_every_request_is_stored_once(sidecar: Sidecar, upstream: Upstream):
    await talk(sidecar, 15)
    assert len(upstream.last.body) > len(IMAGE)
    assert len(await sidecar.stored()) == 1
    assert stored(sidecar).count(PIXELS[100:400]) == 1
    # Asked anew, and then with other words after it: answers and branches hang on the same message.
    await sidecar.ask(SYSTEM, LOOK, headers=OPEN_WEBUI, tools=TOOLS)
    await sidecar.ask(SYSTEM, LOOK, "ok", "another question", headers=OPEN_WEBUI, tools=TOOLS)
    assert stored(sidecar).count(PIXELS[100:400]) == 1


async def test_a_picture_that_was_damaged_in_the_file_never_goes_upstream_as_another(
    sidecar: Sidecar, upstream: Upstream
):
    await sidecar.ask(LOOK, id="a")
    path = sidecar.settings.store_path
    assert path is not None
    with closing(sqlite3.connect(path)) as other:
        ((number, held),) = other.execute("SELECT number, bytes FROM part").fetchall()
        flipped = held[:5000] + bytes([held[5000] ^ 1]) + held[5001:]
        other.execute("UPDATE part SET bytes = ? WHERE number = ?", (flipped, number))
        other.commit()

    assert_error(await sidecar.ask("and now?", id="a"), 503, "store_unavailable")
    assert len(upstream.requests) == 1
    assert (await sidecar.ask(LOOK, "ok", "and now?", id="a")).status == 200
    assert IMAGE.encode() in upstream.last.body
    assert (await sidecar.ask("hi", id="b")).status == 200


async def test_lists_of_tools_are_not_stored_and_a_system_message_twice_at_most(sidecar: Sidecar):
    await talk(sidecar, 15)
    file = stored(sidecar)
    assert file.count(b'"tool_3"') == 0
    # The first and the last are kept, for pinning and for clients that send none.
    assert 1 <= file.count(b'[{"role": "system"') <= 2
    assert len(file) < len(IMAGE) + 150_000
