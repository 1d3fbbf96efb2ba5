"""Answers of an upstream, as they go to the client."""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

__all__ = ["RelayedResponse"]


class RelayedResponse(web.StreamResponse):
    """An answer of the upstream's: with its headers, and none that aiohttp would add to say of itself.

    Unless it is to be sent `at_once`, its head goes with the first piece of its body, in one write.
    """

    def __init__(self, status: int, reason: str | None, headers: CIMultiDict[str], *, at_once: bool) -> None:
        super().__init__(status=status, reason=reason, headers=headers)
        self._send_headers_immediately = at_once
        self._not_ours = [name for name in ("Server", "Content-Type") if name not in headers]

    async def begin(self, request: web.BaseRequest) -> None:
        """Send the head, if it has not been sent."""
        writer = await self.prepare(request)
        if writer is not None:
            writer.send_headers()

    async def _prepare_headers(self) -> None:
        await super()._prepare_headers()
        for name in self._not_ours:
            self.headers.pop(name, None)
