"""A request whose answer nobody wants any more, and that says so of itself: it was made for no connection.

Rules: it is told before its task is cancelled, and then ends as one whose client left, but its upstream's
work ends in any case: whatever `history.on_disconnect` says is about clients that may come back. Where its
chat was deleted meanwhile, nothing of it is kept: it would make that anew.
"""

from __future__ import annotations

from aiohttp import web

__all__ = ["is_forgotten", "is_stopped", "stop"]

_STOPPED = web.RequestKey("stopped", bool)
_FORGOTTEN = web.RequestKey("forgotten", bool)


def stop(request: web.BaseRequest, *, is_forgotten: bool = False) -> None:
    """Nobody wants it any more. `is_forgotten`: its chat is gone."""
    request[_STOPPED], request[_FORGOTTEN] = True, is_forgotten


def is_forgotten(request: web.BaseRequest) -> bool:
    """Is nothing of it to be kept?"""
    return bool(request.get(_FORGOTTEN))


def is_stopped(request: web.BaseRequest) -> bool:
    """Does nobody want it any more?"""
    return bool(request.get(_STOPPED))
