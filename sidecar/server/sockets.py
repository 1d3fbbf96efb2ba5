"""The sockets of several workers on one port; the system spreads connections over them."""

from __future__ import annotations

import logging
import os
import socket
from typing import NamedTuple

from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.settings.values import listen_address

__all__ = ["BACKLOG", "Sockets", "cannot_listen", "listening", "without_inspector"]

log = logging.getLogger("sidecar")

#: Connections that may wait to be taken.
BACKLOG = 4096


class Sockets(NamedTuple):
    """The sockets of one worker, one for each address of `listen` and of `admin.listen`; `inside`: the one at
    which it tells the other workers what it does and remembers."""

    clients: list[socket.socket]
    admin: list[socket.socket]
    inside: list[socket.socket]
    #: Where all workers have what they share.
    folder: str | None = None

    def close(self) -> None:
        """In a process that does not serve on them."""
        for each in (*self.clients, *self.admin, *self.inside):
            each.close()


def listening(settings: Settings, folder: str | None = None) -> list[Sockets]:
    """For each worker its sockets; those inside lie in `folder`. Raises `SidecarError`."""
    clients = _shared(settings.listen, "listen", settings.workers)
    admin: list[list[socket.socket]] = [[] for _ in clients]
    if settings.admin_listen:
        try:
            admin = _shared(settings.admin_listen, "admin.listen", settings.workers)
        except SidecarError as error:
            if settings.admin.listen:
                raise
            without_inspector(error)
    inside = _inside(folder, settings.workers) if folder is not None else [[] for _ in clients]
    return [Sockets(*each, folder) for each in zip(clients, admin, inside, strict=True)]


def _inside(folder: str, workers: int) -> list[list[socket.socket]]:
    """A socket for each worker, for this user alone; none where the path is too long for one."""
    made: list[socket.socket] = []
    try:
        for number in range(workers):
            made.append(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            made[-1].bind(f"{folder}/worker-{number}")
            made[-1].listen()
    except OSError:
        for each in made:
            each.close()
        return [[] for _ in range(workers)]
    return [[each] for each in made]


def _shared(listen: str, name: str, workers: int) -> list[list[socket.socket]]:
    host, port = listen_address(listen)
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
        worker_sockets: list[list[socket.socket]] = [[] for _ in range(workers)]
        for family, address in addresses:
            # Alone at first: sockets that share would share with another sidecar's as well.
            _bound(family, (address[0], port, *address[2:]), shared=False).close()
            for sockets in worker_sockets:
                sockets.append(_bound(family, (address[0], port, *address[2:]), shared=True))
                port = sockets[-1].getsockname()[1]
        for sockets in worker_sockets:
            for each in sockets:
                each.listen(BACKLOG)
    except OSError as error:
        raise cannot_listen(listen, name, error) from error
    return worker_sockets


def without_inspector(error: SidecarError) -> None:
    """Nobody asked for it: what is served to clients is served without it."""
    log.warning("there is no inspector", extra={"error": error.message})


def cannot_listen(listen: str, name: str, error: OSError) -> SidecarError:
    """What to say where an address cannot be listened on; `name` is the setting's."""
    # asyncio's own sentence names the address a second time; a look-up that failed has no such number.
    number = error.errno or 0
    reason = os.strerror(number) if number > 0 else error.strerror or error
    return SidecarError(f"cannot listen on {listen}: {reason} (set `{name}` to another address)")


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
