"""An exchange as a row, in the same columns in every database.

Rule: the detail is one piece of bytes, the rest are columns. The time is that of the id, and stands in a
column of its own for whoever reads the database.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import msgspec

from sidecar.conversation.exchange_record import Detail, Exchange, detail_of, packed
from sidecar.conversation.overview import Spent
from sidecar.errors import StoreUnavailable

__all__ = ["EXCHANGE", "LAST_EXCHANGE", "columns_of", "exchange_from_row", "readable", "row_of", "spent_of"]

EXCHANGE = (
    "id",
    "began_at",
    "parent",
    "outcome",
    "model",
    "status",
    "input_tokens",
    "output_tokens",
    "duration_ms",
    "error",
    "detail",
)
#: No id of an exchange comes after it.
LAST_EXCHANGE = b"\xff" * 32


def row_of(exchange: Exchange) -> tuple[Any, ...]:
    """Its values, in the order of `EXCHANGE`."""
    return (*_columns(exchange), packed(exchange.detail))


def columns_of(exchange: Exchange) -> bytes:
    """All of it but the detail, as one piece: what a detail that is encrypted has to stand beside.

    A column that is added later must not be in it, or what was encrypted before could not be read any more.
    """
    # A NUL is another character once PostgreSQL has kept it.
    columns = (each.replace("\0", "\ufffd") if type(each) is str else each for each in _columns(exchange))
    return msgspec.msgpack.encode(tuple(columns))


def _columns(exchange: Exchange) -> tuple[Any, ...]:
    return (
        exchange.id,
        exchange.when,
        exchange.parent,
        exchange.outcome,
        exchange.model,
        exchange.status,
        exchange.input_tokens,
        exchange.output_tokens,
        exchange.duration_ms,
        exchange.error,
    )


def exchange_from_row(conversation: str, row: Sequence[Any]) -> Exchange:
    """The exchange of such a row. Raises `StoreUnavailable` if its detail is damaged."""
    id, _began_at, *columns = row
    try:
        columns[-1] = detail_of(columns[-1])
        return Exchange(id, conversation, *columns)
    except ValueError as error:
        raise StoreUnavailable(
            f"exchange {id.hex()} of conversation {conversation} is not what was written there"
        ) from error


def spent_of(conversation: str, tenant: bytes, begun: float, row: Sequence[Any]) -> Spent:
    """The exchange of such a row, and whose it is; a damaged detail is said and left out."""
    try:
        return Spent(tenant, begun, exchange_from_row(conversation, row))
    except StoreUnavailable:
        return Spent(tenant, begun, exchange_from_row(conversation, (*row[:-1], packed(Detail()))), True)


def readable(conversation: str, rows: Iterable[Sequence[Any]]) -> Iterator[Exchange]:
    """The exchanges of those of these rows that can be read."""
    for row in rows:
        with suppress(StoreUnavailable):
            yield exchange_from_row(conversation, row)
