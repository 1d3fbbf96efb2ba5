"""The addresses of the inspector, each with what it answers.

Rule: whoever asks is looked at before what is asked for: the name that he calls the sidecar by, the page that
sends him, the token. Who looked at which conversation is said in the log.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from aiohttp import web

from sidecar.errors import NotFound, SidecarError
from sidecar.inspector import conversation_list
from sidecar.inspector.door import PLACE, Door
from sidecar.inspector.render import as_html, as_json, style_sheet
from sidecar.inspector.responses import response
from sidecar.proxy.services import Services

__all__ = ["Inspector"]

log = logging.getLogger("sidecar.inspector")

#: Pages that are made at a time: they share the processor with the streams.
_AT_A_TIME = 2


class Inspector:
    """Answers what is asked below `/-/inspect`."""

    def __init__(self, services: Services, door: Door) -> None:
        self._services = services
        self._door = door
        self._making = asyncio.Semaphore(_AT_A_TIME)

    @staticmethod
    def is_asked(request: web.BaseRequest) -> bool:
        """Is it a page of the inspector?"""
        return request.path == PLACE or request.path.startswith(PLACE + "/")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The page, or what stands in its way; never an error that is not a page."""
        root = "./"
        try:
            self._services.requests.visitors.admit(request, at_admin=True, by_token=False)
            parts = self._door.parts(request.rel_url.raw_path)
            if parts is None:
                raise NotFound("the inspector is at the address that `sidecar serve` prints at its start")
            root = "../" * (len(parts) - 1) or "./"
            return await self._page(request, parts, root)
        except SidecarError as error:
            log.info("refused", extra={"status": error.status, "code": error.code, "error": error.message})
            return await self._failed(request, error, root)
        except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:  # whatever it is, the visitor gets a page, and the log the trace
            log.exception("an unexpected error")
            return await self._failed(request, SidecarError("the sidecar failed; see its log"), root)

    async def _failed(self, request: web.BaseRequest, error: SidecarError, root: str) -> web.Response:
        if _wants_json(request):
            return response(as_json(error.body()), "application/json", status=error.status)
        body = await asyncio.to_thread(as_html, "error.html", root, title="Not shown", error=error)
        return response(body, status=error.status)

    async def _page(self, request: web.BaseRequest, parts: list[str], root: str) -> web.Response:
        if request.method not in ("GET", "HEAD"):
            raise NotFound("there is no such page")
        match parts:
            case [""]:
                return await self._list(request, root)
            case ["inspector.css"]:
                return response(style_sheet(), "text/css")
            case _:
                raise NotFound("there is no such page")

    async def _list(self, request: web.BaseRequest, root: str) -> web.Response:
        before = conversation_list.before_of(request.query.get("before", ""))
        found = await self._services.store.overviews(limit=conversation_list.PAGE, before=before)
        make = partial(conversation_list.list_of, found, before)
        return await self._made(request, "conversations.html", root, make)

    async def _made(
        self, request: web.BaseRequest, template: str, root: str, make: Callable[[], Any]
    ) -> web.Response:
        """The page of a value that is made, and shown, in a thread."""
        is_json = _wants_json(request)

        def made() -> bytes:
            value = make()
            return as_json(value) if is_json else as_html(template, root, page=value)

        async with self._making:
            body = await asyncio.to_thread(made)
        return response(body, "application/json" if is_json else "text/html")


def _wants_json(request: web.BaseRequest) -> bool:
    return request.query.get("format") == "json"
