"""When are two prompts nearly the same, and two questions?

Prompts carry clocks, dates and ids that change with every request: these are passed over. Of the other words
nine in ten of the longer prompt have to be in the other one too; of a question three in four, numbers passed
over. Fewer than four words have to be equal. Words are counted, not aligned (those of a short question have
to stand in the same order): this takes time that grows with the texts alone.

Two copies of one message differ in less: in white space, line ends and Unicode form (`folded`), or, where a
client writes the time into old messages, in that (`undated`).
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from fractions import Fraction

__all__ = ["are_near_prompts", "are_near_questions", "folded", "undated"]

_OF_A_PROMPT = Fraction(9, 10)
_OF_A_QUESTION = Fraction(3, 4)
_FEW = 4
_SHORT = 32  # words of a question
_LONG = 16  # characters, from which on a word with a digit in it is an id

_WORD = re.compile(r"\w++(?:[:./+-]\w++)*+")
_DAYS = "mon|tues|wednes|thurs|fri|satur|sun"
_MONTHS = (
    "january|february|march|april|may|june|july|august|september|october|november|december"
    "|jan|feb|mar|apr|jun|jul|aug|sept?|oct|nov|dec"
)
# A time of day, a date or a year, the day in a date, the name of a day or a month.
_CLOCK = re.compile(
    rf"\d{{1,2}}:\d\d(?::\d\d)?(?:[.+-][\d:]+)?[a-z]*|\d{{1,4}}[./-]\d{{1,2}}[./-]\d{{1,4}}(?:t[\d:.+-]+z?)?"
    rf"|(?:19|20)\d\d|\d{{1,2}}(?:st|nd|rd|th)?|(?:{_DAYS})day|{_MONTHS}|[ap]m|utc|gmt",
)

# What `str.split` does not take for white space, and nobody sees.
_UNSEEN_SPACE = re.compile("[\u200b\u2060\ufeff\u00ad]+")
_MONTH_NAME = rf"(?:{_MONTHS})\.?"
_YEAR = r"(?:,?\s?\d{4})?"
_TIME = r"\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?[ap]m\b)?(?:z\b|\s?(?:utc|gmt)\b|[+-]\d\d:?\d\d\b)?"
_DATE = (
    rf"(?:\d{{4}}([-/.])\d\d?\1\d\d?|\d\d?([-/.])\d\d?\2\d{{2,4}}|{_MONTH_NAME}\s\d\d?(?:st|nd|rd|th)?{_YEAR}"
    rf"|\d\d?(?:st|nd|rd|th)?\s{_MONTH_NAME}{_YEAR})"
)
# A moment as clients write it: a date and a time, either, or seconds since 1970; in brackets, maybe.
_MOMENT = re.compile(
    rf"[\[(]?\b(?:{_DATE}(?:[\st]{_TIME})?|{_TIME}|(?:{_DAYS})day\b,?"
    r"|(?<![.,])1\d{9}(?:\d{3})?(?:\.\d+)?)(?:[\])]|(?!\w))",
    re.IGNORECASE,
)


def folded(text: str) -> str:
    """The text without white space of any kind, in one Unicode form: equal for two copies that look alike."""
    if not text.isascii():
        text = unicodedata.normalize("NFC", _UNSEEN_SPACE.sub("", text))
    return "".join(text.split())


def undated(text: str, role: str) -> str:
    """The folded text without the moments in it; the same as `folded` where there are none.

    Of an answer only one in front goes, as clients stamp messages: another in it is what was said.
    """
    if role != "assistant":
        return folded(_MOMENT.sub("", text))
    text = text.lstrip()
    stamp = _MOMENT.match(text)
    return folded(text[stamp.end() :] if stamp else text)


def are_near_prompts(one: str, other: str) -> bool:
    """Is it the same prompt, at another time?"""
    return one == other or _share(_told(one), _told(other), _OF_A_PROMPT)


def are_near_questions(one: str, other: str) -> bool:
    """Is it the same question, in slightly other words?"""
    if one == other:
        return True
    words, others = _asked(one), _asked(other)
    return _share(Counter(words), Counter(others), _OF_A_QUESTION) and _in_order(words, others)


def _told(text: str) -> Counter[str]:
    return Counter(word for word in _WORD.findall(text.lower()) if not _is_of_the_moment(word))


def _is_of_the_moment(word: str) -> bool:
    if _CLOCK.fullmatch(word):
        return True
    return len(word) >= _LONG and not word.isalpha() and any(map(str.isdigit, word))


def _asked(text: str) -> list[str]:
    words = _WORD.findall(text.lower())
    # "step 2" and "step 3" are two, however few the words are without the numbers.
    return [word for word in words if not word.isdigit()] if len(words) >= _FEW else words


def _in_order(words: list[str], others: list[str]) -> bool:
    """Do the words in common stand in the same order? Asked of few words alone: of many it is seldom chance.

    "My name is Ada" and "What is my name" have three words of four in common, and are no edit of each other.
    """
    longer = max(len(words), len(others))
    if longer > _SHORT:
        return True
    common = [0] * (len(others) + 1)  # the longest common subsequence, by dynamic programming
    for word in words:
        before = common[:]
        for at, other in enumerate(others):
            common[at + 1] = before[at] + 1 if word == other else max(before[at + 1], common[at])
    return common[-1] >= _OF_A_QUESTION * longer


def _share(one: Counter[str], other: Counter[str], least: Fraction) -> bool:
    longer = max(one.total(), other.total())
    if longer < _FEW:
        return one == other
    return (one & other).total() >= least * longer
