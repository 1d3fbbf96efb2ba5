"""Clients that talk at random: whole and thin ones, with the habits that are known of real ones.

Every text has words of its own, `c3w17`: the 17th of the chat 3. So each prompt shows whose words are in it.
"""

from __future__ import annotations

import json
import random
import re
from dataclasses import dataclass, field
from itertools import count
from typing import Any

from tests.referee.reading import calls_of
from tests.referee.talk import SYSTEM, TOOLS, Fields, result, says, user

WORDS = re.compile(r"c(\d+)w(\d+)")
_USUAL = ("role", "content", "tool_calls")

#: What a whole client does to the answers that it sends again.
HABITS = (
    "keeps all",
    "keeps the usual",
    "strips",
    "respells",
    "flattens",
    "writes steps out",
    "drops null",
    "changes white space",
    "moves a note",
)
#: With which a history is still the same, word for word.
FAITHFUL = ("keeps all", "keeps the usual", "strips", "respells", "drops null")
#: What many chats begin with.
GREETING = "hi"
_NOTE = {"role": "system", "content": "Stay in character."}


@dataclass
class Talker:
    """One chat. `profiles`: the models that it talks to, by the names of their profiles."""

    chance: random.Random
    number: int
    id: str | None
    is_thin: bool
    #: Does it say whether it sends its whole history?
    says_so: bool
    habit: str
    profiles: list[str]
    history: list[Fields] = field(default_factory=list)
    #: What it sends next behind its history, if it is in the middle of a step.
    open: list[Fields] = field(default_factory=list)
    #: Words that it has taken back: edited, or deleted.
    gone: set[str] = field(default_factory=set)
    last: dict[str, Any] | None = None
    has_system: bool = False
    #: It knows its id only once its first question has been answered.
    is_named_late: bool = False
    #: Its first question is that of others.
    greets: bool = False
    #: Under which id the upstream knows what it has said since its last edit.
    session: str | None = None
    numbers: Any = field(default_factory=lambda: count(1))

    def __str__(self) -> str:
        how = "thin" if self.is_thin else "whole"
        when = " later" if self.is_named_late else ""
        return f"{how}, {self.habit}, id {self.id}{when}{', greets' if self.greets else ''}"

    @property
    def owner(self) -> str:
        """Whose session it is: that of all chats under its id."""
        return self.id or str(self.number)

    def word(self) -> str:
        return f"c{self.number}w{next(self.numbers)}"

    @property
    def headers(self) -> dict[str, str]:
        how = {"X-Sidecar-History": "append" if self.is_thin else "full"}
        self.is_named_late = self.is_named_late and self._is_first
        named = {"X-Conversation-ID": self.id} if self.id and not self.is_named_late else {}
        return {**(how if self.says_so else {}), **named, "x-stainless-retry-count": self.chance.choice("01")}

    @property
    def _is_first(self) -> bool:
        """Is it in its first turn?"""
        return len([each for each in (*self.history, *self.open) if each["role"] == "user"]) < 2

    @property
    def told(self) -> set[str]:
        """What was said on the way here, by the user and to the user."""
        return words([each["content"] for each in self.history if each["role"] in ("user", "assistant")])

    def next(self) -> dict[str, Any]:
        """The body of its next request."""
        if self.last is not None and self.chance.random() < 0.1:
            return self.last
        if not self.open:
            if not self.is_thin and self.history and self.chance.random() < 0.2:
                self._take_back()
            is_greeting = self.greets and not self.history
            self.open = [user(GREETING if is_greeting else f"{self.word()}\nplease")]
        told = self.open if self.is_thin else [*map(self._copied, self.history), *self.open]
        if not self.is_thin and self.habit == "flattens":
            told = flattened(told)
        if not self.is_thin and self.habit == "writes steps out":
            told = written_out(told)
        if not self.is_thin and self.habit == "moves a note" and self.open[-1]["role"] == "user":
            told = [*told[:-1], _NOTE, told[-1]]
        system = [SYSTEM] if self.has_system else []
        body: dict[str, Any] = {"model": self.chance.choice(self.profiles), "messages": [*system, *told]}
        if not body["model"].startswith("gemma") and self.chance.random() < 0.9:
            body["tools"] = TOOLS
        if self.chance.random() < 0.5:
            body["stream"] = True
        self.last = body
        return body

    def answered(self, message: Fields) -> None:
        """An answer came."""
        self.history += [*self.open, {**message, "role": "assistant"}]
        self.open = [result(call["id"], f"{self.word()} found") for call in calls_of(message)]
        self.last = None

    def refused(self) -> None:
        """None came, and the client forgets the question, or keeps it, or asks again."""
        if self.is_thin or self.open[0]["role"] == "tool":
            if self.chance.random() < 0.5:
                self._start_anew()
            return
        is_first = not self.history and self.id is not None and not self.says_so  # see `_take_back`
        what = "again" if is_first else self.chance.choice(["forget", "keep", "again"])
        if what == "forget":
            self.gone |= words(self.open)
            self.open, self.session = [], None
        elif what == "keep":
            self.history += self.open
            self.open = []
        self.last = None if what != "again" else self.last

    def _start_anew(self) -> None:
        """It gives a step up, and asks something else: what is stored of it is taken back."""
        self.open, self.last, self.session = [], None, None

    def _take_back(self) -> None:
        """An edit: what stands behind an earlier question is gone, and so is the question."""
        questions = [at for at, each in enumerate(self.history) if each["role"] == "user"]
        # Another first question could be the next one of a thin client, unless it says that it is none.
        questions = questions if self.says_so or not self.id else questions[1:]
        if not questions:
            return
        at = self.chance.choice(questions)
        self.gone |= words(self.history[at:])
        self.history = self.history[:at]
        self.session = None

    def _copied(self, message: Fields) -> Fields:
        if self.habit == "changes white space" and isinstance(message.get("content"), str):
            message = {**message, "content": message["content"].strip().replace("\n", " \r\n")}
        if message["role"] != "assistant" or self.habit == "keeps all":
            return message
        told = {name: message[name] for name in _USUAL if name in message}
        if self.habit == "strips" and isinstance(told.get("content"), str):
            told["content"] = told["content"].strip()
        if self.habit == "respells" and calls_of(told):
            told["tool_calls"] = [_respelled(call) for call in told["tool_calls"]]
        if self.habit == "drops null" and told.get("content") is None:
            told.pop("content", None)
        if calls_of(told):
            told["tool_calls"] = [
                {name: call[name] for name in ("id", "type", "function")} for call in told["tool_calls"]
            ]
        return told


def _respelled(call: Fields) -> Fields:
    function = call["function"]
    arguments = json.dumps(json.loads(function["arguments"]), indent=1)
    return {**call, "function": {**function, "arguments": arguments}}


def flattened(messages: list[Fields]) -> list[Fields]:
    """As front ends do that keep of an answer only what they have shown: steps of old turns are gone."""
    last = max((at for at, each in enumerate(messages) if each["role"] == "user"), default=0)
    told = []
    for at, each in enumerate(messages):
        if at < last and (each["role"] == "tool" or calls_of(each)):
            continue
        told.append(each)
    return told


def written_out(messages: list[Fields]) -> list[Fields]:
    """As smolagents does: steps as text, the results as what a user says."""
    told = []
    for each in messages:
        if each["role"] == "tool":
            told.append(user(f"Observation:\n{each['content']}"))
        elif calls_of(each):
            told.append(says(f"{each.get('content') or ''}\nCalling tools:\n{calls_of(each)}"))
        else:
            told.append(each)
    return told


def words(messages: Any) -> set[str]:
    """The words of chats in this."""
    return {found[0] for found in WORDS.finditer(json.dumps(messages))}
