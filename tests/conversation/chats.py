"""Random conversations, and what Open WebUI and its user make of a path of one.

A *copy* is the client's own copy of a stored path, as it sends it with its next question.
"""

from __future__ import annotations

import json
import re

from hypothesis import strategies as st

from tests.conversation.build import Recorded, calls, raw, request, result, says, user

FEW = st.sampled_from(["a", "b", "a b", " a", ""])


def grown(data, text):
    """A conversation of branches, regenerated answers and tool turns, with texts by `text`."""
    chat = Recorded()
    fronts: list[list] = [[]]
    for turn in range(data.draw(st.integers(1, 5))):
        told = [
            *data.draw(st.sampled_from(fronts)),
            user(f"<ctx>{turn % 2}</ctx> {data.draw(FEW)} " + text(data)),
        ]
        if data.draw(st.booleans()):
            thought = {"reasoning": "so"} if data.draw(st.booleans()) else {}
            tool = calls(f"c{turn}", content=text(data), arguments='{"a": 2.0, "b": [1]}')
            told = _answered(chat, told, tool | thought)
            told = [*told, result(f"c{turn}", text(data))]
        again = data.draw(st.integers(0, 2))
        answers = [says(f"<think>so</think> {text(data)} \n") for _ in range(again + 1)]
        for answer in answers:
            fronts.append(_answered(chat, told, answer))
    return chat, data.draw(st.sampled_from(fronts[1:]))


def _answered(chat, told, answer):
    chat.tell(request(*told), answer)
    return [*told, answer]


def copied(path, data):
    """The path as Open WebUI sends it again."""
    copy = []
    flatten = data.draw(st.booleans())
    for fields in path:
        if fields["role"] == "user":
            drop = data.draw(st.booleans())
            copy.append(user(re.sub(r"<ctx>.*</ctx> ", "", fields["content"]) if drop else fields["content"]))
        elif fields["role"] == "tool":
            copy += [] if flatten else [fields]
        elif fields.get("tool_calls"):
            again = json.loads(raw(fields).replace(rb"{\"a\": 2.0, \"b\": [1]}", rb"{\"b\":[1],\"a\":2}"))
            again.pop("reasoning", None)
            copy += [] if flatten else [again]
        else:
            copy.append(says(fields["content"].removeprefix("<think>so</think>").strip()))
    return copy


def meddled(copy, data):
    """What the user makes of it: messages edited or deleted, the front cut off."""
    for _ in range(data.draw(st.integers(0, 2))):
        at = data.draw(st.integers(0, max(len(copy) - 1, 0)))
        what = data.draw(st.sampled_from(["edit", "delete", "cut", "end"]))
        if what == "edit" and copy:
            copy = [*copy[:at], {**copy[at], "content": data.draw(FEW)}, *copy[at + 1 :]]
        elif what == "delete":
            copy = [*copy[:at], *copy[at + 1 :]]
        elif what == "cut":
            copy = copy[at:]
        else:
            copy = copy[: at + 1]
    return copy


def texts_of(data):
    """Texts that often read alike."""
    return data.draw(FEW)
