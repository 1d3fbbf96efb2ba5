"""The addresses that a name has, and a resolver that knows one of them.

Rule: what is asked at one address is asked of it by its name: `Host`, and the name in its certificate, stay.
"""

from __future__ import annotations

import asyncio
import socket

from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

__all__ = ["OneAddress", "addresses_of"]


async def addresses_of(base: URL) -> list[str]:
    """The addresses of its host, sorted. Raises `OSError` if it has none."""
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(base.host or "", base.port, type=socket.SOCK_STREAM)
    return sorted({str(where[0]) for *_, where in found})


class OneAddress(AbstractResolver):
    """Every name has this address."""

    def __init__(self, address: str) -> None:
        self._address = address

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """As aiohttp asks for it."""
        kind = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        return [
            {
                "hostname": host,
                "host": self._address,
                "port": port,
                "family": kind,
                "proto": socket.IPPROTO_TCP,
                "flags": socket.AI_NUMERICHOST,
            }
        ]

    async def close(self) -> None:
        """Nothing is held."""
