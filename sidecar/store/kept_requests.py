"""Which of the requests of one conversation, as their clients sent them, are kept no longer."""

from __future__ import annotations

from collections.abc import Iterable

__all__ = ["superfluous"]


def superfluous(held: Iterable[tuple[bytes, int]], most: int) -> list[bytes]:
    """Of these exchanges, the newest first, each with the bytes of its request: those that go. The newest
    stays, and those before it as long as all that stay have no more than `most` bytes."""
    gone: list[bytes] = []
    total, is_newest = 0, True
    for exchange, size in held:
        total += size
        if not is_newest and (gone or total > most):
            gone.append(exchange)
        is_newest = False
    return gone
