"""A segment of the index of what was said: which of up to `SEGMENT` messages hold a key.

Rules: a key is kept as a hash of 4 bytes under the store's secret, so no word stands in the index; what it
finds is looked at before it is told. A segment is written once, and deleted whole as soon as a message of it
is: so nothing of what is deleted stays, and nothing is ever taken out of the middle. Its keys are kept in
`BUCKETS` rows by their hash.

A row: the number of its keys (2 bytes); their hashes in order (4 bytes each); how many bytes tell where each
stands (2 bytes each); and these: places of 2 bytes, or, if there are `_MANY` or more, a bit for each place.
Numbers are little-endian.
"""

from __future__ import annotations

import sys
import time
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from hashlib import blake2b

from sidecar.conversation.message import read, text_of
from sidecar.prompt.search_words import VERSION, Sought, keys_of

__all__ = [
    "BUCKETS",
    "LARGEST",
    "SEGMENT",
    "breathe",
    "bucket_of",
    "hash_of",
    "packed_segment",
    "place_by_place",
    "places_of",
    "stamp_of",
    "text_with",
    "text_within",
    "wanted_of",
]

SEGMENT = 1024
#: A message of more bytes is no words but a file, and is not looked through.
LARGEST = 1 << 20
BUCKETS = 128
_MANY = SEGMENT // 16
_BITS = SEGMENT // 8
_PERSON = b"sidecar/search"
# Cutting words holds the interpreter, and a thread that waits for it gets it in between.
_WORK, _PAUSE = 0.0005, 0.00005  # seconds


def stamp_of(secret: bytes) -> bytes:
    """What tells an index that was made by these rules, under this secret."""
    return blake2b(bytes((VERSION,)), digest_size=8, key=secret[:64], person=_PERSON).digest()


def hash_of(secret: bytes) -> Callable[[str], int]:
    """The function from a key to its hash."""

    def hash(key: str) -> int:
        data = key.encode("utf-8", "surrogatepass")
        return int.from_bytes(
            blake2b(data, digest_size=4, key=secret[:64], person=_PERSON).digest(), "little"
        )

    return hash


def bucket_of(hash: int) -> int:
    """In which row of a segment a key of this hash stands."""
    return hash % BUCKETS


def packed_segment(secret: bytes, texts: Iterable[tuple[int, str]]) -> list[tuple[int, bytes]]:
    """The rows of a segment, each with its bucket. `texts`: with each its place in the segment, in order.

    Lets other threads have the interpreter as it goes.
    """
    hash, held = hash_of(secret), dict[str, list[int]]()
    begun = time.monotonic()
    for place, text in texts:
        for key in keys_of(text):
            held.setdefault(key, []).append(place)
        begun = breathe(begun)
    rows: list[dict[int, list[int]]] = [{} for _ in range(BUCKETS)]
    for key, places in held.items():
        number = hash(key)
        row = rows[bucket_of(number)]
        row[number] = sorted({*row[number], *places}) if number in row else places
    return [(bucket, _packed(row)) for bucket, row in enumerate(rows) if row]


def breathe(begun: float) -> float:
    """Let others have the interpreter, if the work has taken long since then; from when it counts now."""
    if time.monotonic() - begun < _WORK:
        return begun
    time.sleep(_PAUSE)
    return time.monotonic()


def _packed(row: Mapping[int, Sequence[int]]) -> bytes:
    hashes = sorted(row)
    told = [_places(row[hash]) for hash in hashes]
    return b"".join(
        (
            len(hashes).to_bytes(2, "little"),
            _little(array("I", hashes)),
            _little(array("H", map(len, told))),
            *told,
        )
    )


def _places(places: Sequence[int]) -> bytes:
    if len(places) < _MANY:
        return _little(array("H", places))
    bits = 0
    for place in places:
        bits |= 1 << place
    return bits.to_bytes(_BITS, "little")


def places_of(row: bytes, hash: int) -> int:
    """Where a key of this hash stands, as this row of a segment tells: a bit for each place."""
    count = int.from_bytes(row[:2], "little")
    hashes, sizes = array("I"), array("H")
    hashes.frombytes(row[2 : 2 + 4 * count])
    sizes.frombytes(row[2 + 4 * count : 2 + 6 * count])
    _in_order(hashes, sizes)
    at = bisect_left(hashes, hash)
    if at == count or hashes[at] != hash:
        return 0
    begin = 2 + 6 * count + sum(sizes[:at])
    told = row[begin : begin + sizes[at]]
    if len(told) == _BITS:
        return int.from_bytes(told, "little")
    places, bits = array("H", told), 0
    _in_order(places)
    for place in places:
        bits |= 1 << place
    return bits


def wanted_of(sought: Sought, secret: bytes) -> list[tuple[int, int]]:
    """The bucket and the hash of each key that a message must have."""
    hash = hash_of(secret)
    return [(bucket_of(number), number) for number in map(hash, sought.keys)]


def place_by_place(bits: int) -> Iterator[int]:
    """The places that these bits stand for, the last first."""
    while bits:
        place = bits.bit_length() - 1
        yield place
        bits ^= 1 << place


def text_within(body: bytes) -> str:
    """What a message says, as far as it is looked for: nothing, where it is too large or none."""
    if len(body) > LARGEST:
        return ""
    try:
        return text_of(read(body))
    except ValueError:
        return ""


def text_with(sought: Sought, body: bytes) -> str | None:
    """What a message says, if it has all that is looked for; None if it has not."""
    if not sought.may_be_in(body):
        return None
    text = text_within(body)
    return text if sought.is_in(text) else None


def _little(numbers: array[int]) -> bytes:
    _in_order(numbers)
    return numbers.tobytes()


def _in_order(*numbers: array[int]) -> None:
    if sys.byteorder == "big":
        for each in numbers:
            each.byteswap()
