"""Which form of what we add an upstream takes, as its refusals have taught: in memory, with bounds.

Rules: what one conversation has learned counts for it at once, for its tenant after two of its conversations,
and for the model and its target after two tenants (there only words of a closed table: fields, never whether
anything is added at all). It is about the model by its name and its target together. An answer to a request
that had a refused field in what we added clears what was learned against it; after a day it is tried anew.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable, Iterator
from typing import NamedTuple, TypeVar

from sidecar.prompt.form import AS_USUAL, Form

__all__ = ["LearnedForms", "Place"]

_FOR = 86400.0  # seconds that it counts
_ENOUGH = 2  # conversations of a tenant, or tenants
_LONGEST_NAME = 256  # characters; a longer one is no model's
_MOST_CONVERSATIONS = 10_000
_MOST_VOTES = 2_000  # for each of the tenants, and of the models
_AS_SENT = "="

Key = TypeVar("Key")
Value = TypeVar("Value")


class Place(NamedTuple):
    """What a request is part of."""

    tenant: bytes
    conversation: str
    model: str
    target: str


class LearnedForms:
    """By conversation, by tenant and by model; those that were learned longest ago are forgotten first."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._conversations: OrderedDict[tuple[str, str, str], tuple[frozenset[str], float]] = OrderedDict()
        self._tenants = _Votes()
        self._models = _Votes()

    @property
    def is_empty(self) -> bool:
        """Has nothing been learned yet?"""
        return not self._conversations

    def of(self, place: Place) -> Form:
        """In which form what we add is to go."""
        words: set[str] = set()
        for learned in (self._own(place), self._of_tenant(place), self._of_model(place)):
            words |= {word for word in learned if _opposite(word) not in words}
        return _form(words) if words else AS_USUAL

    def learn(self, place: Place, form: Form) -> None:
        """A request was taken in this form, after it had been refused in another."""
        if len(place.model) > _LONGEST_NAME:
            return
        now, words = self._now(), frozenset(_words(form))
        _put(self._conversations, place[1:], (words, now), _MOST_CONVERSATIONS)
        for word in words:
            self._tenants.vote((place.tenant, place.model, place.target), word, place.conversation, now)
            if word != _AS_SENT:
                self._models.vote((place.model, place.target), word, place.tenant, now)

    def taken(self, place: Place, added: Iterable[str]) -> None:
        """A request was taken that had these fields in what we added to it."""
        for word in (_AS_SENT, *(f"-{name}" for name in added)):
            self._tenants.clear((place.tenant, place.model, place.target), word)
            self._models.clear((place.model, place.target), word)

    def is_doubted(self, place: Place) -> bool:
        """Is there anything that a request's success could clear?"""
        tenant = (place.tenant, place.model, place.target)
        return tenant in self._tenants.kept or (place.model, place.target) in self._models.kept

    def _own(self, place: Place) -> frozenset[str]:
        words, at = self._conversations.get(place[1:], (frozenset(), 0.0))
        return words if at > self._now() - _FOR else frozenset()

    def _of_tenant(self, place: Place) -> Iterator[str]:
        return self._tenants.carried((place.tenant, place.model, place.target), self._now() - _FOR)

    def _of_model(self, place: Place) -> Iterator[str]:
        return self._models.carried((place.model, place.target), self._now() - _FOR)


class _Votes:
    """Who has learned which word, and when; as many voters of each as are asked for."""

    def __init__(self) -> None:
        self.kept: OrderedDict[Hashable, dict[str, OrderedDict[Hashable, float]]] = OrderedDict()

    def vote(self, about: Hashable, word: str, voter: Hashable, now: float) -> None:
        words = self.kept.get(about, {})
        _put(words.setdefault(word, OrderedDict()), voter, now, _ENOUGH)
        _put(self.kept, about, words, _MOST_VOTES)

    def clear(self, about: Hashable, word: str) -> None:
        words = self.kept.get(about)
        if words is not None and word in words:
            del words[word]
        if words is not None and not words:
            del self.kept[about]

    def carried(self, about: Hashable, since: float) -> Iterator[str]:
        for word, voters in self.kept.get(about, {}).items():
            if sum(at > since for at in voters.values()) >= _ENOUGH:
                yield word


def _put(table: OrderedDict[Key, Value], key: Key, value: Value, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)


def _words(form: Form) -> Iterator[str]:
    """A form as words: `+field` is supplied, `-field` left out, `=` nothing added at all."""
    yield from (f"+{name}" for name in form.supplied)
    yield from (f"-{name}" for name in form.without)
    if form.as_sent:
        yield _AS_SENT


def _form(words: Iterable[str]) -> Form:
    told = frozenset(words)
    return Form(
        supplied=frozenset(word[1:] for word in told if word[0] == "+"),
        without=frozenset(word[1:] for word in told if word[0] == "-"),
        as_sent=_AS_SENT in told,
    )


def _opposite(word: str) -> str:
    return {"+": "-", "-": "+"}.get(word[0], "") + word[1:]
