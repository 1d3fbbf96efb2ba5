"""What was asked and what it took: by day, by model, by tenant, by the key of its client.

Rules: it is counted anew for whoever looks, in a thread and for as long as a page may take; where that is not
enough, it is said what is missing. Tokens are those that the upstreams reported. Days are those of UTC.
"""

from __future__ import annotations

import asyncio
import csv
import io
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta

import msgspec

from sidecar.access.client_keys import client_key_of
from sidecar.conversation.exchange_record import OF_CONVERSATION
from sidecar.conversation.overview import Spent
from sidecar.errors import StoreUnavailable
from sidecar.inspector.shown import told
from sidecar.store import Store

__all__ = ["MOST_DAYS", "Bar", "UsageLine", "UsagePage", "UsageRow", "as_csv", "usage"]

MOST_DAYS, _USUAL_DAYS = 366, 14
_SECONDS = 2.0
_DAY = 86_400
#: Names that are told apart, of models and of tenants; any client can make up more. And rows of all together.
_MOST_NAMES, _MOST_ROWS = 100, 20_000
OTHER = "(others)"
NO_KEY = "-"
#: Of the plot: its height, and the width of a day.
_HEIGHT, _WIDTH = 120, 10
# By what a formula begins, also in full width. In some countries a semicolon parts two cells.
_FORMULA = re.compile(r"((?:^|;)\s*)([=+\-@\t\r\uff1d\uff0b\uff0d\uff20])")


class UsageLine(msgspec.Struct):
    """Sums. `errors`: exchanges that did not end well; `unreported`: those of which the upstream reported no
    tokens. `cached` is a part of `input`. `trimmed`: requests of which something was left out or shortened;
    `left_out`, `shortened`, `restored`: messages. `retries`: requests that were sent once more;
    `saved`: tokens, by estimate, of what was left out."""

    name: str = ""
    requests: int = 0
    errors: int = 0
    unreported: int = 0
    input: int = 0
    cached: int = 0
    output: int = 0
    trimmed: int = 0
    left_out: int = 0
    shortened: int = 0
    restored: int = 0
    retries: int = 0
    saved: int = 0

    def add(self, each: Spent) -> None:
        """Count this one too."""
        exchange, detail = each.exchange, each.exchange.detail
        self.requests += 1
        self.errors += exchange.error is not None
        self.unreported += exchange.input_tokens is None
        self.input += exchange.input_tokens or 0
        self.cached += detail.cached_tokens or 0
        self.output += exchange.output_tokens or 0
        self.trimmed += detail.dropped > 0 or detail.shortened > 0
        self.left_out += detail.dropped
        self.shortened += detail.shortened
        self.restored += detail.restored
        self.saved += detail.saved
        self.retries += detail.overflow_retries + detail.form_retries

    def join(self, other: UsageLine) -> None:
        """Count what the other has counted too."""
        for name in _COUNTS:
            setattr(self, name, getattr(self, name) + getattr(other, name))


_COUNTS = UsageLine.__struct_fields__[1:]


class UsageRow(msgspec.Struct, frozen=True):
    """What one tenant had of one model on one day. `client_key`: the id of the key by which it was let in."""

    day: str
    model: str
    tenant: str
    client_key: str
    line: UsageLine


class Bar(msgspec.Struct, frozen=True):
    """A day in the plot: its place, and the heights of its parts, which stand upon each other."""

    day: str
    x: int
    output: float
    fresh: float
    cached: float


class UsagePage(msgspec.Struct, frozen=True):
    """The page. `is_whole`: all was counted; else what was begun before `reached` (Unix seconds) is missing.
    `damaged`: exchanges of which only the columns can be read. `by_key`: empty where nobody came with a key
    of the operator's; `key_names`: how those are called. `most`: the tokens of the highest bar."""

    days: int
    first: str
    last: str
    is_whole: bool
    reached: float | None
    damaged: int
    total: UsageLine
    by_day: tuple[UsageLine, ...]
    by_model: tuple[UsageLine, ...]
    by_tenant: tuple[UsageLine, ...]
    by_key: tuple[UsageLine, ...]
    key_names: dict[str, str]
    rows: tuple[UsageRow, ...]
    bars: tuple[Bar, ...]
    most: int


class _Sums:
    def __init__(self) -> None:
        self.rows: dict[tuple[int, str, str, str], UsageLine] = {}
        self._models: dict[str | None, str] = {}
        self._tenants: dict[bytes, str] = {}
        self._keys: dict[str | None, str] = {None: NO_KEY}
        self.damaged = 0
        self.reached: float | None = None

    def add(self, some: Sequence[Spent]) -> None:
        rows, models, tenants, keys = self.rows, self._models, self._tenants, self._keys
        for each in some:
            exchange = each.exchange
            if exchange.outcome == OF_CONVERSATION:  # no upstream was asked
                continue
            model = models.get(exchange.model)
            if model is None:
                name = told(exchange.model, 80) or "-"
                model = models[exchange.model] = name if len(models) < _MOST_NAMES else OTHER
            tenant = tenants.get(each.tenant)
            if tenant is None:
                name = each.tenant.hex() or "(changed)"
                tenant = tenants[each.tenant] = name if len(tenants) < _MOST_NAMES else OTHER
            id = exchange.detail.client_key
            client = keys.get(id)
            if client is None:
                client = keys[id] = told(id, 40) if len(keys) <= _MOST_NAMES else OTHER
            key = (exchange.when // 86_400_000, model, tenant, client)
            line = rows.get(key)
            if line is None:
                if len(rows) >= _MOST_ROWS:
                    key = (key[0], OTHER, OTHER, OTHER)
                line = rows.setdefault(key, UsageLine())
            line.add(each)
            self.damaged += each.is_damaged
        self.reached = some[-1].begun

    def told(self) -> Sequence[UsageRow]:
        """The newest days first."""
        return [UsageRow(_day(key[0] * _DAY), *key[1:], line) for key, line in sorted(self.rows.items())][
            ::-1
        ]


def _summed(rows: Iterable[UsageRow], name: Callable[[UsageRow], str]) -> dict[str, UsageLine]:
    lines: dict[str, UsageLine] = {}
    for row in rows:
        at = name(row)
        lines.setdefault(at, UsageLine(at)).join(row.line)
    return lines


def _day(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


async def usage(store: Store, days: int | None, now: float | None = None) -> UsagePage:
    """What the last `days` took, today included; `now` in Unix seconds."""
    days = min(max(1, days or _USUAL_DAYS), MOST_DAYS)
    today = int((time.time() if now is None else now) // _DAY)
    first, behind = (today - days + 1) * _DAY, (today + 1) * _DAY
    sums, end, is_whole = _Sums(), time.monotonic() + _SECONDS, True
    async for some in store.spent(first * 1000, behind * 1000):
        if time.monotonic() > end:
            is_whole = False
            break
        await asyncio.to_thread(sums.add, some)
    rows = await asyncio.to_thread(sums.told)
    total, in_days = UsageLine(), _summed(rows, lambda row: row.day)
    for line in in_days.values():
        total.join(line)
    by_key = _largest_first(_summed(rows, lambda row: row.client_key))
    if [each.name for each in by_key] == [NO_KEY]:
        by_key = ()
    begin = date.fromisoformat(_day(first))
    names = [(begin + timedelta(days=at)).isoformat() for at in range(days)]
    by_day = [in_days.get(name) or UsageLine(name) for name in names]
    most = max(each.input + each.output for each in by_day)
    return UsagePage(
        days=days,
        first=names[0],
        last=names[-1],
        is_whole=is_whole,
        reached=None if is_whole else sums.reached,
        damaged=sums.damaged,
        total=total,
        by_day=tuple(reversed(by_day)),
        by_model=_largest_first(_summed(rows, lambda row: row.model)),
        by_tenant=_largest_first(_summed(rows, lambda row: row.tenant)),
        by_key=by_key,
        key_names=await _names(store, by_key),
        rows=tuple(rows),
        bars=tuple(_bars(by_day, most)),
        most=most,
    )


async def _names(store: Store, lines: Iterable[UsageLine]) -> dict[str, str]:
    """How the keys of these ids are called, as far as the store has them still."""
    names = {}
    for each in lines:
        try:
            row = await store.client_key(each.name)
            if row is not None:
                names[each.name] = told(client_key_of(row).name, 80)
        except StoreUnavailable:  # the numbers count, and the id tells whose they are
            continue
    return names


def _largest_first(lines: dict[str, UsageLine]) -> tuple[UsageLine, ...]:
    return tuple(sorted(lines.values(), key=lambda each: (-each.requests, each.name)))


def _bars(days: Iterable[UsageLine], most: int) -> Iterable[Bar]:
    scale = _HEIGHT / most if most else 0.0
    for at, each in enumerate(days):
        cached = min(each.cached, each.input)
        heights = (round(scale * part, 2) for part in (each.output, each.input - cached, cached))
        yield Bar(each.name, at * _WIDTH, *heights)


def as_csv(page: UsagePage) -> bytes:
    """A line for each day, model, tenant and key; no cell is a formula to whatever opens it."""
    out = io.StringIO()
    writer = csv.writer(out)
    writer.writerow(("day", "model", "tenant", "client_key", *_COUNTS))
    for row in page.rows:
        writer.writerow(
            (
                *map(_cell, (row.day, row.model, row.tenant, row.client_key)),
                *(getattr(row.line, name) for name in _COUNTS),
            )
        )
    return out.getvalue().encode("utf-8", "backslashreplace")


def _cell(name: str) -> str:
    """A name that no program takes for a formula; `-` stands for none."""
    return name if name == "-" else _FORMULA.sub(r"\1'\2", name)
