"""What is said in a measure: words that are the same every time, and mean nothing."""

from __future__ import annotations

import random

__all__ = ["VOCABULARY", "arguments", "document", "question", "system", "task", "words"]

_TEXT = (
    "the river runs past an old mill where people once ground wheat and traded cloth for salt while"
    " engineers now measure water levels with small sensors that report every hour to a server in town and"
    " farmers read those numbers before they open gates because too much water spoils roots and too little"
    " burns leaves so the balance of spring rain and summer heat decides what each field will give"
)
VOCABULARY = _TEXT.split()


def words(seed: str, count: int) -> str:
    """So many words, the same ones for the same seed, as a sentence."""
    chosen = random.Random(seed)
    return " ".join(chosen.choice(VOCABULARY) for _ in range(count)).capitalize() + "."


def system(name: str) -> str:
    """A system prompt of about 110 tokens; the name at its start keeps measures out of each other's cache."""
    return f"[{name}] You are a careful assistant. {words('system', 90)}"


def question(at: int) -> str:
    """The user's message number `at`."""
    return f"Question {at + 1}: {words(f'question {at}', 45)} What follows from this?"


def task() -> str:
    """What an agent is given to do."""
    return f"Read every station along the river, one after the other. {words('task', 60)}"


def arguments(at: int) -> str:
    """A tool's arguments as a model spells them; another writer of JSON would leave the blanks out."""
    return f'{{"station": "mill {at}", "unit": "cm", "hours": [{at}, {at + 1}]}}'


def document(at: int, count: int = 50) -> str:
    """What a tool, or a search in documents, came back with."""
    return f"Report {at}: {words(f'report {at}', count)}"
