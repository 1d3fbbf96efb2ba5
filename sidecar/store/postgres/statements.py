"""The SQL of a request: every method of a store is one statement, and so one round trip.

Rule: each goes by the keys of the tables alone, which name the conversation or a hash. `OFFSET 0` sees to
that, and so does `LIMIT 1` where it is looked for by a whole key: no condition from outside gets in, so the
planner has no other index to choose, whatever it believes of the tables. Each part that writes to a
conversation reads what it needs from the row of that conversation, which it has locked.

PostgreSQL compiles a statement that it believes to cost more than `jit_above_cost`, which takes a thousand
times as long as one of these runs. `LIMIT 1` has it believe less where tables are divided: one part is read,
and all are counted.
"""

from __future__ import annotations

from sidecar.store.base import MAX_ALIKE, MAX_CANDIDATES
from sidecar.store.exchanges import EXCHANGE
from sidecar.store.parts import WITHOUT_PARTS
from sidecar.store.postgres.rows import CONVERSATION, NODE
from sidecar.store.threads import THREAD

__all__ = [
    "ADD_PARTS",
    "ADD_SUMMARY",
    "CANDIDATES",
    "EXCHANGES",
    "FIND",
    "FIND_BY_HISTORY",
    "FIND_PARTS",
    "ONE_EXCHANGE",
    "PARTS",
    "PATH",
    "PROBE",
    "PUT",
    "RECORD_BEGINNING",
    "RECORD_NAMED",
    "RECORD_UNDER",
    "SIZE",
    "SUMMARY",
    "SYSTEM",
    "THREADS",
    "TREE",
    "nodes_of",
]


#: What stands in the columns of a node for a part.
_AS_NODE = {"id": "name", "body": "bytes"}


def _of(table: str, columns: tuple[str, ...]) -> str:
    return ", ".join(f"{table}.{each}" for each in columns)


#: Is this body kept without its parts? For `format`, like what follows: numbers are those of `Shell` on disk.
HAS_PARTS = rf"substring({{0}}.body FOR 6) = '\x{WITHOUT_PARTS.hex()}'::bytea"
#: Its parts, each once, in the order of their names. The planner adds this to the cost of every message, and
#: takes an array for ten values, but a series for a thousand.
PARTS = f"""CASE WHEN {HAS_PARTS} THEN (
            SELECT array_agg(p.bytes ORDER BY p.name) FROM part p
            WHERE p.conversation = {{0}}.conversation AND p.name = ANY (ARRAY(
                SELECT substring({{0}}.body FROM 7 + 24 * each.place::integer FOR 16)
                FROM unnest(array_fill(0, ARRAY[get_byte({{0}}.body, 20) * 256 + get_byte({{0}}.body, 21)]))
                    WITH ORDINALITY AS each (nought, place)))) END"""
#: How long it is with them.
SIZE = f"""CASE WHEN {HAS_PARTS}
        THEN ('x' || encode(substring({{0}}.body FROM 7 FOR 8), 'hex'))::bit(64)::bigint
        ELSE octet_length({{0}}.body) END"""


def nodes_of(table: str) -> str:
    """The columns of a node, and its parts behind them."""
    return f"{_of(table, NODE)}, {PARTS.format(table)} AS parts"


#: All ids that begin with a hash lie between it and this.
_LAST = r"'\xffffffffffffffff'::bytea"

# $1 numbers, $2 tenant, $3 hashes. A row for each node that is found, oldest first; or one without, or none.
FIND = rf"""
    WITH talk AS MATERIALIZED (
        SELECT c.* FROM unnest($1::uuid[]) WITH ORDINALITY AS asked (number, place)
        CROSS JOIN LATERAL (SELECT * FROM conversation WHERE number = asked.number LIMIT 1) c
        WHERE c.tenant = $2 ORDER BY asked.place LIMIT 1
    ), hit AS MATERIALIZED (
        SELECT asked.hash, coalesce(echo.message, asked.hash) AS low,
            coalesce(echo.message, asked.hash || {_LAST}) AS high
        FROM talk CROSS JOIN unnest($3::bytea[]) WITH ORDINALITY AS asked (hash, place)
        CROSS JOIN LATERAL (SELECT EXISTS (
            SELECT FROM message m WHERE m.conversation = talk.number
            AND m.id BETWEEN asked.hash AND asked.hash || {_LAST}) AS there OFFSET 0) direct
        LEFT JOIN LATERAL (
            SELECT message FROM echo WHERE conversation = talk.number AND hash = asked.hash LIMIT 1) echo
            ON NOT direct.there
        WHERE direct.there OR echo.message IS NOT NULL
        ORDER BY asked.place LIMIT 1
    )
    SELECT {_of("talk", CONVERSATION)}, hit.hash,
        NOT EXISTS (SELECT FROM message c WHERE c.conversation = talk.number AND c.parent = m.id) AS is_tip,
        {nodes_of("m")}
    FROM talk LEFT JOIN hit ON true
    LEFT JOIN LATERAL (
        SELECT * FROM message WHERE conversation = talk.number AND id BETWEEN hit.low AND hit.high OFFSET 0) m
        ON true
    ORDER BY m.position"""

_HOLDERS = """
    SELECT asked.place, asked.hash, holder.born, holder.conversation
    FROM unnest({keys}::bytea[]) WITH ORDINALITY AS asked (hash, place)
    CROSS JOIN LATERAL (
        SELECT k.born, k.conversation FROM known_by k WHERE k.hash = asked.hash
        ORDER BY k.born DESC, k.conversation DESC LIMIT {most}) holder"""

# $1 tenant, $2 hashes. Which place the answer has that the last hash names, and whether anything follows the
# newest message that the hash itself names.
FIND_BY_HISTORY = f"""
    WITH holder AS MATERIALIZED ({_HOLDERS.format(keys="$2", most=MAX_ALIKE)})
    SELECT c.id FROM holder
    CROSS JOIN LATERAL (SELECT * FROM conversation WHERE number = holder.conversation LIMIT 1) c
    CROSS JOIN LATERAL (SELECT coalesce(
        (SELECT m.id FROM message m WHERE m.conversation = c.number
            AND m.id BETWEEN holder.hash AND holder.hash || {_LAST} ORDER BY m.position DESC LIMIT 1),
        (SELECT e.message FROM echo e WHERE e.conversation = c.number AND e.hash = holder.hash)) AS id
        OFFSET 0) newest
    CROSS JOIN LATERAL (SELECT ($2::bytea[])[cardinality($2::bytea[])] AS hash) answer
    CROSS JOIN LATERAL (SELECT coalesce(
        (SELECT bool_or(m.source = 'upstream') FROM message m WHERE m.conversation = c.number
            AND m.id BETWEEN answer.hash AND answer.hash || {_LAST}),
        (SELECT m.source = 'upstream' FROM echo e CROSS JOIN LATERAL (
                SELECT source FROM message WHERE conversation = c.number AND id = e.message LIMIT 1) m
            WHERE e.conversation = c.number AND e.hash = answer.hash)) AS came
        OFFSET 0) reply
    WHERE c.tenant = $1 AND reply.came AND newest.id IS NOT NULL
    ORDER BY holder.place,
        NOT EXISTS (SELECT FROM message m WHERE m.conversation = c.number AND m.parent = newest.id) DESC,
        c.updated_at DESC, c.born DESC, c.number DESC
    LIMIT 1"""

# $1 tenant, $2 hashes and digests.
CANDIDATES = f"""
    WITH holder AS MATERIALIZED (
        SELECT held.*, count(*) OVER (PARTITION BY held.place) AS many
        FROM ({_HOLDERS.format(keys="$2", most=MAX_CANDIDATES + 1)}) held
    ), found AS (SELECT DISTINCT holder.conversation FROM holder WHERE holder.many <= {MAX_CANDIDATES})
    SELECT c.id, (SELECT count(*) FROM message m WHERE m.conversation = c.number)
    FROM found
    CROSS JOIN LATERAL (SELECT * FROM conversation WHERE number = found.conversation LIMIT 1) c
    WHERE c.tenant = $1 ORDER BY c.born DESC, c.number DESC"""

# $1 number, $2 id of the node.
PATH = f"""
    WITH RECURSIVE line AS (
        (SELECT m.*, 0 AS depth FROM message m WHERE m.conversation = $1 AND m.id = $2 LIMIT 1)
        UNION ALL
        SELECT m.*, line.depth + 1 FROM line
        CROSS JOIN LATERAL (SELECT * FROM message WHERE conversation = $1 AND id = line.parent LIMIT 1) m
    )
    SELECT {nodes_of("line")} FROM line ORDER BY depth DESC"""
# Messages, and behind them each of their parts once, with its name for an id: it takes them all.
TREE = f"""
    SELECT {", ".join(NODE)} FROM (
        SELECT {", ".join(NODE)}, position FROM message WHERE conversation = $1
        UNION ALL
        SELECT {", ".join(_AS_NODE.get(each, "NULL") for each in NODE)}, NULL FROM part
        WHERE conversation = $1) m
    ORDER BY position"""
SYSTEM = "SELECT first, last FROM system_prompt WHERE conversation = $1"

# $1 number, $2 time, $3 tip, $4 full, $5 digest of the system messages, $6 weights, $7 to $19 nodes,
# $20 keys, $21 and $22 echoes, $23 system messages, $24 to $26 the lease: of what, whose, how long,
# $27 to $37 an exchange, $38 to $46 a thread. A prompt that is the same as before is not written again.
_RECORD = f"""
    WITH held AS (
        UPDATE append_lease SET ends = clock_timestamp() + $26 * interval '1 second'
        WHERE conversation = $24 AND holder = $25 RETURNING true
    ), talk AS (%s
    ), said AS (
        INSERT INTO message (conversation, position, {", ".join(NODE)})
        SELECT talk.number, talk.positions - cardinality($7::bytea[]) + n.place, {_of("n", NODE)}
        FROM talk CROSS JOIN unnest($7::bytea[], $8::bytea[], $9::bytea[], $10::bytea[], $11::text[],
            $12::bytea[], $13::text[], $14::text[], $15::float8[], $16::text[], $17::text[], $18::bytea[],
            $19::text[]) WITH ORDINALITY AS n ({", ".join(NODE)}, place)
        ON CONFLICT (conversation, id) DO NOTHING
    ), keys AS (
        INSERT INTO known_by (hash, born, conversation)
        SELECT each.hash, talk.born, talk.number FROM talk CROSS JOIN unnest($20::bytea[]) AS each (hash)
        ON CONFLICT (hash, born, conversation) DO NOTHING
    ), named AS (
        INSERT INTO echo (conversation, hash, message)
        SELECT talk.number, e.hash, e.message
        FROM talk CROSS JOIN unnest($21::bytea[], $22::bytea[]) AS e (hash, message)
        ON CONFLICT (conversation, hash) DO UPDATE SET message = excluded.message
    ), prompted AS (
        INSERT INTO system_prompt (conversation, first, last)
        SELECT talk.number, $23, $23 FROM talk WHERE $23::bytea IS NOT NULL
        ON CONFLICT (conversation) DO UPDATE SET last = excluded.last
    ), done AS (
        INSERT INTO exchange (conversation, born, {", ".join(EXCHANGE)})
        SELECT talk.number, talk.born, $27::bytea, $28::bigint, $29::bytea, $30::text, $31::text,
            $32::integer, $33::integer, $34::integer, $35::integer, $36::text, $37::bytea
        FROM talk WHERE $27::bytea IS NOT NULL
        ON CONFLICT (conversation, born, id) DO NOTHING
    ), under AS (
        INSERT INTO thread AS t (conversation, born, {", ".join(THREAD)})
        SELECT talk.number, talk.born, $38::bytea, $39::bytea, $40::bytea, $41::text, $42::bytea,
            $43::boolean, $44::boolean, $45::boolean, $46::float8
        FROM talk WHERE $38::bytea IS NOT NULL
        ON CONFLICT (conversation, born, root) DO UPDATE SET head = coalesce(excluded.head, t.head),
            system = CASE WHEN t.system = excluded.system THEN t.system ELSE excluded.system END,
            model = coalesce(excluded.model, t.model), tools = excluded.tools,
            is_answered = t.is_answered OR excluded.is_answered, is_thin = t.is_thin OR excluded.is_thin,
            is_whole = t.is_whole OR excluded.is_whole, updated_at = excluded.updated_at
    )
    SELECT $24::uuid IS NULL OR EXISTS (SELECT FROM held)"""
_MAY = "($24::uuid IS NULL OR EXISTS (SELECT FROM held))"
_KEEPING = """
            updated_at = greatest(c.updated_at, $2::float8), tip = coalesce($3::bytea, c.tip),
            "full" = c."full" OR $4::boolean, system = coalesce($5::bytea, c.system),
            weights = coalesce($6::bytea, c.weights),
            positions = c.positions + cardinality($7::bytea[])"""
# $47 id, $48 tenant, $49 key, $50 when it was made.
RECORD_BEGINNING = (
    _RECORD
    % f"""
        INSERT INTO conversation AS c
            (number, id, tenant, key, created_at, updated_at, tip, "full", system, weights, positions)
        SELECT $1::uuid, $47, $48, $49, $50, $2, $3, $4, $5, $6, cardinality($7::bytea[]) WHERE {_MAY}
        ON CONFLICT (number) DO UPDATE SET {_KEEPING}, key = coalesce(c.key, excluded.key)
        RETURNING c.number, c.born, c.positions"""
)
# $47 the message that the first node goes on from, $48 key. Not an upsert: a conversation deleted meanwhile
# stays so, and one that another name has taken meanwhile is that one's.
_UNDER = f"""
        UPDATE conversation AS c SET {_KEEPING}, key = coalesce(c.key, $48::text)
        WHERE c.number = $1 AND {_MAY} AND coalesce(c.key = $48::text, true)
        AND EXISTS (SELECT FROM message m WHERE m.conversation = $1 AND m.id = $47)
        RETURNING c.number, c.born, c.positions"""
RECORD_UNDER = _RECORD % _UNDER
_LISTED = """
            SELECT substring(id FROM 1 FOR 16) AS hash FROM message WHERE conversation = $1
            UNION SELECT digest FROM message WHERE conversation = $1 AND source = 'upstream'
            UNION SELECT hash FROM echo WHERE conversation = $1"""
# The same for one that may take its key with this: from then on it is known by nothing that it held before.
# (All parts of a statement see what was there before it.)
RECORD_NAMED = (
    _RECORD
    % f"""{_UNDER}
    ), unlisted AS (
        DELETE FROM known_by k USING talk, conversation c, ({_LISTED}) held
        WHERE c.number = talk.number AND c.key IS NULL
        AND k.hash = held.hash AND k.born = c.born AND k.conversation = c.number"""
)

# As for a beginning; what is told of the conversation as a whole stays.
PUT = (
    _RECORD
    % f"""
        INSERT INTO conversation AS c
            (number, id, tenant, key, created_at, updated_at, tip, "full", system, weights, positions)
        SELECT $1::uuid, $47, $48, $49, $50, $2, $3, $4, $5, $6, cardinality($7::bytea[]) WHERE {_MAY}
        ON CONFLICT (number) DO UPDATE SET positions = c.positions + excluded.positions
        RETURNING c.number, c.born, c.positions"""
)

# $1 number, $2 key: it gets its name, and is known by nothing that it held before.
NAME = f"""
    WITH named AS (UPDATE conversation SET key = $2 WHERE number = $1 AND key IS NULL RETURNING born)
    DELETE FROM known_by k USING named, ({_LISTED}) held
    WHERE k.hash = held.hash AND k.born = named.born AND k.conversation = $1"""

# $1 number, $2 names.
FIND_PARTS = "SELECT name FROM part WHERE conversation = $1 AND name = ANY($2::bytea[])"
# $1 number, $2 names, $3 parts, $4 and $5 the name of each with a message that it belongs to: one that is not
# there, or was recorded whole, has no use for it.
ADD_PARTS = f"""
    INSERT INTO part (conversation, name, bytes)
    SELECT $1, p.name, p.bytes FROM unnest($2::bytea[], $3::bytea[]) AS p (name, bytes)
    WHERE EXISTS (
        SELECT FROM unnest($4::bytea[], $5::bytea[]) AS of (name, message)
        CROSS JOIN LATERAL (SELECT body FROM message WHERE conversation = $1 AND id = of.message LIMIT 1) m
        WHERE of.name = p.name AND {HAS_PARTS.format("m")})
    ON CONFLICT (conversation, name) DO NOTHING"""

# $1 number, $2 how many.
THREADS = f"""
    SELECT {_of("t", THREAD)} FROM conversation c
    CROSS JOIN LATERAL (
        SELECT * FROM thread WHERE conversation = c.number AND born = c.born
        ORDER BY updated_at DESC, root DESC LIMIT $2) t
    WHERE c.number = $1 ORDER BY t.updated_at DESC, t.root DESC"""

# $1 number, $2 tenant, $3 the id before which, $4 how many.
EXCHANGES = f"""
    SELECT {_of("e", EXCHANGE)} FROM conversation c
    CROSS JOIN LATERAL (
        SELECT * FROM exchange WHERE conversation = c.number AND born = c.born AND id < $3
        ORDER BY id DESC LIMIT $4) e
    WHERE c.number = $1 AND c.tenant = $2 ORDER BY e.id DESC"""
# $1 number, $2 tenant, $3 id.
ONE_EXCHANGE = f"""
    SELECT {_of("e", EXCHANGE)} FROM conversation c
    CROSS JOIN LATERAL (
        SELECT * FROM exchange WHERE conversation = c.number AND born = c.born AND id = $3 LIMIT 1) e
    WHERE c.number = $1 AND c.tenant = $2"""

# $1 number, $2 hashes.
SUMMARY = """
    SELECT s.hash, s.text, s.model, s.created_at
    FROM unnest($2::bytea[]) WITH ORDINALITY AS asked (hash, place)
    JOIN summary s ON s.conversation = $1 AND s.hash = asked.hash
    ORDER BY asked.place LIMIT 1"""
ADD_SUMMARY = """
    WITH talk AS (SELECT number FROM conversation WHERE number = $1 FOR KEY SHARE)
    INSERT INTO summary (conversation, hash, text, model, created_at)
    SELECT number, $2, $3, $4, $5 FROM talk
    ON CONFLICT (conversation, hash) DO NOTHING"""

# There is always one row. A standby, a full disk and a role without rights are noticed by writing.
PROBE = "UPDATE secret SET value = value"
