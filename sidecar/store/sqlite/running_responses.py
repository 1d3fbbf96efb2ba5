"""Responses that are made in the background, in SQLite's tables. Times are by this machine's clock."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

from sidecar.conversation.exchange_record import Reference
from sidecar.conversation.running_response import KeptEvents, RunningResponse
from sidecar.store.sqlite.kept_requests import KeepingRequests
from sidecar.store.sqlite.worker import Worker

__all__ = ["RunningResponses", "delete_running"]

_ADD = """
    INSERT INTO running_response (conversation, exchange, tenant, runner, told, last, unwanted, heard)
    VALUES (?, ?, ?, ?, ?, ?, 0, ?)"""
_ADD_EVENTS = "INSERT INTO running_event (response, first, last, bytes) VALUES (?, ?, ?, ?)"
_MADE = "WHERE conversation = ? AND exchange = ? AND ended IS NULL"
_GO_ON = f"UPDATE running_response SET last = ? {_MADE} RETURNING number"
_END = f"UPDATE running_response SET last = ?, told = ?, ended = ? {_MADE} RETURNING number"
_FIND = """
    SELECT tenant, runner, told, last, unwanted, ended, heard FROM running_response
    WHERE conversation = ? AND exchange = ? AND tenant = ?"""
_FIND_EVENTS = """
    SELECT e.first, e.last, e.bytes FROM running_event e JOIN running_response r ON r.number = e.response
    WHERE r.conversation = ? AND r.exchange = ? AND r.tenant = ? AND e.last > ? ORDER BY e.last LIMIT ?"""
_HEARD = "UPDATE running_response SET heard = ? WHERE runner = ? AND ended IS NULL"
_MADE_BY = "SELECT exchange, unwanted FROM running_response WHERE runner = ? AND ended IS NULL"
_UNWANTED = f"UPDATE running_response SET unwanted = 1 {_MADE} AND tenant = ?"
_FORGET = "DELETE FROM running_response WHERE conversation = ? AND exchange = ? AND tenant = ?"
_FORGET_ALL_OF = "DELETE FROM running_response WHERE conversation = ?"
# One at a time: all of its events are overwritten.
_FORGET_OLD = """
    DELETE FROM running_response
    WHERE number = (SELECT number FROM running_response WHERE coalesce(ended, heard) <= ? LIMIT 1)"""
_ANY = "SELECT 1 FROM running_response LIMIT 1"


class RunningResponses(KeepingRequests):
    """The part of `SQLiteStore` that keeps them."""

    _writer: Worker

    async def begin_response(self, response: RunningResponse, events: KeptEvents) -> None:
        await self._writer.do(partial(_begin, response, events))

    async def add_events(self, where: Reference, events: KeptEvents) -> bool:
        return await self._writer.do(partial(_go_on, _GO_ON, (events.last, *_place(where)), events))

    async def end_response(
        self, where: Reference, told: bytes, last: int, events: KeptEvents | None = None
    ) -> bool:
        return await self._writer.do(partial(_go_on, _END, (last, told, time.time(), *_place(where)), events))

    async def running_response(self, tenant: bytes, where: Reference) -> RunningResponse | None:
        values = (*_place(where), tenant)
        row = await self._reader.do(lambda reader: reader.execute(_FIND, values).fetchone())
        if row is None:
            return None
        silent = max(0.0, time.time() - row[6])
        tenant, runner, told, last, unwanted, ended, _heard = row
        return RunningResponse(where, tenant, runner, told, last, bool(unwanted), ended, silent)

    async def response_events(
        self, tenant: bytes, where: Reference, after: int, most: int
    ) -> list[KeptEvents]:
        values = (*_place(where), tenant, after, most)
        rows = await self._reader.do(lambda reader: reader.execute(_FIND_EVENTS, values).fetchall())
        return [KeptEvents(*row) for row in rows]

    async def heard_of(self, runner: str) -> None:
        await self._writer.do(lambda writer: writer.execute(_HEARD, (time.time(), runner)))

    async def made_by(self, runner: str) -> dict[bytes, bool]:
        rows = await self._reader.do(lambda reader: reader.execute(_MADE_BY, (runner,)).fetchall())
        return {exchange: bool(unwanted) for exchange, unwanted in rows}

    async def cancel_response(self, tenant: bytes, where: Reference) -> None:
        await self._writer.do(lambda writer: writer.execute(_UNWANTED, (*_place(where), tenant)))

    async def forget_response(self, tenant: bytes, where: Reference) -> bool:
        gone: int = await self._writer.do(
            lambda writer: writer.execute(_FORGET, (*_place(where), tenant)).rowcount
        )
        return gone > 0

    async def forget_responses(self, after: float) -> bool:
        # Nothing is written at every start where there is nothing: whoever writes then would be waited for.
        while await self._reader.do(lambda reader: reader.execute(_ANY).fetchone()):
            values = (time.time() - after,)
            if not await self._writer.do(partial(_changed, _FORGET_OLD, values)):
                return True
        return False


def delete_running(connection: sqlite3.Connection, conversation: str) -> None:
    """Delete those of the conversation with this id."""
    connection.execute(_FORGET_ALL_OF, (conversation,))


def _place(where: Reference) -> tuple[str, bytes]:
    return where.conversation, where.exchange


def _begin(response: RunningResponse, events: KeptEvents, connection: sqlite3.Connection) -> None:
    about = (response.tenant, response.runner, response.told, response.last, time.time())
    number = connection.execute(_ADD, (*_place(response.where), *about)).lastrowid
    connection.execute(_ADD_EVENTS, (number, events.first, events.last, events.data))


def _go_on(
    query: str, values: Sequence[Any], events: KeptEvents | None, connection: sqlite3.Connection
) -> bool:
    row = connection.execute(query, values).fetchone()
    if row is not None and events is not None:
        connection.execute(_ADD_EVENTS, (row[0], events.first, events.last, events.data))
    return row is not None


def _changed(query: str, values: Sequence[Any], connection: sqlite3.Connection) -> int:
    return connection.execute(query, values).rowcount
