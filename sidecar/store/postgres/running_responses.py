"""Responses that are made in the background, in PostgreSQL's tables. Times are by the database's clock.

Each write may happen twice (see `database`), and is one statement: done again, it changes nothing.
"""

from __future__ import annotations

from typing import Any

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.store.postgres.database import LONG, Database
from sidecar.store.postgres.kept_requests import KeepingRequests
from sidecar.store.postgres.rows import number_of

__all__ = ["DELETE_RUNNING", "RunningResponses"]

#: Those of a conversation, in the statement that deletes that.
DELETE_RUNNING = """
    made AS (DELETE FROM running_response WHERE conversation = $1),
    told_of AS (DELETE FROM running_event WHERE conversation = $1)"""

_ADD = """
    WITH added AS (
        INSERT INTO running_response (conversation, exchange, tenant, runner, told, last, unwanted, heard)
        VALUES ($1, $2, $3, $4, $5, $6, false, clock_timestamp())
        ON CONFLICT (conversation, exchange) DO NOTHING RETURNING conversation, exchange)
    INSERT INTO running_event (conversation, exchange, first, last, bytes)
    SELECT conversation, exchange, $7, $8, $9 FROM added"""
_MADE = "WHERE conversation = $1 AND exchange = $2 AND ended IS NULL"
_ADD_EVENTS = """
    put AS (INSERT INTO running_event (conversation, exchange, first, last, bytes)
        SELECT conversation, exchange, $4, $5, $6 FROM changed WHERE $6::bytea IS NOT NULL
        ON CONFLICT (conversation, exchange, last) DO NOTHING)
    SELECT count(*) FROM changed"""
_GO_ON = f"""
    WITH changed AS (UPDATE running_response SET last = $3 {_MADE} RETURNING conversation, exchange),
    {_ADD_EVENTS}"""
# Whoever asks whether it was the one to end it, and lost the answer, asks again: its own end counts.
_END = f"""
    WITH changed AS (
        UPDATE running_response SET last = $3, told = $7, ended = clock_timestamp() {_MADE}
        RETURNING conversation, exchange),
    {_ADD_EVENTS}"""
_FIND = """
    SELECT tenant, runner, told, last, unwanted, extract(epoch FROM ended)::float8,
        extract(epoch FROM greatest(clock_timestamp() - heard, interval '0'))::float8
    FROM running_response WHERE conversation = $1 AND exchange = $2 AND tenant = $3"""
_FIND_EVENTS = """
    SELECT e.first, e.last, e.bytes FROM running_event e
    JOIN running_response r ON r.conversation = e.conversation AND r.exchange = e.exchange
    WHERE r.conversation = $1 AND r.exchange = $2 AND r.tenant = $3
    AND e.conversation = $1 AND e.exchange = $2 AND e.last > $4 ORDER BY e.last LIMIT $5"""
_HEARD = "UPDATE running_response SET heard = clock_timestamp() WHERE runner = $1 AND ended IS NULL"
_MADE_BY = "SELECT exchange, unwanted FROM running_response WHERE runner = $1 AND ended IS NULL"
_UNWANTED = f"UPDATE running_response SET unwanted = true {_MADE} AND tenant = $3"
_FORGET = """
    WITH gone AS (
        DELETE FROM running_response WHERE conversation = $1 AND exchange = $2 AND tenant = $3
        RETURNING conversation, exchange),
    events AS (DELETE FROM running_event e USING gone
        WHERE e.conversation = gone.conversation AND e.exchange = gone.exchange)
    SELECT count(*) FROM gone"""
_FORGET_OLD = """
    WITH old AS (
        SELECT conversation, exchange FROM running_response
        WHERE coalesce(ended, heard) <= clock_timestamp() - $1 * interval '1 second'
        ORDER BY coalesce(ended, heard) LIMIT 20 FOR UPDATE SKIP LOCKED),
    gone AS (DELETE FROM running_response r USING old
        WHERE r.conversation = old.conversation AND r.exchange = old.exchange
        RETURNING r.conversation, r.exchange),
    events AS (DELETE FROM running_event e USING gone
        WHERE e.conversation = gone.conversation AND e.exchange = gone.exchange)
    SELECT count(*) FROM gone"""
_ANY = "SELECT EXISTS (SELECT FROM running_response)"


class RunningResponses(KeepingRequests):
    """The part of `PostgresStore` that keeps them."""

    _database: Database

    async def begin_response(self, response: RunningResponse, events: KeptEvents) -> None:
        about = (response.tenant, response.runner, response.told, response.last)
        await self._database.run(
            lambda connection: connection.execute(
                _ADD, *_place(response.where), *about, events.first, events.last, events.data
            )
        )

    async def add_events(self, where: Reference, events: KeptEvents) -> bool:
        values = (*_place(where), events.last, events.first, events.last, events.data)
        return bool(await self._value(_GO_ON, *values))

    async def end_response(
        self, where: Reference, told: bytes, last: int, events: KeptEvents | None = None
    ) -> bool:
        put = (events.first, events.last, events.data) if events is not None else (0, 0, None)
        return bool(await self._value(_END, *_place(where), last, *put, told))

    async def running_response(self, tenant: bytes, where: Reference) -> RunningResponse | None:
        values = (*_place(where), tenant)
        row = await self._database.run(lambda connection: connection.fetchrow(_FIND, *values))
        return RunningResponse(where, *row) if row is not None else None

    async def response_events(
        self, tenant: bytes, where: Reference, after: int, most: int
    ) -> list[KeptEvents]:
        values = (*_place(where), tenant, after, most)
        rows = await self._database.run(lambda connection: connection.fetch(_FIND_EVENTS, *values))
        return [KeptEvents(*row) for row in rows]

    async def heard_of(self, runner: str) -> None:
        await self._value(_HEARD, runner)

    async def made_by(self, runner: str) -> dict[bytes, bool]:
        return dict(await self._database.run(lambda connection: connection.fetch(_MADE_BY, runner)))

    async def cancel_response(self, tenant: bytes, where: Reference) -> None:
        await self._value(_UNWANTED, *_place(where), tenant)

    async def forget_response(self, tenant: bytes, where: Reference) -> bool:
        return bool(await self._value(_FORGET, *_place(where), tenant))

    async def forget_responses(self, after: float) -> bool:
        while await self._value(_ANY):
            if not await self._value(_FORGET_OLD, after):
                return True
        return False

    async def _value(self, query: str, *values: object) -> Any:
        return await self._database.run(lambda connection: connection.fetchval(query, *values, timeout=LONG))


def _place(where: Reference) -> tuple[Any, bytes]:
    return number_of(where.conversation), where.exchange
