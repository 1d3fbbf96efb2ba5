"""Our own talks, kind by kind: is what a question needs in its prompt, with recall off and on?"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import aiohttp

from tests.bench.recall.prompts import Prompt, sent
from tests.bench.recall.talk import Question, read
from tests.proxy.mock_upstream import Upstream

__all__ = ["COLUMNS", "Kind", "asked", "row"]

COLUMNS = ("kind of talk", "questions", "found", "with recall", "wrongly preferred", "quoted for", "tokens")


@dataclass(slots=True, frozen=True)
class Kind:
    """The prompts of one kind of talk for its questions, all of them with one setting."""

    name: str
    asked: Sequence[tuple[Question, Prompt]]

    @property
    def found(self) -> int:
        """How many of the questions that need something have all of it in their prompts."""
        return sum(prompt.holds(question.needs) for question, prompt in self.asked if question.needs)

    @property
    def missed(self) -> list[str]:
        """The questions that lack something, or get it in the wrong order."""
        return [
            question.text
            for question, prompt in self.asked
            if not prompt.holds(question.needs) or prompt.prefers(question.old, question.needs)
        ]

    @property
    def preferred(self) -> int:
        """For how many what was corrected is there without its correction, or behind it."""
        return sum(prompt.prefers(question.old, question.needs) for question, prompt in self.asked)

    @property
    def quoted(self) -> list[int]:
        """The tokens of each turn that quotes something."""
        return [prompt.quoted for _, prompt in self.asked if prompt.quoted]

    @property
    def longest(self) -> int:
        """The tokens of the longest prompt."""
        return max(prompt.tokens for _, prompt in self.asked)

    @property
    def faults(self) -> list[str]:
        """What is not valid in a prompt."""
        return [f"{question.text}: {prompt.fault}" for question, prompt in self.asked if prompt.fault]


async def asked(
    http: aiohttp.ClientSession, url: str, upstream: Upstream, kind: str, *, most: int | None = None
) -> Kind:
    """Ask all questions about a talk, or the first so many, each in a chat of its own."""
    talk = read(kind)
    return Kind(
        kind,
        [
            (each, await sent(http, url, upstream, talk.history(each), id=f"{kind} {number}"))
            for number, each in enumerate(talk.questions[:most])
        ],
    )


def row(off: Kind, on: Kind) -> list[str]:
    """The two beside each other."""
    needing = sum(bool(question.needs) for question, _ in on.asked)
    correcting = any(question.old for question, _ in on.asked)
    return [
        on.name,
        str(len(on.asked)),
        str(off.found) if needing else "-",
        str(on.found) if needing else "-",
        str(on.preferred) if correcting else "-",
        str(len(on.quoted)),
        f"{fmean(on.quoted or [0]):.0f}",
    ]
