"""Where conversations are kept. The only speaker of SQL.

postings    a segment of the index of what was said
searched    what a search finds, and how far it came
client_keys  a client's key as a row
base        what every store can do, and what one request gives it to keep
kept_requests  which requests are kept as their clients sent them
exchanges   an exchange as a row, in the same columns everywhere
threads     a thread as a row, likewise
parts       large parts of messages, which a conversation keeps once
migrations  numbered migrations, applied in order; which schemas are refused
url         what a store's path or URL says, and how it is shown without its password
encrypted   a store in which what is said is encrypted, around any other
running_responses  those that are made in the background, in memory
held        one conversation as the next one holds it
memory      the same in dictionaries: for tests, and for those who want nothing kept
sqlite      one file, the default
postgres    one database for several sidecars; loaded only where it is used
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.store.base import Store
from sidecar.store.memory import MemoryStore
from sidecar.store.sqlite.store import SQLiteStore
from sidecar.store.url import address_of, is_postgres

__all__ = [
    "MemoryStore",
    "SQLiteStore",
    "Store",
    "make_store",
]


def make_store(
    path: str | None,
    *,
    secret: str = "",
    keys: Sequence[bytes] = (),
    shared: bool = False,
    accept_plaintext: bool = False,
    upgrades: bool = False,
) -> Store:
    """The store for `Settings.store_path`: the path of a file, the URL of a PostgreSQL database, or None for
    memory. With `keys` (32 bytes each) what is said is encrypted. `shared`: by processes on this machine that
    all write much. `accept_plaintext`: with keys, also one that is not encrypted yet, for `re_encrypt`.
    `upgrades`: one of an older schema is brought to the newest, not refused. It still has to be opened."""
    if keys:
        # Imported here, for the same reason as the driver below.
        from sidecar.store.encrypted.store import EncryptedStore

        return EncryptedStore(
            make_store(path, shared=shared, upgrades=upgrades),
            keys,
            secret=secret,
            accept_plaintext=accept_plaintext,
        )
    if path is None:
        return MemoryStore(secret=secret)
    if is_postgres(path):
        # Imported here: its driver takes memory that users of a file need not spend.
        from sidecar.store.postgres.store import PostgresStore

        return PostgresStore(address_of(path), secret=secret, upgrades=upgrades)
    return SQLiteStore(path, secret=secret, shared=shared, upgrades=upgrades)
