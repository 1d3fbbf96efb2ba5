"""What the page of an exchange tells, and what is known around the exchange for that."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from sidecar.conversation.exchange_record import Exchange
from sidecar.inspector.between import Between, ChatLink
from sidecar.inspector.client_view import ClientView
from sidecar.inspector.exchange_line import ExchangeLine
from sidecar.inspector.shown import Clip
from sidecar.inspector.slow import Split
from sidecar.inspector.system_diff import SystemDiff
from sidecar.inspector.words import Change
from sidecar.settings.trimming import Trim

__all__ = ["Around", "ExchangePage", "Group", "Numbers", "Sample"]


class Sample(msgspec.Struct, frozen=True):
    """A message in a group; `number` on its path, from 1."""

    id: str
    number: int
    role: str
    words: str


class Group(msgspec.Struct, frozen=True):
    """Neighbouring messages with which the same was done; `verdict`: one word for it. `samples`: the first
    and the last of them."""

    first: int
    last: int
    client: str
    upstream: str
    why: str
    verdict: str
    samples: tuple[Sample, ...]


class Numbers(msgspec.Struct, frozen=True):
    """Of an exchange, as they are kept (see `exchange_record.Detail`). `refusal_…`: what the upstream said of
    a prompt that it found too long."""

    estimated_tokens: int | None
    reasoning_tokens: int | None
    overflow_retries: int
    form_retries: int
    budget: int | None
    system_tokens: int
    tools_tokens: int
    saved: int
    refusal_window: int | None
    refusal_prompt: int | None
    recall_score: float


class ExchangePage(msgspec.Struct, frozen=True):
    """The page. `before`, `after`: the exchanges before and behind it in this conversation; `failure`: who
    ended it, and how, where it did not end well; `difference`: the number of the first message at which its
    prompt differs from the one before, 0 where that is in front of all messages, None where it is not known;
    `others`: chats that came meanwhile, where the upstream's cache was lost. `target`: its name, and which of
    its URLs it was, where it has several. `estimate`: in per cent of what the upstream counted; `limit`:
    where the budget comes from, `cut`: why so much was left out; `client`: the request as its client sent it,
    or in `no_client` why it is not kept; `missing`: the numbers of the messages that did not go as they are;
    `unstored`: what is missing here of a question that failed; `system_put_in`: the system prompt where it
    was the sidecar that put it in, as far as it is kept; `system_changes`: in which words the system prompt
    differs, as far as they are kept, `system_note`: what to know of them. `stray`: that results which the
    client sent answer no call."""

    conversation: str
    line: ExchangeLine
    before: ExchangeLine | None
    after: str
    failure: str
    silent_cut: str
    outcome: str
    rule: str
    cause: str
    difference: int | None
    why_difference: str
    asked_model: str
    answered_by: str
    target: str
    api: str
    finish: str
    time: Split
    numbers: Numbers
    estimate: int | None
    limit: str
    cut: str
    supplied: tuple[str, ...]
    left_out: tuple[str, ...]
    kept_out: str
    quoted: tuple[Sample, ...]
    system: str
    system_put_in: Clip | None
    system_note: str
    system_changes: tuple[Change, ...]
    tools: str
    path: int
    groups: tuple[Group, ...]
    total_groups: int
    missing: str
    unstored: str
    summary: Clip | None
    replies: tuple[str, ...]
    parent: str
    client: ClientView | None
    no_client: str
    stray: str
    others: tuple[ChatLink, ...]


class Around(msgspec.Struct, frozen=True):
    """What is known around an exchange. `earlier`: some of those that began before it in its conversation,
    the newest first; `after`: the id of the next one, if it was found; `leading`: how many system messages
    stood in front of its prompt, if that is known; `trim`: the settings that are in force; `client`,
    `no_client`: as in the page; `kept_ms`: how long the store took to keep it, if that is known; `between`:
    what passed since the exchange before, where that matters, `others`: some of the chats of which that
    speaks; `system`: in which words the two system prompts differ; `put_in`: the system prompt that was put
    in; `called`: tools that were called in this chat, as far as that is looked up; `stray`: the places of
    results that answer no call."""

    earlier: Sequence[Exchange] = ()
    after: bytes | None = None
    leading: int | None = None
    trim: Trim | None = None
    client: ClientView | None = None
    no_client: str = ""
    kept_ms: int | None = None
    between: Between | None = None
    system: SystemDiff | None = None
    put_in: str = ""
    called: tuple[str, ...] = ()
    others: tuple[ChatLink, ...] = ()
    stray: Sequence[int] = ()
