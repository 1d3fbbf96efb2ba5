"""Keys that the operator gives to clients: how they are made, changed and checked, as values.

Rules: a key is `sk-sc-`, its id, `-`, and a secret of 256 random bits. It is shown once, when it is made;
what is kept is its HMAC-SHA-256 under the store's secret, so that whoever has the database alone,
encrypted, can neither check a key nor write a row that admits one of his own. No slow hash: such a secret
cannot be guessed. The id is public, names the key in lists and finds its row, and is the tenant: so a key
that is rotated gets another secret under the same id, and keeps its conversations. For a while, if so
asked, both are valid.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import string
from collections.abc import Callable

import msgspec
from msgspec.structs import replace

from sidecar.errors import StoreUnavailable
from sidecar.store.client_keys import KeyRow

__all__ = [
    "PREFIX",
    "ClientKey",
    "Secret",
    "changed_row",
    "client_key_of",
    "digest_of",
    "find_keys",
    "hidden",
    "id_in",
    "made",
    "refusal",
    "revoked",
    "rotated",
    "state_of",
    "under",
]

#: What every key begins with, and no credential of anybody else's.
PREFIX = "sk-sc-"
_ID_ALPHABET, _ID_LENGTH = string.ascii_lowercase + string.digits, 10
_ALPHABET, _LENGTH = string.digits + string.ascii_letters, 43  # 62 ** 43 is more than 2 ** 256
_KEY = re.compile(
    rf"(?<![0-9A-Za-z]){PREFIX}([0-9a-z]{{{_ID_LENGTH}}})-[0-9A-Za-z]{{{_LENGTH}}}(?![0-9A-Za-z])"
)

# What may be a key with something missing or too much.
_LIKE = re.compile(rf"{PREFIX}[0-9a-z]{{{_ID_LENGTH}}}-[0-9A-Za-z]{{8,}}")


class Secret(msgspec.Struct, frozen=True):
    """One of a key's secrets: what `digest_of` gives for the whole key; valid until then (Unix seconds)."""

    digest: bytes
    until: float | None = None


class ClientKey(msgspec.Struct, frozen=True):
    """A key, without any secret that admits anybody. Times are Unix seconds; `under`: a mark of the store's
    secret under which it was made, for only under that it is valid."""

    id: str
    name: str
    created_at: float
    under: bytes
    #: The newest first.
    secrets: tuple[Secret, ...]
    #: Patterns of the models that it may ask for; none: all.
    models: tuple[str, ...] = ()
    #: How many requests at once, and in a minute; None: any number.
    parallel: int | None = None
    rpm: int | None = None
    expires_at: float | None = None
    revoked_at: float | None = None


def made(
    store_secret: bytes,
    name: str,
    now: float,
    *,
    models: tuple[str, ...] = (),
    parallel: int | None = None,
    rpm: int | None = None,
    expires_at: float | None = None,
) -> tuple[ClientKey, str]:
    """A new key, and what its client is given."""
    id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(_ID_LENGTH))
    text, secret = _new_secret(store_secret, id)
    key = ClientKey(id, name, now, under(store_secret), (secret,), models, parallel, rpm, expires_at)
    return key, text


def rotated(store_secret: bytes, key: ClientKey, now: float, grace: float) -> tuple[ClientKey, str]:
    """The key under another secret, and what its client is given. What was valid is so for `grace` seconds
    more."""
    text, secret = _new_secret(store_secret, key.id)
    end = now + grace
    old = [
        each if each.until is not None and each.until < end else replace(each, until=end)
        for each in key.secrets
        if grace > 0 and (each.until is None or each.until > now)
    ]
    return replace(key, secrets=(secret, *old), under=under(store_secret)), text


def revoked(key: ClientKey, now: float) -> ClientKey:
    """The key, which admits nobody any more. It stays in lists, and its conversations with it."""
    return replace(key, revoked_at=now, secrets=())


def _new_secret(store_secret: bytes, id: str) -> tuple[str, Secret]:
    number, digits = int.from_bytes(secrets.token_bytes(32), "big"), ""
    for _ in range(_LENGTH):
        number, digit = divmod(number, len(_ALPHABET))
        digits += _ALPHABET[digit]
    text = f"{PREFIX}{id}-{digits}"
    return text, Secret(digest_of(store_secret, text))


def digest_of(store_secret: bytes, text: str) -> bytes:
    """What is kept of a key."""
    return hmac.digest(store_secret, b"client key\0" + text.encode(), hashlib.sha256)


def under(store_secret: bytes) -> bytes:
    """A mark by which a secret of a store is known again, and from which nothing of it can be told."""
    return hmac.digest(store_secret, b"client keys\0", hashlib.sha256)[:8]


def find_keys(text: str) -> set[str]:
    """All keys in a text."""
    return {each[0] for each in _KEY.finditer(text)}


def hidden(text: str) -> str:
    """The text without all that is a key, or nearly one."""
    return _LIKE.sub(f"{PREFIX}…", text) if PREFIX in text else text


def id_in(text: str) -> str | None:
    """The id of the key that this text is; None if it is none."""
    found = _KEY.fullmatch(text)
    return found[1] if found else None


def refusal(key: ClientKey, digest: bytes, now: float) -> str | None:
    """Why whoever presents what has this digest is not admitted by this key; None if he is. What is said of a
    key is said to those alone who know it."""
    known = [each for each in key.secrets if hmac.compare_digest(each.digest, digest)]
    if not known:
        return "is not valid"
    if any(each.until is not None and each.until <= now for each in known):
        return "was replaced by another"
    if key.expires_at is not None and key.expires_at <= now:
        return "has expired"
    return None


def state_of(key: ClientKey, now: float, store_secret: bytes) -> str:
    """In a word or two, for lists."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at is not None and key.expires_at <= now:
        return "expired"
    if key.under != under(store_secret):
        return "other secret"
    return "rotated" if any(each.until is not None and each.until > now for each in key.secrets) else "valid"


def client_key_of(row: KeyRow) -> ClientKey:
    """The key of a row. Raises `StoreUnavailable` if it is not one of this id that was written here."""
    try:
        key = _decode(row.data)
    except msgspec.MsgspecError as error:
        raise StoreUnavailable(f"the client key {row.id} is not what was written there") from error
    if key.id != row.id:
        raise StoreUnavailable(f"the client key {row.id} is not what was written there")
    return key


def changed_row(key: ClientKey, before: KeyRow | None = None) -> KeyRow:
    """The row of a key, in place of that of before."""
    return KeyRow(key.id, before.version + 1 if before else 1, _encode(key), before.used if before else None)


_encode: Callable[[ClientKey], bytes] = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(ClientKey).decode
