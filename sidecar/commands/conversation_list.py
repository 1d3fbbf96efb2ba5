"""`sidecar conversations list`: all conversations, or those of one tenant, the oldest first."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, Namespace
from datetime import UTC, datetime

import msgspec

from sidecar.commands import tenant_selector
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.conversation.records import ConversationStats
from sidecar.printable import in_json, printable
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]

_COLUMNS = "{:<37}  {:<36}  {:<32}  {:<16}  {:>8}  {:>10}\n"

# A user's name in the place of the id is another tenant, of which there is nothing.
_NONE = (
    "No conversation is kept of this tenant. --user takes the id that the client sends, not a name (of Open"
    " WebUI a UUID: `id` in the table `user` of webui.db), and --credential the key that came with it.\n"
)


def add_arguments(parser: ArgumentParser) -> None:
    """Whose conversations, and how to print them."""
    tenant_selector.add_arguments(parser)
    tenant_selector.add_key(parser)
    parser.add_argument("--format", choices=("text", "jsonl"), default="text", help="default: text")


async def run(settings: Settings, args: Namespace) -> int:
    """Print one line for each conversation."""
    selector, out = TenantSelector.from_args(args), sys.stdout
    async with open_existing(settings) as store:
        tenant = await selector.tenant_or_none(settings, store)
        if args.format == "text":
            out.write(_COLUMNS.format("id", "key", "tenant", "used last (UTC)", "messages", "bytes"))
        found = 0
        async for each in store.conversation_stats(tenant=tenant):
            out.write(_as_json(each) if args.format == "jsonl" else _as_text(each))
            found += 1
    if tenant is not None and not found:
        sys.stderr.write(_NONE)
    return 0


def _as_text(each: ConversationStats) -> str:
    id, key = printable(each.id), printable(each.key or "-")
    used = _minute(each.updated_at)
    return _COLUMNS.format(id, key, each.tenant.hex() or "(changed)", used, each.messages, each.size)


def _minute(seconds: float) -> str:
    try:
        return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):  # beyond what the calendar can show
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
