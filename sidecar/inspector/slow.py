"""Where the time of an exchange went: the client's, the sidecar's own, and the upstream's.

Rule: parts that are not known are not guessed; what an older version recorded has fewer of them.
"""

from __future__ import annotations

import msgspec

from sidecar.conversation.exchange_record import Detail, Exchange
from sidecar.inspector.shown import count, seconds

__all__ = ["Part", "Split", "split_of"]

#: Milliseconds below which nobody asks why.
_FAST = 300
#: Milliseconds that a slow engine takes to read a token.
_SLOWEST = 100
_MEANINGS = {
    "client": "the client sent its request",
    "line": "it stood in line: the request before it was yet to be answered and stored",
    "store": "the chat was looked up in the store",
    "sidecar": "the sidecar recognised the chat and made the prompt",
    "room": "it waited until a machine of its target had room for it",
    "head": "the upstream took until its answer began",
    "first": "the upstream took from there to the first piece of its answer",
    "answer": "the upstream wrote its answer, as fast as the client took it",
    "rest": "the upstream answered",
    "kept": "the answer was brought into the store, for which its end waits",
}


class Part(msgspec.Struct, frozen=True):
    """A stretch of time: what it is, one word; whose it is; from when to when, in milliseconds from the
    arrival; what was done in it."""

    name: str
    whose: str
    begin: int
    end: int
    meaning: str

    @property
    def ms(self) -> int:
        """How long it was."""
        return self.end - self.begin


class Split(msgspec.Struct, frozen=True):
    """All parts, in order, and what they mean in a sentence. `own`, `upstream`: the sidecar's own and the
    upstream's milliseconds; None where that is not known."""

    parts: tuple[Part, ...] = ()
    own: int | None = None
    upstream: int | None = None
    said: str = ""


def split_of(exchange: Exchange, kept_ms: int | None = None) -> Split:
    """The parts of this exchange; `kept_ms`: how long the store took behind them, if that is known."""
    parts = _parts(exchange, kept_ms)
    if not parts:
        return Split()
    knows_own = exchange.detail.sent_ms is not None
    return Split(
        tuple(parts),
        sum(each.ms for each in parts if each.whose == "sidecar") if knows_own else None,
        sum(each.ms for each in parts if each.whose == "upstream") if knows_own else None,
        _said(exchange, parts),
    )


def _parts(exchange: Exchange, kept_ms: int | None) -> list[Part]:
    detail, end = exchange.detail, exchange.duration_ms
    if end is None or (detail.sent_ms is None and detail.head_ms is None):
        return []
    places = _before(detail) if detail.sent_ms is not None else []
    places += [("head", "upstream" if places else "sidecar and upstream", detail.head_ms)]
    places += [("first", "upstream", detail.first_token_ms)]
    places += [("rest" if detail.first_token_ms is None else "answer", "upstream", end)]
    places += [("kept", "sidecar", end + kept_ms if kept_ms is not None else None)]
    parts: list[Part] = []
    begin = 0
    for name, whose, at in places:
        if at is not None:
            parts.append(Part(name, whose, begin, max(at, begin), _MEANINGS[name]))
            begin = max(at, begin)
    return parts


def _before(detail: Detail) -> list[tuple[str, str, int | None]]:
    """Until it went upstream. Which came when of looking up and waiting is not kept; the sums are."""
    sent, received = detail.sent_ms or 0, detail.received_ms
    in_line = min((received or 0) + detail.waited_ms, sent)
    read = min(in_line + detail.reading_ms, sent)
    return [
        ("client", "client", received),
        ("line", "sidecar", in_line if detail.waited_ms else None),
        ("store", "sidecar", read if detail.reading_ms else None),
        ("sidecar", "sidecar", sent),
        ("room", "sidecar", sent + detail.no_room_ms if detail.no_room_ms else None),
    ]


def _said(exchange: Exchange, parts: list[Part]) -> str:
    total, longest = parts[-1].end, max(parts, key=lambda each: each.ms)
    if total < _FAST:
        return f"Nothing was slow: {seconds(total)} in all."
    share = round(100 * longest.ms / total)
    said = f"Most of it, {seconds(longest.ms)} of {seconds(total)}, " if share > 50 else (
        f"The longest part, {seconds(longest.ms)} of {seconds(total)}, "
    )  # fmt: skip
    return said + _REASONS[longest.name](exchange, longest)


def _client(_exchange: Exchange, _part: Part) -> str:
    return "passed before the client's request had come."


def _line(_exchange: Exchange, _part: Part) -> str:
    return (
        "it stood in line: a request that goes on in a chat waits until the one before it is answered and"
        " stored."
    )


def _store(_exchange: Exchange, _part: Part) -> str:
    return "its chat was looked up in the store: is its disk or its database slow, or busy?"


def _room(exchange: Exchange, _part: Part) -> str:
    return (
        f"it waited for room: each machine of the target {exchange.detail.target} had as many requests as"
        " `parallel` allows."
    )


def _sidecar(_exchange: Exchange, _part: Part) -> str:
    return "passed in the sidecar, before the request went upstream: see its log of that time."


def _head(exchange: Exchange, part: Part) -> str:
    if part.whose != "upstream":
        return "passed before the upstream began to answer; how much of that was the sidecar's is not kept."
    return "the upstream took to begin its answer" + _again(exchange) + _prompt(exchange, part)


def _first(exchange: Exchange, part: Part) -> str:
    return "the upstream took from its head to the first piece of its answer" + _prompt(exchange, part)


def _again(exchange: Exchange) -> str:
    tries = exchange.detail.overflow_retries + exchange.detail.form_retries
    return f", asked {count(1 + tries)} times, since it refused what went before" if tries else ""


def _prompt(exchange: Exchange, part: Part) -> str:
    """What it may have done, less what its count of cached tokens excludes: what was cached is held by a
    model that is loaded, and the few tokens that were not are read at once."""
    tokens, cached = exchange.input_tokens, exchange.detail.cached_tokens
    if tokens is None:
        return ": it waited, loaded the model, or read the prompt."
    if not cached:
        return f": it waited, loaded the model, or read the prompt of {count(tokens)} tokens."
    left = max(tokens - cached, 0)
    if part.ms > _SLOWEST * left:
        return (
            f": it waited, such as for other requests. It had {count(cached)} of the prompt's {count(tokens)}"
            f" tokens in its cache, so the model was loaded, and to read {count(left)} takes no such time."
        )
    return (
        f": it waited, or read the prompt of {count(tokens)} tokens, {count(cached)} of them from its cache."
    )


def _answer(exchange: Exchange, part: Part) -> str:
    tokens = exchange.output_tokens
    if not tokens or part.ms < 1:
        return "the upstream took to write its answer."
    return f"the upstream took to write {count(tokens)} tokens: {1000 * tokens / part.ms:,.1f} a second."


def _rest(exchange: Exchange, part: Part) -> str:
    return "the upstream took for its answer, once it had begun."


def _kept(_exchange: Exchange, _part: Part) -> str:
    return "the store took to keep the answer, whose end waits for that: is its disk slow, or busy?"


_REASONS = {
    "client": _client,
    "line": _line,
    "store": _store,
    "sidecar": _sidecar,
    "room": _room,
    "head": _head,
    "first": _first,
    "answer": _answer,
    "rest": _rest,
    "kept": _kept,
}
