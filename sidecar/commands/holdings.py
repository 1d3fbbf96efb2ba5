"""`sidecar conversations list | show | delete` and `sidecar delete`.

Rule: nothing is deleted before somebody has said yes to the number of conversations that it is; and when
the command says that they are deleted, they are in no file of the store any more.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import TextIO

import msgspec

from sidecar.commands.progress import Progress
from sidecar.commands.whose import Who
from sidecar.conversation.records import ConversationStats
from sidecar.errors import SidecarError
from sidecar.printable import in_json, printable
from sidecar.retention import deleted
from sidecar.settings import Settings
from sidecar.store import Store
from sidecar.store_factory import opened

__all__ = ["Unclear", "delete_named", "delete_of", "show_list"]

_COLUMNS = "{:<37}  {:<36}  {:<32}  {:<16}  {:>8}  {:>10}\n"


class Unclear(SidecarError):
    """The command line does not say enough."""


async def show_list(settings: Settings, who: Who, *, format: str, out: TextIO) -> int:
    """All conversations, or those of a tenant, oldest first."""
    async with opened(settings) as store:
        tenant = None if who.is_anybody else who.in_store(settings, store.secret)
        if format == "text":
            out.write(_COLUMNS.format("id", "key", "tenant", "used last (UTC)", "messages", "bytes"))
        async for each in store.holdings(tenant=tenant):
            out.write(_as_json(each) if format == "jsonl" else _as_text(each))
    return 0


async def delete_named(settings: Settings, names: Sequence[str], *, yes: bool, compact: bool) -> int:
    """Delete these, each named by its id or its key."""
    async with opened(settings) as store:
        found = [await _only(store, name) for name in names]
        _confirm(f"delete {_number(len(found))} for ever?", yes)
        await _delete(store, found, compact=compact)
    return 0


async def delete_of(settings: Settings, who: Who | None, *, yes: bool, compact: bool) -> int:
    """Delete all conversations of a tenant; with None those of everybody, and what was learned as well."""
    if who is not None and who.is_anybody:
        raise Unclear("say whose: --user, --credential, --tenant, or --all")
    async with opened(settings) as store:
        tenant = who.in_store(settings, store.secret) if who else None
        found = [each.id async for each in store.holdings(tenant=tenant, sized=False)]
        if who is not None and not found:
            raise SidecarError(
                "there is no conversation of this tenant; `sidecar conversations list` shows all"
            )
        _confirm(f"delete {_number(len(found))}{'' if who else ', all that there are,'} for ever?", yes)
        if who is None:
            await store.forget()
        await _delete(store, found, compact=compact)
    return 0


async def _only(store: Store, name: str) -> str:
    found = [each.id async for each in store.holdings(name=name, sized=False)]
    if not found:
        raise SidecarError(f"there is no conversation {name!r}")
    if len(found) > 1:
        raise SidecarError(
            f"{name!r} is the key of several conversations; name one by its id: {', '.join(found)}"
        )
    return found[0]


async def _delete(store: Store, found: Sequence[str], *, compact: bool) -> None:
    async def all_of_them() -> AsyncIterator[tuple[str, float | None]]:
        for id in found:
            yield id, None

    with Progress("deleted", len(found)) as progress:
        count = await deleted(store, all_of_them(), progress.step)
    sys.stderr.write("sidecar: giving the space back ...\n" if compact and count > 1000 else "")
    await store.scrub(compact=compact)
    sys.stderr.write(f"sidecar: deleted {_number(count)}\n")


def _confirm(question: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise Unclear(f"{question[0].upper()}{question[1:]} Say so with --yes")
    sys.stderr.write(f"sidecar: {question} [y/N] ")
    sys.stderr.flush()
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        raise Unclear("nothing was deleted")


def _number(count: int) -> str:
    return f"{count} conversation{'' if count == 1 else 's'}"


def _as_text(each: ConversationStats) -> str:
    id, key = printable(each.id), printable(each.key or "-")
    used = _minute(each.updated_at)
    return _COLUMNS.format(id, key, each.tenant.hex() or "(changed)", used, each.messages, each.size)


def _minute(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # a time that no calendar has
        return "-"


def _as_json(each: ConversationStats) -> str:
    line = {
        "id": each.id,
        "key": each.key,
        "tenant": each.tenant.hex(),
        "created_at": each.created_at,
        "updated_at": each.updated_at,
        "messages": each.messages,
        "bytes": each.size,
    }
    return in_json(msgspec.json.encode(line).decode()) + "\n"
