"""What was said in a line of messages, by its words: grows with the line, and finds what a question asks for.

A message is taken in passages, short ones whole. A passage is scored by BM25 (Robertson and Zaragoza, "The
Probabilistic Relevance Framework", 2009) together with the one before it and the one behind it: an answer has
few words of its question, but it stands behind it. What few passages of a short talk have may still be a word
of every day: one that is likely to be common in any talk counts less.
"""

from __future__ import annotations

import math
import re
from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from sidecar.prompt.words import likely_share, words

__all__ = ["Found", "Passage", "RecallIndex", "passages"]

_LONGEST_PASSAGE = 800  # characters: about 200 tokens
_MOST_OF_A_MESSAGE = 100_000  # characters of it that are looked at; what is longer is a file
_COMMON = 0.3  # a word in more than this share of the passages tells none from another
_FEW = 12  # passages, of which none is common
_MOST_LOOKED_AT = 500  # postings in all for one question, those of the rarest words first
_K1, _B = 1.2, 0.75
_RARE = 3.5  # nats: a word that one message in 33 has, or fewer, counts whole
_TIMES_BITS = 6
_MOST_TIMES = (1 << _TIMES_BITS) - 1
#: Where a passage may end, the best first: paragraphs, lines, sentences (also those of CJK), words.
_BREAKS = tuple(map(re.compile, (r"\n\s*\n", r"\n", "[.!?]\\s|[\u3002\uff01\uff1f]", r"\s")))
#: Bytes of memory, about: of a word with its postings, of one posting, of a passage, of the rest.
_OF_WORD, _OF_POSTING, _OF_PASSAGE, _OF_INDEX = 200, 5, 50, 2000


class Passage(NamedTuple):
    """A part of the text of a message: of the message at this place of the line, from `start` to `end`."""

    message: int
    start: int
    end: int


class Found(NamedTuple):
    """The passages that fit a question, by their numbers: their scores, and which of its words they have.

    Those are bits in the order of `words`, which are the words that tell passages apart.
    """

    scores: dict[int, float]
    held: dict[int, int]
    words: tuple[str, ...]


class RecallIndex:
    """The words of the messages of a line, from its first one on. Grows at its end; nothing is taken out."""

    __slots__ = ("_ends", "_messages", "_places", "_postings", "_starts", "_totals", "_windows", "messages")

    def __init__(self) -> None:
        self.messages = 0
        self._postings: dict[str, array[int]] = {}
        self._messages, self._starts, self._ends = array("I"), array("I"), array("I")
        #: How many words there are up to each passage, and how many it has together with its neighbours.
        self._totals, self._windows = array("Q", (0,)), array("I")
        self._places = 0

    @property
    def size(self) -> int:
        """The memory that it takes, in bytes, about."""
        passages = len(self._messages)
        return (
            _OF_INDEX + len(self._postings) * _OF_WORD + self._places * _OF_POSTING + passages * _OF_PASSAGE
        )

    def add(self, text: str) -> None:
        """The text of the next message of the line; one without a text counts too."""
        for start, end in passages(text[:_MOST_OF_A_MESSAGE]):
            times = Counter(words(text[start:end]))
            at = len(self._messages)
            self._messages.append(self.messages)
            self._starts.append(start)
            self._ends.append(end)
            self._count(times.total())
            for word, count in times.items():
                self._postings.setdefault(word, array("I")).append(
                    at << _TIMES_BITS | min(count, _MOST_TIMES)
                )
            self._places += len(times)
        self.messages += 1

    def _count(self, more: int) -> None:
        """The number of words of the next passage."""
        totals, windows = self._totals, self._windows
        if windows:
            windows[-1] += more
        totals.append(totals[-1] + more)
        windows.append(totals[-1] - totals[max(0, len(totals) - 3)])

    def passage(self, at: int) -> Passage:
        """The passage of this number."""
        return Passage(self._messages[at], self._starts[at], self._ends[at])

    def within(self, first: int, until: int) -> range:
        """The numbers of the passages of the messages from `first` up to `until`."""
        return range(bisect_left(self._messages, first), bisect_left(self._messages, until))

    def places(self, words: Iterable[str], until: int) -> dict[str, int]:
        """In how many of the first `until` passages each of the words stands."""
        found = self._postings.get
        return {word: bisect_left(found(word, ()), until << _TIMES_BITS) for word in words}

    def search(self, question: Mapping[str, float], until: int) -> Found:
        """How well the first `until` passages fit a question: its words, and how much each of them counts.

        What stands behind them changes nothing.
        """
        scores: dict[int, float] = {}
        held: dict[int, int] = {}
        if not self._totals[until]:
            return Found(scores, held, ())
        windows = self._windows[:until]
        windows[-1] = self._totals[until] - self._totals[max(0, until - 2)]
        least, each_word = _K1 * (1 - _B), _K1 * _B * until / (3 * self._totals[until])
        looked_for = self._looked_for(question, until)
        bit = 1
        for word, postings in looked_for:
            around: dict[int, int] = {}
            get = around.get
            for posting in postings:
                at, times = posting >> _TIMES_BITS, posting & _MOST_TIMES
                around[at] = get(at, 0) + times
                around[at - 1] = get(at - 1, 0) + times
                around[at + 1] = get(at + 1, 0) + times
                held[at] = held[at] | bit if at in held else bit
            bit <<= 1
            around.pop(-1, None)
            around.pop(until, None)
            rarity = math.log(1 + (until - len(around) + 0.5) / (len(around) + 0.5))
            rarity *= question[word] * min(1.0, -math.log(likely_share(word)) / _RARE)
            for at, times in around.items():
                gained = rarity * times / (times + least + each_word * windows[at])
                scores[at] = scores[at] + gained if at in scores else gained
        return Found(scores, held, tuple(word for word, _ in looked_for))

    def _looked_for(self, question: Iterable[str], count: int) -> list[tuple[str, array[int]]]:
        """The words of the question that tell passages apart, with where they stand: the rarest first, as
        many as can be afforded; of one that stands in too many places alone, the latest."""
        common = count if count <= _FEW else int(count * _COMMON)
        known = []
        for word in question:
            postings = self._postings.get(word)
            if postings is not None and (size := bisect_left(postings, count << _TIMES_BITS)):
                known.append((size, word, postings))
        taken: list[tuple[str, array[int]]] = []
        left = _MOST_LOOKED_AT
        for size, word, postings in sorted(known):
            if size > common or (size > left and taken):
                break
            taken.append((word, postings[max(0, size - left) : size]))
            left -= size
        return taken


def passages(text: str) -> Iterator[tuple[int, int]]:
    """Where the passages of a text begin and end: parted at paragraphs, lines, sentences or words."""
    start = 0
    while len(text) - start > _LONGEST_PASSAGE:
        end = start + _LONGEST_PASSAGE
        end = next(filter(None, (_last(each, text, start, end) for each in _BREAKS)), end)
        yield start, end
        start = end
    if text[start:].strip():
        yield start, len(text)


def _last(mark: re.Pattern[str], text: str, start: int, end: int) -> int:
    """Behind the last such mark in the second half of what may be a passage; 0 if there is none."""
    found = 0
    for each in mark.finditer(text, start + _LONGEST_PASSAGE // 2, end):
        found = each.end()
    return found
