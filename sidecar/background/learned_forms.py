"""Which form of what we add an upstream takes, as its refusals have taught: in memory, with bounds.

Rules: what one conversation has learned counts for it at once, for its tenant after two of its conversations,
and for the model and its target after two tenants (there only words of a closed table: fields, never whether
anything is added at all). What stays out of what a client itself sends counts for its conversation alone. It
is about the model by its name and its target together. An answer to a request that had a refused field in
what we added clears what was learned against it; after a day it is tried anew.

It is known by digests alone: what is kept of it names no conversation and no tenant.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from hashlib import blake2b
from itertools import islice
from typing import NamedTuple, TypeVar

import msgspec

from sidecar.prompt.form import AS_USUAL, Form

__all__ = ["LearnedForms", "Place"]

_TTL = 86400.0  # seconds that it counts
_MIN_VOTES = 2  # conversations of a tenant, or tenants
_MAX_NAME_LENGTH = 256  # characters; a longer one is no model's
_MAX_CONVERSATIONS = 10_000
_MAX_VOTES = 2_000  # for each of the tenants, and of the models
_MAX_SHARED = 500  # of each, where others are told of it
_AS_SENT = "="
_STRIPPED = "~"

Key = TypeVar("Key")
Value = TypeVar("Value")


class Place(NamedTuple):
    """What a request is part of."""

    tenant: bytes
    conversation: str
    model: str
    target: str


class _Kept(msgspec.Struct, frozen=True, array_like=True):
    """What others are told: conversations with their words and times; votes, and what has cleared them."""

    conversations: tuple[tuple[str, frozenset[str], float], ...] = ()
    votes: tuple[tuple[str, str, str, float], ...] = ()
    cleared: tuple[tuple[str, str, float], ...] = ()


class LearnedForms:
    """By conversation, by tenant and by model; those that were learned longest ago are forgotten first."""

    def __init__(self, now: Callable[[], float] = time.time) -> None:
        self._now = now
        self._conversations: OrderedDict[str, tuple[frozenset[str], float]] = OrderedDict()
        self._votes = _Votes()

    @property
    def is_empty(self) -> bool:
        """Has nothing been learned yet?"""
        return not self._conversations and not self._votes.kept

    def of(self, place: Place) -> Form:
        """In which form what we add is to go."""
        since = self._now() - _TTL
        own, at = self._conversations.get(_conversation(place), (frozenset(), 0.0))
        words = set(own) if at > since else set()
        for learned in (self._votes.carried(about, since) for about in (_tenant(place), _model(place))):
            words |= {word for word in learned if _opposite(word) not in words}
        return _form(words) if words else AS_USUAL

    def learn(self, place: Place, form: Form) -> None:
        """A request was taken in this form, after it had been refused in another."""
        if len(place.model) > _MAX_NAME_LENGTH:
            return
        now, words = self._now(), frozenset(_words(form))
        _put(self._conversations, _conversation(place), (words, now), _MAX_CONVERSATIONS)
        for word in words:
            if word[0] == _STRIPPED:
                continue
            self._votes.vote(_tenant(place), word, _conversation(place), now)
            if word != _AS_SENT:
                self._votes.vote(_model(place), word, _tenant(place), now)

    def taken(self, place: Place, added: Iterable[str]) -> bool:
        """A request was taken that had these fields in what we added to it; has that cleared anything?"""
        words, now = (_AS_SENT, *(f"-{name}" for name in added)), self._now()
        abouts = _tenant(place), _model(place)
        return sum(self._votes.clear(about, word, now) for word in words for about in abouts) > 0

    def is_doubted(self, place: Place) -> bool:
        """Is there anything that a request's success could clear?"""
        return _tenant(place) in self._votes.kept or _model(place) in self._votes.kept

    def dump(self) -> bytes:
        """The newest of it, for other processes and for later."""
        newest = islice(reversed(self._conversations.items()), _MAX_SHARED)
        conversations = [(key, words, at) for key, (words, at) in newest]
        votes, cleared = self._votes.newest(_MAX_SHARED)
        return msgspec.json.encode(_Kept(tuple(conversations[::-1]), votes, cleared))

    def merge(self, told: bytes) -> None:
        """Take over what another process has learned. Raises `ValueError` for what is none of it."""
        kept = msgspec.json.decode(told, type=_Kept)
        for key, words, at in kept.conversations:
            if at > self._conversations.get(key, (words, 0.0))[1]:
                _put(self._conversations, key, (words, at), _MAX_CONVERSATIONS)
        for about, word, at in kept.cleared:
            self._votes.clear(about, word, at)
        for about, word, voter, at in kept.votes:
            self._votes.vote(about, word, voter, at)


class _Votes:
    """Who has learned which word, and when; as many voters of each as are asked for."""

    def __init__(self) -> None:
        self.kept: OrderedDict[str, dict[str, OrderedDict[str, float]]] = OrderedDict()
        self._cleared: OrderedDict[tuple[str, str], float] = OrderedDict()

    def vote(self, about: str, word: str, voter: str, at: float) -> None:
        """It counts, unless something has cleared it since."""
        if at <= self._cleared.get((about, word), 0.0):
            return
        words = self.kept.get(about, {})
        voters = words.setdefault(word, OrderedDict())
        if at > voters.get(voter, 0.0):
            _put(voters, voter, at, _MIN_VOTES)
        _put(self.kept, about, words, _MAX_VOTES)

    def clear(self, about: str, word: str, at: float) -> bool:
        """Votes until then count no longer; were there any?"""
        words = self.kept.get(about, {})
        if any(voted > at for voted in words.get(word, {}).values()):
            return False
        was_there = words.pop(word, None) is not None
        if was_there:
            _put(self._cleared, (about, word), at, _MAX_VOTES)
            if not words:
                del self.kept[about]
        return was_there

    def carried(self, about: str, since: float) -> Iterator[str]:
        """What enough voters have learned."""
        for word, voters in self.kept.get(about, {}).items():
            if sum(at > since for at in voters.values()) >= _MIN_VOTES:
                yield word

    def newest(
        self, most: int
    ) -> tuple[tuple[tuple[str, str, str, float], ...], tuple[tuple[str, str, float], ...]]:
        """The votes about the newest, and what was cleared last."""
        votes = [
            (about, word, voter, at)
            for about, words in islice(reversed(self.kept.items()), most)
            for word, voters in words.items()
            for voter, at in voters.items()
        ]
        cleared = [(*key, at) for key, at in islice(reversed(self._cleared.items()), most)]
        return tuple(votes[::-1]), tuple(cleared[::-1])


def _put(table: OrderedDict[Key, Value], key: Key, value: Value, most: int) -> None:
    table[key] = value
    table.move_to_end(key)
    while len(table) > most:
        table.popitem(last=False)


def _conversation(place: Place) -> str:
    return _digest(place.conversation, place.model, place.target)


def _tenant(place: Place) -> str:
    return _digest(place.tenant.hex(), "", place.model, place.target)


def _model(place: Place) -> str:
    return _digest("", "", "", place.model, place.target)


def _digest(*parts: str) -> str:
    named = "\0".join(parts).encode("utf-8", "surrogatepass")
    return blake2b(named, digest_size=12, person=b"sidecar/forms").hexdigest()


def _words(form: Form) -> Iterator[str]:
    """A form as words: `+field` is supplied, `-field` left out, `=` nothing added, `~field` stripped."""
    yield from (f"+{name}" for name in form.supplied)
    yield from (f"-{name}" for name in form.without)
    yield from (f"{_STRIPPED}{name}" for name in form.stripped)
    if form.as_sent:
        yield _AS_SENT


def _form(words: Iterable[str]) -> Form:
    told = frozenset(words)
    return Form(
        supplied=frozenset(word[1:] for word in told if word[0] == "+"),
        without=frozenset(word[1:] for word in told if word[0] == "-"),
        as_sent=_AS_SENT in told,
        stripped=frozenset(word[1:] for word in told if word[0] == _STRIPPED),
    )


def _opposite(word: str) -> str:
    return {"+": "-", "-": "+"}.get(word[0], "") + word[1:]
