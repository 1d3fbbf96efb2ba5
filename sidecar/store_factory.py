"""The store that the settings mean, for the server and for the commands.

Rules: a command that looks for something never makes a store in which there is nothing, and only the
server and `sidecar upgrade` bring one to a newer schema.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sidecar.errors import SidecarError, StoreUnavailable
from sidecar.settings import Settings
from sidecar.settings.values import encryption_keys
from sidecar.store import Store, make_store

__all__ = ["open_existing", "store_in_words", "store_of"]


def store_of(settings: Settings, *, accept_plaintext: bool = False, upgrades: bool = False) -> Store:
    """The store of these settings. It still has to be opened. `accept_plaintext`, `upgrades`: see
    `make_store`."""
    secret = settings.secret.get_secret_value()
    shared = settings.workers > 1
    return make_store(
        settings.store_path,
        secret=secret,
        keys=_keys(settings),
        shared=shared,
        accept_plaintext=accept_plaintext,
        upgrades=upgrades,
    )


@asynccontextmanager
async def open_existing(
    settings: Settings, *, accept_plaintext: bool = False, upgrades: bool = False
) -> AsyncIterator[Store]:
    """The store of these settings, which has to be there, open while the body runs."""
    _check_that_it_is_there(settings.store_path)
    store = store_of(settings, accept_plaintext=accept_plaintext, upgrades=upgrades)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


def store_in_words(settings: Settings) -> str:
    """The store; a file by its whole path, and that it is new: it may have been meant to be another. To be
    asked before it is opened."""
    path = settings.store_path
    if path is None or "://" in path:
        return f"the store {settings.store_shown}"
    file = Path(path).absolute()
    return f"the store {file}" if file.exists() else f"a new store, {file}"


def _keys(settings: Settings) -> list[bytes]:
    file, text = settings.encryption.key_file, settings.encryption.key.get_secret_value()
    if not file:
        return encryption_keys(text) if text else []
    try:
        return encryption_keys(Path(file).read_text("utf-8"))
    except OSError as error:
        raise SidecarError(f"encryption.key_file {file} cannot be read: {error.strerror or error}") from error
    except ValueError as error:  # the file is no text, or says something else
        raise SidecarError(f"encryption.key_file {file} {_why(error)}") from error


def _why(error: ValueError) -> str:
    return "is not text" if isinstance(error, UnicodeError) else str(error)


def _check_that_it_is_there(path: str | None) -> None:
    if path is None:
        raise SidecarError("the store is `memory:`, which keeps nothing once its process ends; set --store")
    if "://" not in path and not Path(path).exists():
        raise StoreUnavailable(f"there is no store {path}; set --store to the one that the sidecar uses")
