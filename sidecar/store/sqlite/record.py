"""Writes what one request adds into SQLite's tables."""

from __future__ import annotations

import sqlite3
from itertools import pairwise

from msgspec.structs import astuple

from sidecar.conversation.records import ConversationUpdate
from sidecar.conversation.tree import HASH_SIZE, ID_SIZE, stored_values
from sidecar.store.exchanges import row_of
from sidecar.store.sqlite.maintenance import ADD_ECHO, ADD_EXCHANGE, ADD_NODE, CONVERSATION, conversation_of
from sidecar.store.sqlite.tip_cache import CachedTip, TipCache
from sidecar.store.threads import THREAD
from sidecar.store.threads import row_of as thread_row

__all__ = ["alike", "record"]

_FIND_PARENT = """
    SELECT 1 FROM message WHERE conversation = (SELECT number FROM conversation WHERE id = ?) AND id = ?"""
_ADD_CONVERSATION = f"""
    INSERT INTO conversation ({CONVERSATION}) VALUES ({", ".join("?" * 9)})
    ON CONFLICT (id) DO UPDATE SET updated_at = max(updated_at, excluded.updated_at),
        "full" = max("full", excluded."full"), tip = coalesce(excluded.tip, tip),
        system = coalesce(excluded.system, system), weights = coalesce(excluded.weights, weights),
        "key" = coalesce("key", excluded."key")
    RETURNING number, {CONVERSATION}"""
_ADD_SYSTEM = """
    INSERT INTO system_prompt (conversation, first, last) VALUES (:conversation, :system, :system)
    ON CONFLICT (conversation) DO UPDATE SET last = excluded.last"""
# The same as `joined`, without a look at what is there.
_ADD_THREAD = f"""
    INSERT INTO thread (conversation, {", ".join(THREAD)}) VALUES ({", ".join("?" * (1 + len(THREAD)))})
    ON CONFLICT (conversation, root) DO UPDATE SET head = coalesce(excluded.head, head),
        system = excluded.system, model = coalesce(excluded.model, model), tools = excluded.tools,
        is_answered = max(is_answered, excluded.is_answered), is_thin = max(is_thin, excluded.is_thin),
        is_whole = max(is_whole, excluded.is_whole), updated_at = excluded.updated_at"""
_COUNT_ALIKE = "SELECT count(*) FROM message WHERE conversation = ? AND id BETWEEN ? AND ?"


def record(connection: sqlite3.Connection, update: ConversationUpdate, tips: TipCache) -> CachedTip | None:
    """Add it, unless it goes on from a message that is not there. For `TipCache.keep`."""
    id, nodes = update.conversation.id, update.nodes
    after = update.after
    is_at_tip = after is not None and tips.holds(id, after)
    if after is not None and not is_at_tip and not _is_there(connection, id, after):
        return None  # it was deleted meanwhile
    row = connection.execute(_ADD_CONVERSATION, astuple(update.conversation)).fetchone()
    number, before = row[0], connection.total_changes
    connection.executemany(ADD_NODE, [(number, *stored_values(node)) for node in nodes])
    are_new = connection.total_changes - before == len(nodes)
    if update.echoes:
        connection.executemany(ADD_ECHO, [(number, hash, node) for hash, node in update.echoes])
    if update.system is not None:
        connection.execute(_ADD_SYSTEM, {"conversation": number, "system": update.system})
    if update.exchange is not None:
        connection.execute(ADD_EXCHANGE, (number, *row_of(update.exchange)))
    if update.thread is not None:
        connection.execute(_ADD_THREAD, (number, *thread_row(update.thread)))
    if not nodes or not are_new or any(below.parent != above.id for above, below in pairwise(nodes)):
        return None
    tip = nodes[-1]
    # Under a tip that nothing reads like, nothing reads like a new question either, nor like its answer; a
    # second answer to the tip itself may.
    is_alone = is_at_tip and nodes[0].source == "client"
    if not is_alone:
        is_alone = connection.execute(_COUNT_ALIKE, (number, *alike(tip.hash))).fetchone()[0] == 1
    return tips.left(conversation_of(row), tip) if is_alone else None


def _is_there(connection: sqlite3.Connection, conversation: str, node: bytes) -> bool:
    return connection.execute(_FIND_PARENT, (conversation, node)).fetchone() is not None


def alike(hash: bytes) -> tuple[bytes, bytes]:
    """The ids of all messages that this hash names: the first and the last that there could be."""
    return hash, hash + b"\xff" * (ID_SIZE - HASH_SIZE)
