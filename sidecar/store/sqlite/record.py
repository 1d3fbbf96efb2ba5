"""Writes what one request adds into SQLite's tables."""

from __future__ import annotations

import sqlite3
from itertools import pairwise
from typing import Any

from msgspec.structs import astuple

from sidecar.conversation.records import ConversationUpdate
from sidecar.conversation.tree import HASH_SIZE, ID_SIZE, Conversation
from sidecar.store.exchanges import row_of
from sidecar.store.sqlite.bodies import small_among
from sidecar.store.sqlite.maintenance import ADD_EXCHANGE, CONVERSATION
from sidecar.store.sqlite.nodes import ADD_NEWEST, FIND_PARENT, add_echoes, add_nodes, forget_all
from sidecar.store.sqlite.threads import add_thread
from sidecar.store.sqlite.tip_cache import CachedTip, TipCache

__all__ = ["alike", "record"]

_FIND_HELD = f"SELECT number, {CONVERSATION}, newest FROM conversation WHERE id = ?"
_ADD_CONVERSATION = f"""
    INSERT INTO conversation ({CONVERSATION}, newest) VALUES ({", ".join("?" * 10)}) RETURNING number"""
_ADD_TO_CONVERSATION = """
    UPDATE conversation SET "key" = ?, updated_at = ?, "full" = ?, tip = ?, system = ?, weights = ?,
        newest = ?
    WHERE number = ?"""
_ADD_SYSTEM = """
    INSERT INTO system_prompt (conversation, first, last) VALUES (:conversation, :system, :system)
    ON CONFLICT (conversation) DO UPDATE SET last = excluded.last"""
_COUNT_ALIKE = "SELECT count(*) FROM message WHERE conversation = ? AND id BETWEEN ? AND ?"


def record(connection: sqlite3.Connection, update: ConversationUpdate, tips: TipCache) -> CachedTip | None:
    """Add it, unless it goes on from a message that is not there. For `TipCache.keep`."""
    id, key, nodes, after = update.conversation.id, update.conversation.key, update.nodes, update.after
    held = connection.execute(_FIND_HELD, (id,)).fetchone()
    is_at_tip = after is not None and tips.holds(id, after)
    if after is not None and not is_at_tip and not _is_there(connection, held, after):
        return None  # it was deleted meanwhile
    if held is not None and after is not None and len({held[3], key} - {None}) > 1:
        return None  # another name has taken it meanwhile
    last = nodes[-1].id if nodes else None
    number, conversation = _keep_conversation(connection, held, update.conversation, last)
    is_known_by = update.conversation.key is None
    if update.is_found_by_echo and held is not None and held[3] is None:
        forget_all(connection, number)
    is_line = True
    for above, below in pairwise(nodes):
        is_line = is_line and below.parent == above.id
    before = held[-1] if held else None
    added, newest = add_nodes(
        connection,
        number,
        before,
        nodes,
        is_known_by=is_known_by,
        is_line=is_line,
        small=small_among(len(nodes)),
    )
    are_new = added == len(nodes)
    if not are_new:  # what is there already may be followed by others
        connection.execute(ADD_NEWEST, (newest, number))
    if update.echoes:
        is_known_by = is_known_by or update.is_found_by_echo
        add_echoes(connection, number, update.echoes, is_known_by=is_known_by)
    if update.system is not None:
        connection.execute(_ADD_SYSTEM, {"conversation": number, "system": update.system})
    if update.exchange is not None:
        connection.execute(ADD_EXCHANGE, (number, *row_of(update.exchange)))
    if update.thread is not None:
        add_thread(connection, number, update.thread)
    if not nodes or not are_new or not is_line:
        return None
    tip = nodes[-1]
    # Under a tip that nothing reads like, nothing reads like a new question either, nor like its answer; a
    # second answer to the tip itself may.
    is_alone = is_at_tip and nodes[0].source == "client"
    if not is_alone:
        is_alone = connection.execute(_COUNT_ALIKE, (number, *alike(tip.hash))).fetchone()[0] == 1
    return tips.left(conversation, tip) if is_alone else None


def _is_there(connection: sqlite3.Connection, held: tuple[Any, ...] | None, node: bytes) -> bool:
    if held is None:
        return False
    return node == held[-1] or connection.execute(FIND_PARENT, (held[0], node)).fetchone() is not None


def _keep_conversation(
    connection: sqlite3.Connection, held: tuple[Any, ...] | None, new: Conversation, newest: bytes | None
) -> tuple[int, Conversation]:
    """Keep what is new of it: its row number, and what it is now. `held`: its row, if there is one."""
    if held is None:
        number = connection.execute(_ADD_CONVERSATION, (*astuple(new), newest)).fetchone()[0]
        return number, new
    number, id, tenant, key, created_at, updated_at, tip, full, system, weights, before = held
    key = new.key if key is None else key
    updated_at = max(updated_at, new.updated_at)
    tip, full = new.tip or tip, bool(full) or new.full
    system, weights = new.system or system, new.weights or weights
    told = (key, updated_at, full, tip, system, weights, newest or before, number)
    connection.execute(_ADD_TO_CONVERSATION, told)
    return number, Conversation(id, tenant, key, created_at, updated_at, tip, full, system, weights)


def alike(hash: bytes) -> tuple[bytes, bytes]:
    """The ids of all messages that this hash names: the first and the last that there could be."""
    return hash, hash + b"\xff" * (ID_SIZE - HASH_SIZE)
