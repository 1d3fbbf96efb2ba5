"""Another process that writes into the store's file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from tests.proxy.client import Sidecar

__all__ = ["writing"]


@contextmanager
def writing(sidecar: Sidecar) -> Iterator[None]:
    """Somebody else writes meanwhile: what the sidecar has to write waits."""
    path = sidecar.settings.store_path
    assert path is not None
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        yield
