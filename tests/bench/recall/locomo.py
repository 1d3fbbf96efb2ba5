"""LoCoMo's talks (Maharana et al., "Evaluating Very Long-Term Conversational Memory of LLM Agents", 2024),
and whether all the evidence of a question is in its prompt.

The data may not be passed on with this (CC BY-NC 4.0); its authors' repository is snap-research/locomo.
A talk is taken as a chat of some 600 messages, user and assistant in turn. Only questions of which the data
name the evidence are asked; those that cannot be answered (category 5) are left out. The upstream says how
long the prompts were: characters / 4, and 4 for each message. So the sidecar's estimate learns, as it does
from an engine.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from tests.bench.recall.prompts import sent, text_of
from tests.bench.recall.talk import Message
from tests.proxy.mock_upstream import Exchange, Upstream, completion, sends

__all__ = ["COLUMNS", "Score", "Talk", "asked", "read"]

_CATEGORIES = {4: "one message", 1: "several messages", 2: "times", 3: "inference"}
COLUMNS = ("budget", "recall", "questions", "all evidence", *_CATEGORIES.values(), "longest prompt")


@dataclass(slots=True, frozen=True)
class Talk:
    """What was said, and the questions: each with the texts that answer it, and its category."""

    texts: Sequence[str]
    questions: Sequence[tuple[str, Sequence[str], int]]

    def history(self, question: str) -> list[Message]:
        """The chat with the question at its end; never two messages of the user behind each other."""
        roles = ("user", "assistant")
        said = [{"role": roles[at % 2], "content": text} for at, text in enumerate(self.texts)]
        if len(said) % 2:
            said.append({"role": "assistant", "content": "I see."})
        return [*said, {"role": "user", "content": question}]


@dataclass(slots=True)
class Score:
    """How many questions were asked, and how many had all their evidence, by category."""

    asked: Counter[int] = field(default_factory=Counter)
    found: Counter[int] = field(default_factory=Counter)
    longest: int = 0
    faults: list[str] = field(default_factory=list)

    def row(self, budget: int, recall: float) -> list[str]:
        """One line of the table."""
        shares = [f"{self.found[each] / max(1, self.asked[each]):.0%}" for each in _CATEGORIES]
        total = f"{self.found.total() / max(1, self.asked.total()):.1%}"
        asked = f"{self.asked.total():,}"
        return [f"{budget:,}", f"{recall:g}", asked, total, *shares, f"{self.longest:,}"]


def read(path: Path) -> Iterator[Talk]:
    """The talks of a file, or of all files in a folder, in the order of their names.

    Raises `ValueError` if there is none.
    """
    files = sorted(path.rglob("*.json")) if path.is_dir() else [path]
    talks = [each for file in files for each in _listed(json.loads(file.read_text("utf-8")))]
    if not talks:
        raise ValueError(f"no talk of LoCoMo in {path}")
    return iter(map(_talk, talks))


def _listed(data: Any) -> list[dict[str, Any]]:
    """Of a release with one file for all talks, or with one for each."""
    return [each for each in (data if isinstance(data, list) else [data]) if "qa" in each]


def _talk(data: dict[str, Any]) -> Talk:
    said = data.get("conversation", data)
    sessions = [said[f"session_{at}"] for at in range(1, 100) if said.get(f"session_{at}")]
    texts = {each["dia_id"]: _text(each) for session in sessions for each in session}
    questions = []
    for each in data["qa"]:
        evidence = [texts[id] for id in each.get("evidence") or () if id in texts]
        if evidence and each.get("category") in _CATEGORIES:
            questions.append((str(each["question"]), evidence, int(each["category"])))
    return Talk(list(texts.values()), questions)


def _text(said: dict[str, Any]) -> str:
    text = said.get("text") or said.get("clean_text") or ""
    caption = f" [image: {said['blip_caption']}]" if said.get("blip_caption") else ""
    return f"{said['speaker']}: {text}{caption}".strip()


def tokens(messages: Sequence[Message]) -> int:
    """As the upstream counts them."""
    return sum(len(text_of(each)) // 4 + 4 for each in messages)


async def _answer(exchange: Exchange) -> None:
    sent = tokens(exchange.request.json["messages"])
    body = json.loads(completion("I see."))
    body["usage"] = {"prompt_tokens": sent, "completion_tokens": 3, "total_tokens": sent + 3}
    await sends(json.dumps(body).encode())(exchange)


async def asked(http: aiohttp.ClientSession, url: str, upstream: Upstream, talks: Sequence[Talk]) -> Score:
    """Ask all questions, those about one talk in one chat: each takes the place of the one before."""
    score = Score()
    upstream.otherwise = _answer
    for number, talk in enumerate(talks):
        for question, evidence, category in talk.questions:
            prompt = await sent(http, url, upstream, talk.history(question), id=f"talk {number}")
            score.asked[category] += 1
            score.found[category] += prompt.holds(evidence)
            score.longest = max(score.longest, tokens(prompt.messages))
            if prompt.fault:
                score.faults.append(f"{question}: {prompt.fault}")
    return score
