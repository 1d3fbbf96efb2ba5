"""A list, page by page, as OpenAI's API has it: `limit`, `order`, and `after` which item it goes on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from sidecar.errors import BadRequest

__all__ = ["Page", "page_of", "paged"]

_MOST = 100  # items of a page
_DIGITS = 9  # of a number; Python refuses to read one of many thousand


class Page(NamedTuple):
    """So many items, behind this one; the newest first, or the oldest."""

    limit: int = 20
    after: str | None = None
    newest_first: bool = True


def page_of(query: Mapping[str, str]) -> Page:
    """The page that these parameters ask for. Raises `BadRequest`."""
    limit, order = query.get("limit", "20"), query.get("order", "desc")
    is_number = limit.isascii() and limit.isdecimal() and len(limit) <= _DIGITS
    if not is_number or not 1 <= int(limit) <= _MOST:
        raise BadRequest(f"`limit` has to be from 1 to {_MOST}", code="invalid_value", param="limit")
    if order not in ("asc", "desc"):
        raise BadRequest("`order` has to be asc or desc", code="invalid_value", param="order")
    return Page(int(limit), query.get("after") or None, order == "desc")


def paged(items: Sequence[dict[str, Any]], page: Page) -> dict[str, Any]:
    """That page of the items, which come oldest first. Raises `BadRequest` where `after` is none of them."""
    ordered = list(reversed(items)) if page.newest_first else list(items)
    begin = 0
    if page.after is not None:
        begin = 1 + next((at for at, item in enumerate(ordered) if item["id"] == page.after), -1)
        if not begin:
            raise BadRequest("`after` is none of these items", code="invalid_value", param="after")
    data = ordered[begin : begin + page.limit]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": begin + page.limit < len(ordered),
    }
