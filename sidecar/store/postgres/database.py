"""A pool of connections, with retries for queries whose connection is lost.

Rule: whatever runs here may run twice. After a lost connection, while a server starts, or when a primary has
become a standby, it is retried until `retry` seconds after the trouble began; only then is the store
unavailable. During an outage, later callers try once and fail at once. No session state is relied on, so that
PgBouncer may pool transactions.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import asyncpg

from sidecar.errors import StoreUnavailable
from sidecar.store.url import Address

__all__ = ["LONG", "Connection", "Database"]

log = logging.getLogger("sidecar.store")
T = TypeVar("T")
Connection = Any  # asyncpg has no types

#: Seconds for one query of long work, which no request waits for.
LONG = 3600.0
_QUERY = 15.0  # seconds for one query of a request
_CONNECT = 5.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
_PLANS = (
    "SET jit = off; SET enable_seqscan = off; SET enable_bitmapscan = off;"
    " SET plan_cache_mode = force_generic_plan"
)
# As a session begins; what one has set it to since does not count.
_COMPILES = """
    SELECT format('ALTER ROLE CURRENT_USER IN DATABASE %I SET jit = off', current_database())
    FROM pg_settings WHERE name = 'jit' AND reset_val = 'on'"""
_SAID = 10.0  # seconds between two log lines of one wait

_LATER = (
    OSError,
    TimeoutError,
    asyncpg.PostgresConnectionError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    asyncpg.OperatorInterventionError,
    asyncpg.TransactionRollbackError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
    asyncpg.IdleInTransactionSessionTimeoutError,
)
# Of those, what waiting does not mend.
_NEVER = (
    ssl.SSLCertVerificationError,
    asyncpg.ClientConfigurationError,
    asyncpg.DataError,
    asyncpg.QueryCanceledError,
    asyncpg.DatabaseDroppedError,
)
_NOT_PREPARED = (asyncpg.InvalidSQLStatementNameError, asyncpg.DuplicatePreparedStatementError)
_ANY = (*_LATER, *_NEVER, asyncpg.PostgresError, UnicodeError)


class Database:
    """The database at `address`. Open it, run work on its connections, close it."""

    def __init__(self, address: Address) -> None:
        self.address = address
        self._pool: Any = None
        self._failing_since: float | None = None

    async def open(self, prepare: Callable[[Connection], Awaitable[None]]) -> None:
        """Wait for the database, then `prepare` it on a connection of its own."""
        begun, pause, said = time.monotonic(), 0.1, -_SAID
        while True:
            try:
                connection = await self._connect(prepared=False, pooled=True)
                try:
                    await prepare(connection)
                    pooled = await _is_pooled(connection)
                    if pooled:
                        await _compile_nothing(connection)
                finally:
                    await connection.close(timeout=_CONNECT)
                break
            except _ANY as error:
                waited = time.monotonic() - begun
                # A pooler says so of a database, or a parameter, that it does not know.
                hopeless = isinstance(error, asyncpg.ProtocolViolationError) or not _may_pass(error)
                if hopeless or waited >= self.address.start_wait:
                    raise StoreUnavailable(self._refused(error, waited)) from error
                if waited - said >= _SAID:
                    log.warning("waiting for the store", extra={"error": _reason(error), **self._about})
                    said = waited
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        prepared = not pooled if self.address.prepared is None else self.address.prepared
        self._pool = await asyncpg.create_pool(
            min_size=0,
            max_size=self.address.connections,
            connect=lambda *_, **named: self._connect(prepared=prepared, pooled=pooled, **named),
            reset=_nothing,
        )

    async def close(self) -> None:
        """Close all connections. Idempotent, and harmless if it was never opened."""
        pool, self._pool = self._pool, None
        if pool is None:
            return
        try:
            async with asyncio.timeout(_CONNECT):
                await pool.close()
        except TimeoutError:  # a server that does not answer is not waited for
            pool.terminate()

    async def run(self, work: Callable[[Connection], Awaitable[T]], *, patient: bool = True) -> T:
        """Run `work`, which may happen twice. Raises `StoreUnavailable`."""
        pause = _FIRST_PAUSE
        while True:
            try:
                if self._pool is None:
                    raise StoreUnavailable("the store is not open")
                async with self._pool.acquire(timeout=_QUERY) as connection:
                    result = await work(connection)
            except _ANY as error:
                if not _may_pass(error) or not self._may_wait(error) or not patient:
                    raise StoreUnavailable(f"the store failed: {_told(error)}") from error
                if isinstance(error, asyncpg.ReadOnlySQLTransactionError) and self._pool is not None:
                    await self._pool.expire_connections()  # they lead to what is no longer the primary
            else:
                self._failing_since = None
                return result
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE)

    def _may_wait(self, error: BaseException) -> bool:
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
            log.warning("retrying the store", extra={"error": _reason(error), **self._about})
        return now - self._failing_since < self.address.retry

    async def _connect(self, *, prepared: bool, pooled: bool, **named: Any) -> Connection:
        connection = await asyncpg.connect(
            self.address.dsn,
            timeout=_CONNECT,
            command_timeout=_QUERY,
            statement_cache_size=100 if prepared else 0,
            **named,
        )
        if not pooled:  # there the session would be another client's next
            await _plan_once(connection)
        return connection

    @property
    def _about(self) -> dict[str, str]:
        return {"store": self.address.shown}

    def _refused(self, error: BaseException, waited: float) -> str:
        after = f" (waited `start_wait` = {self.address.start_wait:g} s)" if waited > 1 else ""
        return f"cannot open the store {self.address.shown}: {_reason(error)}{after}{_hint(error)}"


async def _is_pooled(connection: Connection) -> bool:
    """Is there a pooler in between? It answers for a process that is not the server's."""
    return bool(connection.get_server_pid() != await connection.fetchval("SELECT pg_backend_pid()"))


async def _plan_once(connection: Connection) -> None:
    """There is one good plan for each statement, and it goes along an index.

    Nor is any worth compiling. By itself the server plans anew every time where tables are divided, which
    takes ten times as long as to run it; and a plan made while a table was small, without its index or
    against its order, would stay when it has grown.
    """
    with suppress(asyncpg.UndefinedObjectError):  # some of PostgreSQL's relatives know no such settings
        await connection.execute(_PLANS)


async def _compile_nothing(connection: Connection) -> None:
    """Behind a pooler no session is ours, and a parameter of the start that it does not know it refuses: so
    every session of this role in this database begins without, and this one goes on without. Compiling a
    statement takes up to a second; the driver's first, about types, would be one."""
    command = await connection.fetchval(_COMPILES)
    if command is not None:
        try:
            await connection.execute(f"{command}; SET jit = off")
        except asyncpg.PostgresError as error:
            log.warning("the server may compile statements (jit = on)", extra={"error": _reason(error)})


async def _nothing(_connection: Connection) -> None:
    """In place of the driver's reset when a connection is returned: there is no session state."""


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, _LATER) and not isinstance(error, _NEVER)


def _reason(error: BaseException) -> str:
    lines = str(error).splitlines()  # more than one has hints for programmers
    return lines[0] if lines else type(error).__name__


def _told(error: BaseException) -> str:
    """Chat clients see this: no address, no user."""
    if isinstance(error, (OSError, TimeoutError)):
        return "the database cannot be reached"
    if isinstance(error, (asyncpg.DataError, UnicodeError)):
        return "it cannot hold a value such as a text that is no Unicode"  # nor is that for a log
    if isinstance(error, (asyncpg.InvalidAuthorizationSpecificationError, asyncpg.InvalidCatalogNameError)):
        return "the database refuses the login"
    return _reason(error) + _hint(error)


def _hint(error: BaseException) -> str:
    if isinstance(error, asyncpg.InvalidAuthorizationSpecificationError):
        return " (`store`: is the user right, and the password?)"
    if isinstance(error, asyncpg.InvalidCatalogNameError):
        return " (make it, or name another in `store`)"
    if isinstance(error, asyncpg.InsufficientPrivilegeError):
        return " (the user needs to make and use tables there: GRANT ALL ON SCHEMA ... TO ...)"
    if isinstance(error, _NOT_PREPARED):
        return " (a pooler in between does not know prepared statements: add `prepared=off` to `store`)"
    return ""
