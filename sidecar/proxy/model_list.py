"""`GET /v1/models`, where there are several targets: the models of all of them.

Rules: the targets are asked side by side, each for at most `_TIMEOUT`. Each adds the models that requests
would go to it for, under the names that clients use; what else an entry says stays. Of one name the first
entry counts, in the order of priority. A target of which no member tells is left out, and a header says so;
where that leaves nothing, the answer is the default target's own if that was silent too, else an error: an
empty list would say that there are no models.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote

import msgspec
from aiohttp import web
from multidict import CIMultiDict

from sidecar.errors import SidecarError, UpstreamUnreachable
from sidecar.proxy.journey import TARGET
from sidecar.proxy.services import Services
from sidecar.upstream.pool import Pool
from sidecar.upstream.router import Router
from sidecar.upstream.target import Fetched

__all__ = ["LEFT_OUT", "models", "nothing_but"]

log = logging.getLogger("sidecar.proxy")

#: The response header that names the targets whose models are not in the list, since they did not tell.
LEFT_OUT = "X-Sidecar-Targets-Missing"

_PATH = "/v1/models"
_TIMEOUT = 5.0  # seconds for a list
_MAX_SIZE = 8 << 20  # bytes of one


async def models(
    services: Services, request: web.BaseRequest, headers: CIMultiDict[str]
) -> web.StreamResponse | None:
    """The answer to a request for the list, or for one model of a target of `targets`; None for any other."""
    path, mark, query = request.raw_path.partition("?")
    assert services.router is not None
    if request.method != "GET":
        return None
    if path.rstrip("/") == _PATH:
        return await _all(services.router, headers, mark + query)
    if path.startswith(_PATH + "/"):
        return await _one(services.router, unquote(path.removeprefix(_PATH + "/")), headers)
    return None


async def _all(router: Router, headers: CIMultiDict[str], query: str) -> web.StreamResponse | None:
    told = await asyncio.gather(*(_asked(pool, headers, query) for pool in router.pools))
    lists = dict(zip(router.pools, told, strict=True))
    missing = [pool.name for pool, found in lists.items() if found is None]
    entries: dict[str, dict[str, Any]] = {}
    for pool in (*router.pools[1:], router.default):
        for entry in _offered(router, pool, lists[pool] or []):
            entries.setdefault(entry["id"], entry)
    said = {LEFT_OUT: ", ".join(missing)} if missing else {}
    if missing and not entries:
        if lists[router.default] is None:
            return None
        raise nothing_but(said[LEFT_OUT])
    return _json({"object": "list", "data": list(entries.values())}, said)


def nothing_but(missing: str) -> UpstreamUnreachable:
    """What is said in place of a list that would be empty."""
    return UpstreamUnreachable(f"there is no model but those of targets that do not tell: {missing}")


async def _one(router: Router, model: str, headers: CIMultiDict[str]) -> web.StreamResponse | None:
    """What its target says of a model; None for one of the default target's."""
    pool = router.pools_of(model)[0]
    if pool is router.default:
        return None
    there = pool.named(model) or model
    path = f"{_PATH}/{quote(there, safe='/:@')}"
    answer = await pool.fetch("GET", path, _readable(headers), timeout=_TIMEOUT, limit=_MAX_SIZE)
    entry = _decoded(answer)
    if answer.status == 200 and isinstance(entry, dict) and entry.get("id") == there != model:
        return _json({**entry, "id": model}, {TARGET: pool.name})
    return web.Response(
        status=answer.status,
        body=answer.body,
        headers={"Content-Type": "application/json", TARGET: pool.name},
    )


async def _asked(pool: Pool, headers: CIMultiDict[str], query: str) -> list[dict[str, Any]] | None:
    """The entries of its list; None if it gives none."""
    path = _PATH + query if pool.forwards else _PATH  # which may hold a credential
    try:
        answer = await pool.fetch(
            "GET", path, _readable(headers), timeout=_TIMEOUT, limit=_MAX_SIZE, attempts=1
        )
    except SidecarError as error:
        _silent(pool, error.message)
        return None
    told = _decoded(answer)
    entries = told.get("data") if isinstance(told, dict) else None
    if answer.status != 200 or not isinstance(entries, list):
        _silent(pool, f"it answered {answer.status}")
        return None
    return [each for each in entries if isinstance(each, dict) and isinstance(each.get("id"), str)]


def _silent(pool: Pool, why: str) -> None:
    log.warning("a target tells no models", extra={"target": pool.name, "reason": why})


def _offered(router: Router, pool: Pool, entries: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Those of its models that requests go to it for, by the names that clients use."""
    names: dict[str, list[str]] = {}
    for name, there in pool.renames.items():
        names.setdefault(there, []).append(name)
    for entry in entries:
        there = entry["id"]
        # A name that leads to another model is none of this one.
        own = () if there in pool.renames else (there,)
        for name in (*names.get(there, ()), *own):
            if pool in router.pools_of(name):
                yield {**entry, "id": name}


def _readable(headers: CIMultiDict[str]) -> CIMultiDict[str]:
    made = CIMultiDict(headers)
    made["Accept-Encoding"] = "identity"
    return made


def _decoded(answer: Fetched) -> Any:
    try:
        return None if answer.is_cut else msgspec.json.decode(answer.body)
    except (ValueError, RecursionError):
        return None


def _json(data: dict[str, Any], headers: dict[str, str]) -> web.Response:
    return web.Response(
        body=msgspec.json.encode(data), headers={"Content-Type": "application/json", **headers}
    )
