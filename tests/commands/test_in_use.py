"""A store in use: what the commands do to it, and what its server does meanwhile, get along."""

from __future__ import annotations

import asyncio

from aiohttp import ClientSession

from sidecar.cli import main
from sidecar.server.serve import running
from sidecar.settings import Settings
from sidecar.store import SQLiteStore


async def test_turns_are_recorded_while_others_are_deleted_copied_and_verified(file, tmp_path):
    settings = Settings.model_validate({"store": f"sqlite:///{file}", "listen": "127.0.0.1:0"})
    stop = asyncio.Event()
    seen: dict[str, int] = {}

    async def talks(http, url, user):
        number = 0
        while not stop.is_set():
            number += 1
            body = {"messages": [{"role": "user", "content": f"question {number} of {user}"}]}
            headers = {"X-Conversation-ID": f"of-{user}", "X-User-ID": user}
            async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                assert response.status == 200
                assert "X-Sidecar-Degraded" not in response.headers
                await response.read()
            seen[user] = number

    def command(*arguments):
        return asyncio.to_thread(main, [*arguments, "--store", f"sqlite:///{file}"])

    async with running(settings) as url, ClientSession() as http:
        talking = [asyncio.ensure_future(talks(http, url, f"user-{number}")) for number in range(4)]
        while len(seen) < 4:
            await asyncio.sleep(0.01)
        for at in range(3):
            gone = "--user", f"gone-{at}", "--no-credential"
            headers = {"X-Conversation-ID": f"gone-{at}", "X-User-ID": f"gone-{at}"}
            body = {"messages": [{"role": "user", "content": "xyzzy"}]}
            async with http.post(f"{url}/v1/chat/completions", json=body, headers=headers) as response:
                await response.read()
            assert await command("verify") == 0
            assert await command("backup", str(tmp_path / f"copy-{at}")) == 0
            assert await command("delete", *gone, "--yes") == 0
        stop.set()
        await asyncio.gather(*talking)

    store = SQLiteStore(str(file))
    await store.open()
    kept = {each.key: each.messages async for each in store.conversation_stats()}
    await store.close()
    assert kept == {f"of-{user}": 2 * number for user, number in seen.items()}
    assert b"xyzzy" not in b"".join(each.read_bytes() for each in tmp_path.glob("sidecar.db*"))
