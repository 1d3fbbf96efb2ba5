"""What the workers of one sidecar tell each other, so that whichever is asked knows of all."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack

from sidecar.admin.other_workers import telling
from sidecar.inspector.door import Door, is_served
from sidecar.proxy.services import Services

__all__ = ["tell_each_other"]


async def tell_each_other(
    services: Services, door: Door, inside: Sequence[socket.socket], stack: AsyncExitStack
) -> None:
    """From now on, at these sockets of this worker. `door`: it knows where those of all workers are."""
    own, requests = {each.getsockname() for each in inside}, services.requests
    requests.other_workers = [each for each in door.workers if each not in own]
    outages = services.background.store_health.outages
    tells: dict[str, Callable[[], object]] = {
        "doctor": requests.samples.shared,
        "outages": lambda: list(outages.last),
    }
    if is_served(services.settings):
        # Imported here: without its pages nobody needs it.
        from sidecar.inspector.live import told_of

        tells["live"] = lambda: told_of(requests.under_way)
    for each in inside:
        await stack.enter_async_context(telling(each, tells))
