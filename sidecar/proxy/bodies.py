"""How much memory the bodies of all requests may take together, from the first byte to the answer.

Rules: a body counts as it arrives. One that is to be longer than a MiB counts as large, from its first bytes
with all that it has declared, so that two never wait for each other halfway. Large ones may take half of the
room, or what one of them may have, so that the usual small ones always find some. Who finds none waits in
line, unread, and is told after a while to come again.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from sidecar.errors import TooManyBodies

__all__ = ["Bodies", "Held"]

_SMALL_BODY = 1 << 20  # bytes


class Bodies:
    """Room for `size` bytes, or for one body of `largest`; waits for it take at most `wait` seconds."""

    def __init__(self, size: int, largest: int, wait: float) -> None:
        self._size = max(size, largest)
        self._size_of_large = max(self._size // 2, largest)
        self._wait = wait
        self._taken = 0
        self._taken_by_large = 0
        self._waiting: list[_Waiter] = []

    def hold(self) -> Held:
        """For one request's body: to be entered, and left when the request is answered."""
        return Held(self)

    def take(self, held: Held, size: int) -> bool:
        """Let this body have so many bytes in all, if nobody of its kind stands in line."""
        is_large = size > _SMALL_BODY
        if self._waiting and any(each.is_large == is_large for each in self._waiting):
            return False
        return self._give(held, size)

    async def wait(self, held: Held, size: int) -> None:
        """Stand in line for it. Raises `TooManyBodies`."""
        waiter = _Waiter(held, size, size > _SMALL_BODY, asyncio.get_running_loop().create_future())
        self._waiting.append(waiter)
        try:
            async with asyncio.timeout(self._wait):
                await waiter.served
        except TimeoutError as error:
            raise TooManyBodies(
                "the bodies of the requests in progress have reached `limits.bodies_in_flight` bytes"
            ) from error
        finally:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
            self._serve()  # those behind may need less

    def give_back(self, held: Held) -> None:
        """This body is needed no more."""
        self._taken -= held.size
        if held.size > _SMALL_BODY:
            self._taken_by_large -= held.size
        held.size = 0
        if self._waiting:
            self._serve()

    def _give(self, held: Held, size: int) -> bool:
        more = size - held.size
        if self._taken + more > self._size:
            return False
        if size > _SMALL_BODY:
            large = size - (held.size if held.size > _SMALL_BODY else 0)
            if self._taken_by_large + large > self._size_of_large:
                return False
            self._taken_by_large += large
        self._taken += more
        held.size = size
        return True

    def _serve(self) -> None:
        """Let those have it for whom there is room, the longest waiting of each kind first."""
        blocked: set[bool] = set()
        for waiter in list(self._waiting):
            if waiter.is_large in blocked:
                continue
            if not self._give(waiter.held, waiter.size):
                blocked.add(waiter.is_large)
                continue
            self._waiting.remove(waiter)
            if not waiter.served.done():
                waiter.served.set_result(None)


class Held:
    """What one body takes of the room."""

    __slots__ = ("_bodies", "size")

    def __init__(self, bodies: Bodies) -> None:
        self._bodies = bodies
        self.size = 0

    async def reach(self, size: int, declared: int = 0) -> None:
        """The body has `size` bytes by now, of those that it has `declared` (0: it does not tell).

        Waits for room. Raises `TooManyBodies`.
        """
        if max(size, declared) > _SMALL_BODY:
            size = max(declared, -(-size // _SMALL_BODY) * _SMALL_BODY)
        if size > self.size and not self._bodies.take(self, size):
            await self._bodies.wait(self, size)

    def __enter__(self) -> Held:
        return self

    def __exit__(self, *_error: object) -> None:
        self._bodies.give_back(self)


class _Waiter(NamedTuple):
    held: Held
    size: int
    is_large: bool
    served: asyncio.Future[None]
