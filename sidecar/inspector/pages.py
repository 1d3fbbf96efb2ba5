"""The addresses of the inspector, each with what it answers.

Rule: whoever asks is looked at before what is asked for: the name that he calls the sidecar by, the page that
sends him, the token. Who looked at which conversation is said in the log.
"""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import Any
from urllib.parse import quote

from aiohttp import web
from msgspec.structs import replace

from sidecar.admin.health import asked, examined, outages_of_all
from sidecar.doctor.outages import lost_by_chat, told
from sidecar.doctor.text import text
from sidecar.errors import BadRequest, Forbidden, NotFound, SidecarError
from sidecar.inspector import reading
from sidecar.inspector.client_view import file_of
from sidecar.inspector.conversation_list import before_of
from sidecar.inspector.courtesy import Courtesy
from sidecar.inspector.diff_page import diff_page
from sidecar.inspector.door import PLACE, Door
from sidecar.inspector.fork import fork, fork_page
from sidecar.inspector.live import Told, live_page_of, told_of
from sidecar.inspector.query import asks_for_failures, query_of
from sidecar.inspector.render import as_html, as_json, asset
from sidecar.inspector.responses import LIVE_CSP, response
from sidecar.inspector.search import find
from sidecar.inspector.settings_page import settings_page_of
from sidecar.inspector.usage import as_csv, usage
from sidecar.inspector.whole import delete, exported
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
        self._courtesy = Courtesy()

    @property
    def _mark(self) -> str:
        """What becomes another when this worker's store begins or ends to fail, or fails a request."""
        last = list(self._services.background.store_health.outages.last)
        return "".join(f"-{each.until is None:d}{each.lost}" for each in last[-1:]) + f"-{len(last)}"

    @staticmethod
    def is_asked(request: web.BaseRequest) -> bool:
        """Is it a page of the inspector?"""
        return request.path == PLACE or request.path.startswith(PLACE + "/")

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """The page, or what stands in its way; never an error that is not a page."""
        root = ""
        try:
            self._services.requests.visitors.admit(request, at_admin=True, by_token=False)
            parts = self._door.parts(request.rel_url.raw_path)
            if parts is None:
                raise NotFound(
                    "the inspector is at the address that `sidecar serve` prints, a new one at each start"
                )
            root = "../" * (len(parts) - 1) or "./"
            async with self._making:
                with self._courtesy.shown():
                    return await self._page(request, parts, root)
        except SidecarError as error:
            log.info("refused", extra={"status": error.status, "code": error.code, "error": error.message})
            failure = error
        except (web.HTTPException, asyncio.CancelledError, ConnectionResetError):
            raise
        except Exception:  # whatever it is, the visitor gets a page, and the log the trace
            log.exception("an unexpected error")
            failure = SidecarError("the sidecar failed; see its log")
        if _wants_json(request):
            return response(as_json(failure.body()), "application/json", status=failure.status)
        body = await asyncio.to_thread(as_html, "error.html", root, error=failure)
        return response(body, status=failure.status)

    async def _page(self, request: web.BaseRequest, parts: list[str], root: str) -> web.Response:
        query = request.query
        page: Any
        if request.method == "POST":
            return await self._done(request, parts, root)
        if request.method not in ("GET", "HEAD"):
            raise NotFound("there is no such page")
        match parts:
            case [""] | ["c", _] if not request.rel_url.raw_path.endswith("/"):
                return _redirect_below(request)
            case [""]:
                return await self._list(request, root)
            case ["inspector.css" | "inspector.js" as name]:
                return response(asset(name), "text/css" if name.endswith("css") else "text/javascript")
            case ["live"]:
                own = told_of(self._services.requests.under_way)
                page = live_page_of([own, *await asked(self._services, "live", Told)])
                return await _shown(request, "live.html", root, page, every=_number(query.get("every")))
            case ["search"]:
                return await self._search(request, root)
            case ["usage"]:
                return await self._usage(request, root)
            case ["settings"]:
                page = settings_page_of(self._services.settings, self._door.origins)
                return await _shown(request, "settings.html", root, page)
            case ["doctor"]:
                return await self._doctor(request, root)
            case ["c", id, *rest]:
                return await self._of_conversation(request, id, rest, root)
            case _:
                raise NotFound("there is no such page")

    async def _list(self, request: web.BaseRequest, root: str) -> web.Response:
        """The list; whoever looks again is told in a word where it is as it was."""
        store, before = self._services.store, before_of(request.query.get("before", ""))
        held = request.headers.get("If-None-Match") if before is None else None
        if held and held == f'"{await reading.list_version(store)}{self._mark}"':
            return response(b"", status=304, headers={"ETag": held})
        outages = await outages_of_all(self._services)
        lost = lost_by_chat(outages)
        page = await reading.conversation_list_page(store, before, lost)
        if page.is_first and outages:
            page = replace(
                page, outages=tuple(map(told, outages)), lost_of=await reading.lost_rows(store, lost)
            )
        shown = await _shown(request, "conversations.html", root, page)
        if page.version:
            shown.headers["ETag"] = f'"{page.version}{self._mark}"'
        return shown

    async def _search(self, request: web.BaseRequest, root: str) -> web.Response:
        """What is found; where that may be missing since the store failed, it says when that was."""
        store, by_index = self._services.store, self._services.settings.search.index
        text, before = request.query.get("q", ""), request.query.get("before", "")
        outages = await outages_of_all(self._services)
        lost = lost_by_chat(outages)
        page = await find(store, text, before, by_index=by_index, lost=lost)
        if outages and not before and (not page.hits or asks_for_failures(query_of(text))):
            page = replace(
                page, outages=tuple(map(told, outages)), lost_of=await reading.lost_rows(store, lost)
            )
        return await _shown(request, "search.html", root, page)

    async def _doctor(self, request: web.BaseRequest, root: str) -> web.Response:
        report = await examined(self._services)
        told = text(report, str(request.url.origin()))
        return await _shown(request, "doctor.html", root, report, told=told)

    async def _usage(self, request: web.BaseRequest, root: str) -> web.Response:
        page = await usage(self._services.store, _number(request.query.get("days")))
        if request.query.get("format") != "csv":
            return await _shown(request, "usage.html", root, page)
        headers = {"Content-Disposition": f"attachment; filename=usage-{page.first}-{page.last}.csv"}
        return response(await asyncio.to_thread(as_csv, page), "text/csv", headers=headers)

    async def _of_conversation(
        self, request: web.BaseRequest, id: str, rest: list[str], root: str
    ) -> web.Response:
        store, query, trim = self._services.store, request.query, self._services.settings.trim
        page: Any
        match rest:
            case [""]:
                at = _name(query["at"]) if "at" in query else None
                page = await reading.conversation_page(store, id, at, _number(query.get("from")))
                lost = lost_by_chat(await outages_of_all(self._services))
                said = lost[page.id].said if page.id in lost else ()
                page = replace(page, lost=said, is_opaque=self._services.settings.session.opaque)
                return await _shown(request, "conversation.html", root, page, is_new="forked" in query)
            case ["m", name]:
                page = await reading.message_page(store, id, _name(name), _number(query.get("part")) or 1)
                return await _shown(request, "message.html", root, page)
            case ["x", name]:
                commits = tuple(self._services.background.store_health.commits)
                page = await reading.exchange_page(store, id, _name(name), self._services.settings, commits)
                return await _shown(request, "exchange.html", root, page)
            case ["x", name, "request"]:
                body = await reading.client_bytes(store, id, _name(name))
                return _taken_away(request, id, file_of(_name(name).hex()), body)
            case ["x", name, "diff"]:
                page = await diff_page(store, id, _name(name), trim)
                return await _shown(request, "diff.html", root, page)
            case ["export.jsonl" | "export.md" as name]:
                kind = name.partition(".")[2]
                return _taken_away(request, id, f"{id}.{kind}", await exported(store, id, kind))
            case ["delete"]:
                page = await reading.conversation_page(store, id)
                return _with_form(await _shown(request, "delete.html", root, page))
            case ["m", name, "fork"]:
                page = await fork_page(store, id, _name(name))
                return _with_form(await _shown(request, "fork.html", root, page))
            case _:
                raise NotFound("there is no such page")

    async def _done(self, request: web.BaseRequest, parts: list[str], root: str) -> web.Response:
        """What a form asks for: only a page of ours has the token in its address, and is of this origin."""
        origin, site = request.headers.get("Origin", ""), request.headers.get("Sec-Fetch-Site")
        if site != "same-origin" and origin.partition("://")[2] != request.headers.get("Host"):
            raise Forbidden("only a page of the inspector may ask for this")
        match parts:
            case ["c", id, "delete"]:
                await delete(self._services.store, id)
                log.info("deleted", extra={"conversation": id, "by": request.remote})
                return response(b"", status=303, headers={"Location": root})
            case ["c", id, "m", name, "fork"]:
                made = await fork(self._services.store, id, _name(name))
                about = {"conversation": id, "at": name, "new": made.id, "by": request.remote}
                log.info("forked", extra=about)
                return response(b"", status=303, headers={"Location": f"{root}c/{made.id}/?forked=1"})
            case _:
                raise NotFound("there is no such page")


def _with_form(shown: web.Response) -> web.Response:
    # Else a browser says `null` of where its form comes from, and may tell of no site either.
    shown.headers["Referrer-Policy"] = "same-origin"
    return shown


def _redirect_below(request: web.BaseRequest) -> web.Response:
    """The same address with a slash at its end, from which the links of its page go on."""
    url = request.rel_url
    place = f"./{url.raw_path.rpartition('/')[2]}/"
    query = f"?{url.raw_query_string}" if url.raw_query_string else ""
    return response(b"", status=308, headers={"Location": place + query})


def _taken_away(request: web.BaseRequest, id: str, name: str, body: bytes) -> web.Response:
    log.info("exported", extra={"conversation": id, "by": request.remote})
    headers = {"Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}"}
    return response(body, "application/octet-stream", headers=headers)


async def _shown(request: web.BaseRequest, template: str, root: str, page: Any, **more: Any) -> web.Response:
    is_json = _wants_json(request)
    make = partial(as_json, page) if is_json else partial(as_html, template, root, page=page, **more)
    body = await asyncio.to_thread(make)
    is_live = template == "live.html" or getattr(page, "is_first", False)
    if id := getattr(page, "conversation", getattr(page, "id", None)):
        about = {"conversation": id, "page": template.removesuffix(".html"), "by": request.remote}
        log.info("looked at", extra=about)
    kind = "application/json" if is_json else "text/html"
    return response(body, kind, headers={"Content-Security-Policy": LIVE_CSP} if is_live else None)


def _name(text: str) -> bytes:
    """An id of a message or an exchange. Raises `BadRequest` for what is none."""
    try:
        name = bytes.fromhex(text)
    except ValueError:
        name = b""
    if not 8 <= len(name) <= 32:
        raise BadRequest("this is no id of a message or of an exchange")
    return name


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 10 else None


def _wants_json(request: web.BaseRequest) -> bool:
    return request.query.get("format") == "json"
