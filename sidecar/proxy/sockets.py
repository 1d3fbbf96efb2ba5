"""The sockets of several workers on one port; the system spreads connections over them."""

from __future__ import annotations

import os
import socket

from sidecar.errors import SidecarError
from sidecar.settings import Settings

__all__ = ["BACKLOG", "listening"]

#: Connections that may wait to be taken.
BACKLOG = 4096


def listening(settings: Settings) -> list[list[socket.socket]]:
    """For each worker its sockets, one for each address of `listen`. Raises `SidecarError`."""
    try:
        found = socket.getaddrinfo(
            settings.listen_host, settings.listen_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
        port = settings.listen_port
        crew: list[list[socket.socket]] = [[] for _ in range(settings.workers)]
        for family, address in addresses:
            # Alone at first: sockets that share would share with another sidecar's as well.
            _bound(family, (address[0], port, *address[2:]), shared=False).close()
            for sockets in crew:
                sockets.append(_bound(family, (address[0], port, *address[2:]), shared=True))
                port = sockets[-1].getsockname()[1]
        for sockets in crew:
            for each in sockets:
                each.listen(BACKLOG)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror or error
        raise SidecarError(
            f"cannot listen on {settings.listen}: {reason} (set `listen` to another address)"
        ) from error
    return crew


def _bound(family: int, address: tuple[object, ...], *, shared: bool) -> socket.socket:
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(address)
    except OSError:
        made.close()
        raise
    return made
