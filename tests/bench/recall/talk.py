"""Our own talks, as they are written down in `talks/*.txt`, and the histories that they make.

A file is lines of `key: value`; a line with a `#` is for the reader. A turn begins with `user`, `image` (the
text beside one) or `lately` (close to the end of the talk) and may go on with `call`, `result` and
`assistant`; without an answer it gets one of the file's `acks`. A question is an `ask`. What its prompt has
to hold are its `needs`, parted by ` | `; `old` is what was said before it was corrected. One that needs
nothing may have what a model `says` to it. `before` and `answered` are the turn right before it.

Small talk stands between the turns, but for a file that has its own, and so much of it behind them that what
was said before is cut.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

__all__ = ["KINDS", "LANGUAGES", "Message", "Question", "Talk", "read", "small_talk"]

Message = dict[str, Any]
Turn = list[Message]

LANGUAGES = ("german", "french", "chinese", "japanese", "russian", "arabic", "hindi")
KINDS = (
    *("names", "numbers", "alike", "corrections", "corrections-lately"),
    *LANGUAGES,
    *("other-language", "tools", "images", "two-facts", "follow-ups"),
    *("nothing", "false-friends", "ordinary"),
)

_FOLDER = Path(__file__).parent / "talks"
_BEGINS = frozenset(("user", "image", "lately", "before", "ask"))
_TAIL = 15  # turns of small talk at the end: about 1,300 tokens
_PIXEL = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mNkYAAAAAYAAjCB0C8AAAAASUVO"
    "RK5CYII="
)


@dataclass(slots=True, frozen=True)
class Question:
    """What is asked at the end of a talk, and what is to be in its prompt. `before`: the turn before it.

    `says`: what is to be in a model's answer, where that is something else.
    """

    text: str
    needs: tuple[str, ...] = ()
    old: str = ""
    says: str = ""
    before: tuple[Message, ...] = ()


@dataclass(slots=True, frozen=True)
class Talk:
    """What is said in a talk, and the questions about it, each for a request of its own."""

    said: tuple[Turn, ...]
    lately: tuple[Turn, ...]
    questions: tuple[Question, ...]
    mixed: bool

    def history(self, question: Question) -> list[Message]:
        """All messages, up to the question."""
        opening, *between = _small_turns()
        tail = between[-_TAIL:]
        behind = [*self.lately, tail.pop()]
        turns = [opening]
        for said, small in zip(self.said, cycle(between[:-_TAIL]), strict=False):
            turns += [said, small] if self.mixed else [said]
        turns += [*tail, *behind, [*question.before]]
        return [message for turn in turns for message in turn] + [_user(question.text)]


def read(kind: str) -> Talk:
    """The talk of this kind."""
    head, *entries = _entries(kind)
    acks = cycle(head.get("acks", "All right.").split(" | "))
    turns = [(each, _turn(number, each, acks)) for number, each in enumerate(entries) if "ask" not in each]
    return Talk(
        said=tuple(turn for each, turn in turns if "lately" not in each),
        lately=tuple(turn for each, turn in turns if "lately" in each),
        questions=tuple(_question(each) for each in entries if "ask" in each),
        mixed=head.get("small talk") != "own",
    )


def small_talk() -> list[str]:
    """What the user says in all the small talk."""
    return [each["user"] for each in _entries("small-talk")[1:]]


def _small_turns() -> list[Turn]:
    return [_turn(0, each, iter(())) for each in _entries("small-talk")[1:]]


def _entries(name: str) -> list[dict[str, str]]:
    """The head of a file, and then each turn and each question."""
    entries: list[dict[str, str]] = [{}]
    for line in (_FOLDER / f"{name}.txt").read_text("utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        key, _, value = line.partition(": ")
        if key in _BEGINS and not (key == "ask" and "before" in entries[-1] and "ask" not in entries[-1]):
            entries.append({})
        entries[-1][key] = value
    return entries


def _question(entry: dict[str, str]) -> Question:
    before = (_user(entry["before"]), _assistant(entry["answered"])) if "before" in entry else ()
    needs = tuple(entry["needs"].split(" | ")) if "needs" in entry else ()
    return Question(entry["ask"], needs, entry.get("old", ""), entry.get("says", ""), before)


def _turn(number: int, entry: dict[str, str], acks: Iterator[str]) -> Turn:
    if "image" in entry:
        image = {"type": "image_url", "image_url": {"url": _PIXEL}}
        turn: Turn = [{"role": "user", "content": [{"type": "text", "text": entry["image"]}, image]}]
    else:
        turn = [_user(entry.get("user") or entry["lately"])]
    if "call" in entry:
        name, _, arguments = entry["call"].partition(" ")
        id = f"call_{number}"
        function = {"name": name, "arguments": arguments}
        call = {"id": id, "type": "function", "function": function}
        turn.append({"role": "assistant", "content": None, "tool_calls": [call]})
        result = entry["result"].replace("\\n", "\n")
        turn.append({"role": "tool", "tool_call_id": id, "content": result})
    return [*turn, _assistant(entry["assistant"] if "assistant" in entry else next(acks))]


def _user(text: str) -> Message:
    return {"role": "user", "content": text}


def _assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}
