"""A file of an older schema, before it is opened: brought to the newest, or refused.

Rules: nobody else has it open while it is upgraded, since an older sidecar would go on writing what this one
does not find. A file that is refused keeps every byte.
"""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

from sidecar.errors import StoreUnavailable
from sidecar.store.migrations import migrate, newest_schema, refuse_older, upgrade_ended

__all__ = ["upgrade_or_refuse"]

_PATIENCE = 5.0  # seconds for which whoever else has the file open may take to let go of it
_LONG = 600.0  # seconds that the upgrade of another process may take


def upgrade_or_refuse(file: str, name: str, check: Callable[[bytes], object], *, upgrades: bool) -> None:
    """Bring a file of an older schema to the newest, if this `upgrades`; anything else is left alone, and so
    is one for whose secret `check` raises, since it could not be opened afterwards.

    `name` is what the message of an error calls it. Raises `OlderSchema` for one that is not to be upgraded,
    `StoreUnavailable` if another process has it open, and as `migrate` does.
    """
    current, newest = _schema(file, _LONG if upgrades else _PATIENCE), newest_schema()
    if not upgrades:
        refuse_older(name, current, newest)
        return
    if not 0 < current < newest or _upgraded(file, name, check):
        return
    # Whoever upgrades it lets nobody read it until that is done.
    if _asked(file, "mode=ro", _LONG) < newest:
        raise StoreUnavailable(
            f"{name} has schema {current}, and another process has it open, which could not go on with a"
            " newer one. Nothing has been changed: stop the older sidecar, and whatever else uses the store,"
            " then try again"
        )


def _upgraded(file: str, name: str, check: Callable[[bytes], object]) -> bool:
    """Upgrade it, unless that has just been done; False if somebody else has it open."""
    connection = sqlite3.connect(file, isolation_level=None, timeout=_PATIENCE)
    with closing(connection):
        # Whoever has opened a file with a write-ahead log holds a lock on it until he closes it.
        connection.execute("PRAGMA locking_mode = EXCLUSIVE").fetchone()
        try:
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.OperationalError as error:
            if not _is_busy(error):
                raise
            return False
        connection.execute("ROLLBACK")  # the lock stays
        for (secret,) in connection.execute("SELECT value FROM secret"):
            check(secret)
        (current,), begun = connection.execute("PRAGMA user_version").fetchone(), time.monotonic()
        migrate(connection, name)
    if current < newest_schema():
        upgrade_ended(current, newest_schema(), time.monotonic() - begun)
    return True


def _schema(file: str, patience: float) -> int:
    """The file's schema; 0 where there is none, or none that can be read: whoever opens it says why."""
    try:
        if os.path.getsize(f"{file}-wal"):
            return _asked(file, "mode=ro", patience)
    except sqlite3.Error as error:
        if _is_busy(error):
            raise
        return 0
    except OSError:  # there is no log
        pass
    # Then nothing but the file itself is read, and nothing is put beside it.
    with suppress(sqlite3.Error):
        return _asked(file, "immutable=1", patience)
    return 0


def _asked(file: str, how: str, patience: float) -> int:
    uri = f"{Path(file).absolute().as_uri()}?{how}"
    with closing(sqlite3.connect(uri, uri=True, timeout=patience)) as connection:
        version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY
