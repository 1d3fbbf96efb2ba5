"""The least that a proxy on aiohttp and uvloop can do: pass everything on. `python nothing.py PORT`

It does what makes such a proxy cheap: it keeps its connections to the upstream, reads nothing of what it
passes on, writes each chunk as it came, and has no access log. It prints the port that it serves on.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable

import aiohttp
import uvloop
from aiohttp import web
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

_HOP_BY_HOP = ("Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Host", "TE", "Upgrade")


def _passed_on(headers: CIMultiDictProxy[str]) -> CIMultiDict[str]:
    kept = CIMultiDict(headers)
    for name in _HOP_BY_HOP:
        kept.popall(name, None)
    return kept


def _proxy(
    session: aiohttp.ClientSession, origin: str
) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    async def pass_on(request: web.Request) -> web.StreamResponse:
        async with session.request(
            request.method,
            URL(origin + request.raw_path, encoded=True),
            headers=_passed_on(request.headers),
            data=await request.read() if request.body_exists else None,
            allow_redirects=False,
        ) as answer:
            response = web.StreamResponse(status=answer.status, headers=_passed_on(answer.headers))
            response.content_length = answer.content_length
            await response.prepare(request)
            while chunk := await answer.content.readany():
                await response.write(chunk)
            await response.write_eof()
            return response

    return pass_on


async def _serve(upstream_port: int) -> None:
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
    )
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", _proxy(session, f"http://127.0.0.1:{upstream_port}"))
    runner = web.AppRunner(app, access_log=None, auto_decompress=False)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0, backlog=4096).start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1])))
