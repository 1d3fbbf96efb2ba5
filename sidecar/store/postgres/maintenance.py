"""Everything that a PostgreSQL store does outside of requests: listing, deleting, importing, re-encryption.

Rules: a conversation is deleted in one transaction, which blocks only writers to that conversation. Deleted
data is gone for every query at once; `purge` has the server vacuum it from its pages. How long the server's
log, backups and replicas keep it is up to whoever runs the server.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from typing import Any
from uuid import UUID

from sidecar.conversation.exchange_record import Exchange, exchange_id, packed
from sidecar.conversation.overview import Outline, Overview, Overviews, Spent
from sidecar.conversation.records import ConversationStats, Snapshot, Summary
from sidecar.conversation.tree import Conversation, Node
from sidecar.store.exchanges import EXCHANGE, exchange_from_row
from sidecar.store.postgres.client_keys import KeepingClientKeys
from sidecar.store.postgres.database import LONG, Connection, Database
from sidecar.store.postgres.overview import (
    MESSAGES,
    SPENT,
    outline,
    overview,
    overviews,
    spent_of_row,
)
from sidecar.store.postgres.rows import (
    CONVERSATION,
    NO_EXCHANGE,
    NO_THREAD,
    Parts,
    arrays_of,
    conversation_of,
    exchange_row,
    keys_of,
    nodes_of,
    number_of,
    text,
    thread_row,
    tree_of,
    without_parts,
)
from sidecar.store.postgres.running_responses import DELETE_RUNNING, RunningResponses
from sidecar.store.postgres.search import DELETE_INDEXED, DELETE_LEFT, LOCK
from sidecar.store.postgres.statements import ADD_PARTS, FIND_PARTS, NAME, PUT, TREE
from sidecar.store.threads import THREAD, thread_of, together

__all__ = ["Maintenance", "add_parts"]

_ABOUT = ", ".join(CONVERSATION)
_PAGE = 500
_COUNTED_PAGE = 20
_SPENT_PAGE = 5000
_NEWER_THAN_ALL = (1 << 62, UUID(int=(1 << 128) - 1))
# $1 and $2 the last one seen, $3 the end, $4 how many, then the tenant, the name and the name as a number.
_LISTED = f"""
    SELECT {_ABOUT}, born, number FROM conversation
    WHERE (born, number) > ($1, $2) AND born <= $3 %s
    ORDER BY born, number LIMIT $4"""
_COUNTED = f"""
    SELECT listed.*, counted.messages, counted.size + shared.size + done.size + under.size + asked.size
    FROM ({_LISTED}) listed
    CROSS JOIN LATERAL (
        SELECT count(*) AS messages,
            coalesce(sum(octet_length(m.body) + coalesce(octet_length(m.usage), 0)), 0)::bigint AS size
        FROM message m WHERE m.conversation = listed.number) counted
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(octet_length(p.bytes)), 0)::bigint AS size
        FROM part p WHERE p.conversation = listed.number) shared
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(octet_length(e.detail)), 0)::bigint AS size
        FROM exchange e WHERE e.conversation = listed.number AND e.born = listed.born) done
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(octet_length(t.tools) + coalesce(octet_length(t.system), 0)), 0)::bigint AS size
        FROM thread t WHERE t.conversation = listed.number AND t.born = listed.born) under
    CROSS JOIN LATERAL (
        SELECT coalesce(sum(octet_length(k.bytes)), 0)::bigint AS size
        FROM kept_request k WHERE k.conversation = listed.number AND k.born = listed.born) asked
    ORDER BY listed.born, listed.number"""
_NOW = "SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint"

_HOLD = "SELECT updated_at FROM conversation WHERE number = $1 FOR UPDATE"
_DELETE = f"""
    WITH gone AS (DELETE FROM conversation WHERE number = $1 RETURNING born),
    said AS (DELETE FROM message WHERE conversation = $1
        RETURNING substring(id FROM 1 FOR 16) AS hash, digest, source),
    named AS (DELETE FROM echo WHERE conversation = $1 RETURNING hash),
    shared AS (DELETE FROM part WHERE conversation = $1),
    prompted AS (DELETE FROM system_prompt WHERE conversation = $1),
    told AS (DELETE FROM summary WHERE conversation = $1),
    done AS (DELETE FROM exchange WHERE conversation = $1),
    under AS (DELETE FROM thread WHERE conversation = $1),
    asked AS (DELETE FROM kept_request WHERE conversation = $1),
    {DELETE_RUNNING}, {DELETE_INDEXED}
    DELETE FROM known_by k USING gone, (
        SELECT hash FROM said UNION SELECT digest FROM said WHERE source = 'upstream'
        UNION SELECT hash FROM named) keys
    WHERE k.hash = keys.hash AND k.born = gone.born AND k.conversation = $1"""
# What a sidecar of before these tables has left of conversations that it deleted.
_DELETE_LEFT = """
    DELETE FROM {0} e USING (
        SELECT held.conversation, held.born FROM (SELECT DISTINCT conversation, born FROM {0}) held
        WHERE NOT EXISTS (
            SELECT FROM conversation c WHERE c.number = held.conversation AND c.born = held.born)) gone
    WHERE e.conversation = gone.conversation AND e.born = gone.born"""
# What earlier versions listed of conversations that are found by their key, but for echoes, one of which may
# be the name that it was given later; in steps of short transactions.
_DELETE_LISTED = """
    DELETE FROM known_by k USING (
        SELECT held.hash, held.born, held.conversation FROM known_by held
        JOIN conversation c ON c.number = held.conversation
        WHERE c.key IS NOT NULL AND NOT EXISTS (
            SELECT FROM echo e WHERE e.conversation = held.conversation AND e.hash = held.hash)
        LIMIT $1) old
    WHERE k.hash = old.hash AND k.born = old.born AND k.conversation = old.conversation"""
_STEP = 10_000  # rows
_TABLES = (
    "conversation, message, part, echo, system_prompt, summary, exchange, thread, known_by, append_lease,"
    " learned, search_message, search_done, search_segment, search_row, kept_request, client_key,"
    " running_response, running_event"
)

_WHOLE = f"SELECT {_ABOUT}, born FROM conversation WHERE number = $1"
_ECHOES = "SELECT hash, message FROM echo WHERE conversation = $1 ORDER BY hash"
_FOUND_BY = """
    SELECT e.hash FROM echo e JOIN known_by k ON k.hash = e.hash AND k.conversation = e.conversation
    WHERE e.conversation = $1 AND k.born = $2 ORDER BY e.hash"""
_SYSTEM = "SELECT first, last FROM system_prompt WHERE conversation = $1"
_SUMMARIES = "SELECT hash, text, model, created_at FROM summary WHERE conversation = $1 ORDER BY hash"
_EXCHANGES = f"""
    SELECT {", ".join(EXCHANGE)} FROM exchange WHERE conversation = $1 AND born = $2 ORDER BY id"""
_TELL = """
    UPDATE conversation SET tenant = $2, key = $3, created_at = $4, updated_at = $5, tip = $6, "full" = $7,
        system = $8, weights = $9
    WHERE number = $1 AND updated_at <= $5 RETURNING true"""
_PUT_SYSTEM = """
    INSERT INTO system_prompt (conversation, first, last) VALUES ($1, $2, $3)
    ON CONFLICT (conversation) DO UPDATE SET first = excluded.first, last = excluded.last"""
_PUT_SUMMARY = """
    INSERT INTO summary (conversation, hash, text, model, created_at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT (conversation, hash) DO NOTHING"""
_PUT_EXCHANGE = f"""
    INSERT INTO exchange (conversation, born, {", ".join(EXCHANGE)})
    SELECT number, born, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12 FROM conversation WHERE number = $1
    ON CONFLICT (conversation, born, id) DO NOTHING"""
_THREAD = ", ".join(THREAD)
_THREADS = f"SELECT {_THREAD} FROM thread WHERE conversation = $1 AND born = $2 ORDER BY root"
_PUT_THREAD = f"""
    INSERT INTO thread (conversation, born, {_THREAD})
    SELECT number, born, $2, $3, $4, $5, $6, $7, $8, $9, $10 FROM conversation WHERE number = $1
    ON CONFLICT (conversation, born, root) DO UPDATE SET
        {", ".join(f"{each} = excluded.{each}" for each in THREAD)}"""
_RE_ENCRYPT_EXCHANGES = """
    UPDATE exchange e SET detail = n.detail FROM unnest($2::bytea[], $3::bytea[]) AS n (id, detail)
    WHERE e.conversation = $1 AND e.id = n.id"""
_AMEND = """
    UPDATE exchange e SET detail = $4 FROM conversation c
    WHERE c.number = $1 AND c.tenant = $2 AND e.conversation = c.number AND e.born = c.born AND e.id = $3"""
_RE_ENCRYPT = """
    UPDATE message m SET body = n.body, usage = n.usage
    FROM unnest($2::bytea[], $3::bytea[], $4::bytea[]) AS n (id, body, usage)
    WHERE m.conversation = $1 AND m.id = n.id"""


class Maintenance(RunningResponses, KeepingClientKeys):
    """The part of `PostgresStore` that serves commands and background jobs, not requests."""

    _database: Database

    async def conversations(self, name: str | None = None) -> AsyncIterator[Conversation]:
        async for row in self._listed(_LISTED, _PAGE, None, name):
            yield conversation_of(row)

    async def conversation_stats(
        self, *, tenant: bytes | None = None, name: str | None = None, sized: bool = True
    ) -> AsyncIterator[ConversationStats]:
        query, page = (_COUNTED, _COUNTED_PAGE) if sized else (_LISTED, _PAGE)
        async for row in self._listed(query, page, tenant, name):
            yield ConversationStats(*row[:5], *row[len(CONVERSATION) + 2 :])

    async def overviews(
        self, *, limit: int = 50, before: tuple[float, str] | None = None, recent: int = 1
    ) -> Overviews:
        return await self._database.run(lambda connection: overviews(connection, limit, before, recent))

    async def overview(self, name: str) -> Overview | None:
        return await self._database.run(lambda connection: overview(connection, name))

    async def taken(self) -> int:
        size = "SELECT pg_database_size(current_database())"
        taken: int = await self._database.run(lambda connection: connection.fetchval(size), patient=False)
        return taken

    async def outline(self, conversation: str) -> Outline | None:
        return await self._database.run(lambda connection: outline(connection, conversation))

    async def messages(self, conversation: str, nodes: Sequence[bytes]) -> list[Node]:
        rows = await self._database.run(_fetching(MESSAGES, (number_of(conversation), list(nodes))))
        return await nodes_of(rows)

    async def spent(self, begin: int, end: int) -> AsyncGenerator[list[Spent], None]:
        first, last = exchange_id(begin, b""), exchange_id(end, b"")
        after: tuple[Any, ...] = (*_NEWER_THAN_ALL, last)
        while True:
            rows = await self._database.run(_fetching(SPENT, (*after, first, last, _SPENT_PAGE)))
            if rows:
                yield [*map(spent_of_row, rows)]
            if len(rows) < _SPENT_PAGE:
                return
            after = (rows[-1]["born"], rows[-1]["number"], rows[-1][5])

    async def amend(self, tenant: bytes, exchange: Exchange) -> bool:
        number, detail = number_of(exchange.conversation), packed(exchange.detail)
        return await self._execute(_AMEND, number, tenant, exchange.id, detail) != "UPDATE 0"

    async def delete(self, conversation: str, *, unless_after: float | None = None) -> bool:
        number = number_of(conversation)

        async def delete(connection: Connection) -> bool:
            async with connection.transaction(isolation="read_committed"):
                # Locked by a statement of its own: the next one then sees all that was recorded before.
                used_at = await connection.fetchval(_HOLD, number)
                if used_at is None or (unless_after is not None and used_at > unless_after):
                    return False
                await connection.execute(LOCK, number, timeout=LONG)
                await connection.execute(_DELETE, number, timeout=LONG)
                return True

        return await self._database.run(delete)

    async def delete_learned(self) -> None:
        await self._execute("DELETE FROM learned")

    async def purge(self, *, compact: bool) -> None:
        for table in ("exchange", "thread", "kept_request"):
            await self._execute(_DELETE_LEFT.format(table))
        await self._execute(DELETE_LEFT)
        while await self._execute(_DELETE_LISTED, _STEP) == f"DELETE {_STEP}":
            pass
        await self._execute(f"VACUUM {'(FULL) ' if compact else ''}{_TABLES}")

    async def snapshot(self, conversation: str) -> Snapshot | None:
        async def read(connection: Connection) -> Snapshot | None:
            async with connection.transaction(isolation="repeatable_read", readonly=True):
                return await _whole(connection, conversation)

        return await self._database.run(read)

    async def add_snapshot(self, whole: Snapshot) -> None:
        async def put(connection: Connection) -> None:
            async with connection.transaction(isolation="read_committed"):
                await _put(connection, whole, shares_parts=self.shares_parts)

        await self._database.run(put)

    async def replace_snapshot(self, conversation: str, change: Callable[[Snapshot], Snapshot]) -> bool:
        async def rewrite(connection: Connection) -> bool:
            async with connection.transaction(isolation="read_committed"):
                await connection.fetchval(_HOLD, number_of(conversation))
                old = await _whole(connection, conversation)
                if old is not None:
                    await _rewrite(connection, change(old), shares_parts=self.shares_parts)
                return old is not None

        return await self._database.run(rewrite)

    async def replace_secret(self, secret: bytes) -> None:
        await self._execute("UPDATE secret SET value = $1", secret)
        self.secret = secret

    async def _execute(self, query: str, *values: object) -> str:
        """The server's word for what was done, such as `DELETE 3`."""

        async def execute(connection: Connection) -> str:
            done: str = await connection.execute(query, *values, timeout=LONG)
            return done

        return await self._database.run(execute)

    async def _listed(
        self, query: str, page: int, tenant: bytes | None, name: str | None
    ) -> AsyncIterator[Any]:
        """Those that are there now, page by page: what is begun meanwhile does not count."""
        # Told by the text of the query, so that each goes by an index of its own.
        which = ""
        also: list[object] = []
        if tenant is not None:
            which, also = "AND tenant = $5", [tenant]
        if name is not None:
            which += f" AND (key = ${len(also) + 5} OR number = ${len(also) + 6})"
            also += [name, number_of(name)]
        end: int = await self._database.run(lambda connection: connection.fetchval(_NOW))
        last: tuple[int, Any] = (-1, number_of(""))
        while True:
            rows = await self._database.run(_fetching(query % which, (*last, end, page, *also)))
            for row in rows:
                yield row
            if len(rows) < page:
                return
            last = (rows[-1]["born"], rows[-1]["number"])


def _fetching(query: str, values: tuple[Any, ...]) -> Callable[[Connection], Any]:
    async def fetch(connection: Connection) -> Any:
        return await connection.fetch(query, *values, timeout=LONG)

    return fetch


async def _whole(connection: Connection, id: str) -> Snapshot | None:
    number = number_of(id)
    row = await connection.fetchrow(_WHOLE, number)
    if row is None:
        return None
    system = await connection.fetchrow(_SYSTEM, number)
    exchanges = await connection.fetch(_EXCHANGES, number, row["born"], timeout=LONG)
    threads = await connection.fetch(_THREADS, number, row["born"], timeout=LONG)
    found_by: tuple[bytes, ...] = ()
    if (conversation := conversation_of(row)).key is not None:
        found = await connection.fetch(_FOUND_BY, number, row["born"], timeout=LONG)
        found_by = tuple(each[0] for each in found)
    return Snapshot(
        conversation=conversation,
        nodes=tuple(await tree_of(await connection.fetch(TREE, number, timeout=LONG))),
        echoes=tuple((each[0], each[1]) for each in await connection.fetch(_ECHOES, number)),
        system=(system[0], system[1]) if system else None,
        summaries=tuple(Summary(*each) for each in await connection.fetch(_SUMMARIES, number)),
        exchanges=tuple(exchange_from_row(id, each) for each in exchanges),
        threads=tuple(thread_of(id, each) for each in threads),
        found_by=found_by,
    )


async def add_parts(connection: Connection, number: object, parts: Parts) -> None:
    """Add those that are not there yet; in the transaction in which their messages were added."""
    if not parts.named:
        return
    held = {row[0] for row in await connection.fetch(FIND_PARTS, number, list(parts.named), timeout=LONG)}
    new = {name: part for name, part in parts.named.items() if name not in held}
    if new:
        named = [[each[at] for each in parts.messages] for at in (0, 1)]
        await connection.execute(ADD_PARTS, number, list(new), list(new.values()), *named, timeout=LONG)


async def _put(connection: Connection, whole: Snapshot, *, shares_parts: bool) -> None:
    each = whole.conversation
    nodes, parts = without_parts(whole.nodes) if shares_parts else (whole.nodes, Parts({}, []))
    number, echoes = number_of(each.id), dict(whole.echoes)
    held = await connection.fetchval("SELECT key FROM conversation WHERE number = $1 FOR UPDATE", number)
    if held is None and each.key is not None:
        await connection.execute(NAME, number, text(each.key), timeout=LONG)
    key = text(each.key) if held is None else held  # a name that it has got stays, whichever of them has it
    about = (each.tenant, key, each.created_at)
    told = (each.updated_at, each.tip, each.full, each.system, each.weights)
    keys = keys_of(whole.nodes, echoes) if key is None else list(whole.found_by)
    added = (*arrays_of(nodes), keys, list(echoes), list(echoes.values()), None, None, None, None)
    added += (*NO_EXCHANGE, *NO_THREAD)
    await connection.fetchval(PUT, number, *told, *added, each.id, *about, timeout=LONG)
    await add_parts(connection, number, parts)
    if await connection.fetchval(_TELL, number, *about, *told) and whole.system is not None:
        await connection.execute(_PUT_SYSTEM, number, *whole.system)
    summaries = [
        (number, one.hash, text(one.text), text(one.model), one.created_at) for one in whole.summaries
    ]
    await connection.executemany(_PUT_SUMMARY, summaries)
    await connection.executemany(_PUT_EXCHANGE, [(number, *exchange_row(one)) for one in whole.exchanges])
    if whole.threads:
        born = await connection.fetchval("SELECT born FROM conversation WHERE number = $1", number)
        rows = await connection.fetch(_THREADS, number, born, timeout=LONG)
        held = {row["root"]: thread_of(each.id, row) for row in rows}
        rows = [(number, *thread_row(together(held.get(one.root), one))) for one in whole.threads]
        await connection.executemany(_PUT_THREAD, rows)


async def _rewrite(connection: Connection, new: Snapshot, *, shares_parts: bool) -> None:
    number = number_of(new.conversation.id)
    nodes, parts = without_parts(new.nodes) if shares_parts else (new.nodes, Parts({}, []))
    await connection.execute(
        "UPDATE conversation SET tenant = $2 WHERE number = $1", number, new.conversation.tenant
    )
    columns = ([each.id for each in nodes], [each.body for each in nodes])
    await connection.execute(_RE_ENCRYPT, number, *columns, [each.usage for each in nodes], timeout=LONG)
    await connection.execute("DELETE FROM part WHERE conversation = $1", number)
    await add_parts(connection, number, parts)
    if new.system is not None:
        await connection.execute(_PUT_SYSTEM, number, *new.system)
    await connection.executemany(
        "UPDATE summary SET text = $3 WHERE conversation = $1 AND hash = $2",
        [(number, each.hash, text(each.text)) for each in new.summaries],
    )
    details = ([each.id for each in new.exchanges], [packed(each.detail) for each in new.exchanges])
    await connection.execute(_RE_ENCRYPT_EXCHANGES, number, *details, timeout=LONG)
    await connection.executemany(_PUT_THREAD, [(number, *thread_row(each)) for each in new.threads])
