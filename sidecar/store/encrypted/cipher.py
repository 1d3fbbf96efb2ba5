"""How content is encrypted: AES-256-GCM, each piece bound to its place.

- Of several keys the first one encrypts, and all of them decrypt.
- A conversation has a key of its own, derived from that one, so that no number of messages exhausts a key.
- A piece can be decrypted only in the place that it was encrypted for, a field of a message: rows cannot be
  swapped.
- A tenant has a deterministic pseudonym, so that it can be looked up. Tenants key the hashes of messages, so
  nobody who has only the database can check a guess at what was said.
- What comes again, with every turn or in another branch, is encrypted deterministically
  (`encrypt_deterministic`), so that a store that holds it need not write it again: its nonce is a keyed hash
  of the content and its place. Whoever sees it twice in one conversation knows that it is the same; in two
  conversations nobody does.
- Whatever was changed, truncated or moved is a `StoreUnavailable` that names the row, never another value.

Version 1: `\\0seal1`, 4 bytes that name the key, 12 bytes of nonce, the ciphertext, 16 bytes of tag.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

from sidecar.errors import StoreUnavailable

__all__ = [
    "ENCRYPTED",
    "KEY_SIZE",
    "OF_CLIENT_KEY",
    "TENANT_SIZE",
    "BlockPseudonym",
    "ContentCipher",
    "TenantPseudonym",
    "changed",
    "changed_secret",
    "fingerprint",
    "is_encrypted",
    "refuse_encrypted",
    "whole_of",
]

KEY_SIZE = 32
#: Stands in the place of a conversation before the id of a client's key; no conversation's id begins so.
OF_CLIENT_KEY = "\0client key "
#: The code of the error for a store that is encrypted, where there is no key.
ENCRYPTED = "store_encrypted"
_MARK = b"\0seal1"
#: No text begins so that anybody wrote.
_TEXT_MARK = "\x01seal1:"
_NAME_SIZE, _NONCE_SIZE, _TAG_SIZE = 4, 12, 16
_HEAD = len(_MARK) + _NAME_SIZE
_SHORTEST = _HEAD + _NONCE_SIZE + _TAG_SIZE
_BLOCK_PSEUDONYM, _PSEUDONYM = b"\x01", b"\x02"
TENANT_SIZE = 16


def is_encrypted(data: bytes) -> bool:
    """Was this encrypted, with whatever key? JSON never begins so."""
    return data.startswith(_MARK)


def fingerprint(encrypted: bytes) -> bytes:
    """What tells this piece from every other that can be decrypted: its key, its nonce and its tag."""
    return encrypted[: _HEAD + _NONCE_SIZE] + encrypted[-_TAG_SIZE:]


def refuse_encrypted(secret: bytes, name: str) -> None:
    """Raise `StoreUnavailable` for a store whose secret is encrypted, opened by somebody without a key."""
    if is_encrypted(secret):
        raise StoreUnavailable(
            f"{name} is encrypted: set encryption.key or encryption.key_file to the key it was written with",
            code=ENCRYPTED,
        )


def changed_secret() -> StoreUnavailable:
    """The error for a store whose secret is not encrypted, while what it holds is."""
    return StoreUnavailable(
        "the secret of the store is not encrypted, and what it holds is: somebody changed it; put a backup in"
        " its place"
    )


class ContentCipher:
    """Encrypts and opens with these keys, 32 bytes each."""

    def __init__(self, keys: Sequence[bytes]) -> None:
        from cryptography.exceptions import InvalidTag

        self._invalid = InvalidTag
        self._keys = {_name(key): key for key in keys}
        self._first = _name(keys[0])

    def encrypt(self, plain: bytes, conversation: str, *place: bytes) -> bytes:
        """`plain`, encrypted for this place in this conversation."""
        return self._encrypt(secrets.token_bytes(_NONCE_SIZE), plain, conversation, place)

    def encrypt_deterministic(self, plain: bytes, conversation: str, *place: bytes) -> bytes:
        """The same, and the same bytes each time: who sees two of them knows whether they say the same."""
        key = blake2b(self._keys[self._first], digest_size=KEY_SIZE, person=b"sidecar/nonces").digest()
        bound = _bound(conversation, (*place, plain))
        return self._encrypt(
            blake2b(bound, digest_size=_NONCE_SIZE, key=key, person=b"sidecar/nonce").digest(),
            plain,
            conversation,
            place,
        )

    def _encrypt(self, nonce: bytes, plain: bytes, conversation: str, place: Sequence[bytes]) -> bytes:
        cipher = _cipher(self._keys[self._first], conversation)
        encrypted: bytes = cipher.encrypt(nonce, plain, _bound(conversation, place))
        return _MARK + self._first + nonce + encrypted

    def decrypt(self, encrypted: bytes, conversation: str, *place: bytes) -> bytes:
        """What was encrypted for this place. Raises `StoreUnavailable` if that is not possible."""
        if len(encrypted) < _SHORTEST:
            raise changed(conversation, place)
        name, nonce = encrypted[len(_MARK) : _HEAD], encrypted[_HEAD : _HEAD + _NONCE_SIZE]
        key = self._keys.get(name)
        if key is None:
            raise StoreUnavailable(
                f"{_called(conversation, place)} is encrypted with a key (called {name.hex()}) that is none"
                " of encryption.key"
                f" ({', '.join(each.hex() for each in self._keys)}): add that key behind the others"
            )
        data = encrypted[_HEAD + _NONCE_SIZE :]
        try:
            return bytes(_cipher(key, conversation).decrypt(nonce, data, _bound(conversation, place)))
        except self._invalid as error:
            raise changed(conversation, place) from error

    def encrypt_text(self, plain: str, conversation: str, *place: bytes) -> str:
        """The same as `encrypt` for a text."""
        return _as_text(self.encrypt(plain.encode("utf-8", "surrogatepass"), conversation, *place))

    def encrypt_text_deterministic(self, plain: str, conversation: str, *place: bytes) -> str:
        """The same as `encrypt_deterministic` for a text."""
        return _as_text(
            self.encrypt_deterministic(plain.encode("utf-8", "surrogatepass"), conversation, *place)
        )

    def decrypt_text(self, encrypted: str, conversation: str, *place: bytes) -> str:
        """The same for a text."""
        try:
            data = base64.b64decode(encrypted.removeprefix(_TEXT_MARK), validate=True)
        except ValueError as error:
            raise changed(conversation, place) from error
        return self.decrypt(data, conversation, *place).decode("utf-8", "surrogatepass")

    def is_newest(self, encrypted: bytes) -> bool:
        """Is it encrypted with the first key?"""
        return encrypted[:_HEAD] == _MARK + self._first

    def is_newest_text(self, encrypted: str) -> bool:
        """Is it encrypted with the first key?"""
        try:
            return self.is_encrypted_text(encrypted) and self.is_newest(
                binascii.a2b_base64(encrypted[len(_TEXT_MARK) :])
            )
        except ValueError:  # whoever opens it says what is wrong with it
            return False

    def is_encrypted_text(self, text: str) -> bool:
        """Was this encrypted, with whatever key?"""
        return text.startswith(_TEXT_MARK)


class TenantPseudonym:
    """Other names for tenants, by the store's secret: AES-SIV (RFC 5297), deterministic and authenticated."""

    def __init__(self, secret: bytes) -> None:
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESSIV

        self._invalid = InvalidTag
        self._cipher = AESSIV(blake2b(digest_size=64, key=secret[:64], person=b"sidecar/siv").digest())
        #: The name in the store of a tenant. It is longer than a tenant, and so never one.
        self.pseudonym = lru_cache(maxsize=1024)(self._pseudonym)

    def _pseudonym(self, tenant: bytes) -> bytes:
        return _PSEUDONYM + self._cipher.encrypt(_checked(tenant), None)

    def tenant_of(self, name: bytes) -> bytes | None:
        """The tenant of a name in the store; None for what was never made here."""
        try:
            return self._cipher.decrypt(name[1:], None) if name[:1] == _PSEUDONYM else None
        except (self._invalid, ValueError):
            return None


class BlockPseudonym:
    """The same as it was in the first stores: AES on the one block that a tenant is. It does not show whether
    a name was changed; the hashes of messages do, which are keyed by the tenant."""

    def __init__(self, secret: bytes) -> None:
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        key = blake2b(digest_size=KEY_SIZE, key=secret[:64], person=b"sidecar/veil").digest()
        # A tenant is one block, and no two are the same: here this mode is what is wanted, a permutation.
        self._cipher = Cipher(algorithms.AES(key), modes.ECB())  # noqa: S305 - one block, see above
        self.pseudonym = lru_cache(maxsize=1024)(self._pseudonym)

    def _pseudonym(self, tenant: bytes) -> bytes:
        encryptor = self._cipher.encryptor()
        return _BLOCK_PSEUDONYM + encryptor.update(_checked(tenant)) + encryptor.finalize()

    def tenant_of(self, name: bytes) -> bytes | None:
        """The tenant of a name in the store; None for what was never made here."""
        if name[:1] != _BLOCK_PSEUDONYM or len(name) != 1 + TENANT_SIZE:
            return None
        decryptor = self._cipher.decryptor()
        return decryptor.update(name[1:]) + decryptor.finalize()


def _as_text(encrypted: bytes) -> str:
    return _TEXT_MARK + base64.b64encode(encrypted).decode()


def _checked(tenant: bytes) -> bytes:
    if len(tenant) != TENANT_SIZE:
        raise ValueError(f"a tenant has {TENANT_SIZE} bytes")
    return tenant


def changed(conversation: str, place: Sequence[bytes]) -> StoreUnavailable:
    """The error for a piece that is not what was encrypted for this place."""
    return StoreUnavailable(
        f"{_called(conversation, place)} is not what was written there: it was changed, or is from elsewhere"
    )


def _called(conversation: str, place: Sequence[bytes]) -> str:
    """A place, for people: what it is, and in which row."""
    if conversation.startswith("\0"):
        return whole_of(conversation)
    row, what = (None, b"".join(place)) if len(place) < 2 else place[:2]
    of = f" of b2:{row.hex()}" if row is not None else ""
    return f"the {what.decode('ascii', 'replace')}{of} in {whole_of(conversation)}"


def whole_of(conversation: str) -> str:
    """That of which a place is one, for people."""
    if conversation.startswith(OF_CLIENT_KEY):
        return f"the client key {conversation.removeprefix(OF_CLIENT_KEY)}"
    return "the secret of the store" if conversation.startswith("\0") else f"conversation {conversation}"


def _name(key: bytes) -> bytes:
    return blake2b(key, digest_size=_NAME_SIZE, person=b"sidecar/keyname").digest()


@lru_cache(maxsize=1024)
def _cipher(key: bytes, conversation: str) -> Any:
    # Imported here: who does not encrypt need not load it.
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    name = conversation.encode("utf-8", "surrogatepass")
    return AESGCM(blake2b(name, digest_size=KEY_SIZE, key=key, person=b"sidecar/seal").digest())


def _bound(conversation: str, place: Sequence[bytes]) -> bytes:
    parts = (conversation.encode("utf-8", "surrogatepass"), *place)
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)
