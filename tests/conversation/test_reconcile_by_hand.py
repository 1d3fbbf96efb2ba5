"""`walk` against the plainest search that obeys the same rules: all ways down, without any saving."""

from __future__ import annotations

import json
from unicodedata import normalize

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.message import call_forms, text_of, visible_text
from sidecar.conversation.reconcile import NOWHERE, Match, Place, walk
from sidecar.conversation.tree import Node
from tests.conversation.build import NOBODY, Recorded, calls, request, says, user
from tests.conversation.chats import FEW, copied, grown, meddled, texts_of


def bare(text):
    """White space of any kind and Unicode form part no copies."""
    return "".join(normalize("NFC", text).split())


def children(tree, parent):
    return [each for each in tree.nodes if each.parent == (parent.id if parent else None)]


def answers(tree, parent):
    """Every answer under the parent, as a list of its messages."""
    replies = [each for each in children(tree, parent) if each.role == "assistant"]
    return [[reply, *rest] for reply in replies for rest in going_on(tree, reply)]


def going_on(tree, node):
    found: list[list[Node]] = [[]] if node.role == "assistant" else []
    for child in children(tree, node):
        if child.role in ("assistant", "tool", "function"):
            found += [[child, *rest] for rest in going_on(tree, child)]
    return found


def says_the_same(sent, line):
    replies = [json.loads(each.body) for each in line if each.role == "assistant"]
    text, texts = bare(visible_text(sent)), [bare(visible_text(each)) for each in replies]
    if len(line) == 1 and line[0].state == "partial":
        return texts[0].startswith(text)
    told = [each for each in texts if each]
    return text in (texts[-1], "".join(told))


def makes_the_same_calls(sent, line):
    return len(line) == 1 and call_forms(sent) <= call_forms(json.loads(line[0].body))


def answers_of(tree, parent, sent):
    """A message with calls is known by its calls; by its text only among several."""
    found = answers(tree, parent)
    if not call_forms(sent):
        return [line for line in found if visible_text(sent) and says_the_same(sent, line)]
    found = [line for line in found if makes_the_same_calls(sent, line)]
    return [line for line in found if says_the_same(sent, line)] or found


def results_of(tree, parent, sent):
    """A result that its client has changed: of the same call, else with the same text, else any."""
    found = [each for each in children(tree, parent) if parent and each.role == "tool"]
    of_call = [each for each in found if each.fields["tool_call_id"] == sent["tool_call_id"]]
    text = bare(text_of(sent))
    alike = [each for each in found if bare(text_of(each.fields)) == text]
    return [[each] for each in of_call or alike or found]


def steps_in(way):
    """The steps of a trail; nothing stands for a result that is no equal."""
    return tuple(() if echo and step[0].role == "tool" else step for step, echo, _ in way)


def steps_of(tree, parent, sent):
    """What `sent` may stand for under `parent`; whether it is equal."""
    equal = [[each] for each in children(tree, parent) if each.digest == sent.digest]
    if equal:
        return equal, True
    if sent.role == "assistant":
        return answers_of(tree, parent, sent.fields), False
    if sent.role == "tool":
        return results_of(tree, parent, sent.fields), False
    text = bare(text_of(sent.fields))
    if sent.role != "user" or not text:
        return [], False
    stored = [(each, bare(text_of(json.loads(each.body)))) for each in children(tree, parent)]
    return [
        [each] for each, told in stored if each.role == "user" and told and (told in text or text in told)
    ], False


def ways(tree, path, trail, named):
    """All trails from here on: tuples of (step, is an echo, is pending)."""
    found = [trail]
    if len(trail) < len(path):
        sent = path[len(trail)]
        was_pending = bool(trail) and trail[-1][2]
        steps, equal = steps_of(tree, trail[-1][0][-1] if trail else None, sent)
        for step in steps:
            pending = sent.role != "assistant" and (was_pending or not equal)
            found += ways(tree, path, (*trail, (tuple(step), not equal, pending)), named)
    return found


def chosen(tree, trails, named):
    """Named most, then longest; resting on echoes least; of those that read alike the newest."""
    order = {each.id: at for at, each in enumerate(tree.nodes)}

    def names(trail):
        return sum(step[-1].message_id in named for step, _, _ in trail)

    def is_pending(trail):
        return bool(trail) and trail[-1][2]

    sure = [trail for trail in trails if not is_pending(trail)]
    best = max((names(trail), len(trail)) for trail in sure)
    left = [trail for trail in sure if (names(trail), len(trail)) == best]
    while True:
        sure = [trail for trail in left if not is_pending(trail)]
        if sure:
            key = max((names(trail), -sum(echo for _, echo, _ in trail)) for trail in sure)
            most = [t for t in sure if (names(t), -sum(echo for _, echo, _ in t)) == key]
            if len({trail[-1][0][-1].hash if trail else None for trail in most}) == 1:
                return max(most, key=lambda trail: order[trail[-1][0][-1].id] if trail else -1)
        left = list(dict.fromkeys(trail[:-1] for trail in left if trail))


def walked_by_hand(tree, asked, named):
    path = asked.path.messages
    best = chosen(tree, ways(tree, path, (), named), named)
    if best or not asked.last_answer:
        node = best[-1][0][-1] if best else None
        return Match(Place(len(best), node), steps_in(best))
    whole = []
    for node in tree.nodes:
        if node.parent is not None and node.digest == path[0].digest:
            way = chosen(tree, ways(tree, path, (((node,), False, False),), named), named)
            if len(way) >= asked.last_answer:
                whole.append((sum(step[-1].message_id in named for step, _, _ in way), way))
    if len(whole) > 1 and not named:
        return Match(NOWHERE, ())
    most = [way for names, way in whole if names == max(names for names, _ in whole)]
    if len(most) != 1:
        return Match(NOWHERE, ())
    return Match(Place(len(most[0]), most[0][-1][0][-1], anchored=False), steps_in(most[0]))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_front_ends_copy_is_found_where_the_plain_search_finds_it(data):
    chat, path = grown(data, texts_of)
    asked = request(*meddled(copied(path, data), data), user("new"))
    assert walk(chat.tree, asked.path, NOBODY) == walked_by_hand(chat.tree, asked, NOBODY)


SAID = st.one_of(
    st.builds(user, FEW),
    st.builds(says, FEW),
    st.builds(lambda text: says(text, x=1), FEW),
    st.builds(lambda text: calls("c", content=text), FEW),
    st.builds(lambda text: {"role": "tool", "tool_call_id": "c", "content": text}, FEW),
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_messages_are_found_where_the_plain_search_finds_them(data):
    chat = Recorded()
    lines = data.draw(st.lists(st.lists(SAID, min_size=1, max_size=4), min_size=1, max_size=4))
    named = set()
    for at, line in enumerate(lines):
        front = data.draw(st.sampled_from([each[:-1] for each in lines[:at]] or [[]]))
        state = data.draw(st.sampled_from(["complete", "partial"]))
        name = data.draw(st.sampled_from([None, "m1", "m2"]))
        chat.tell(request(*front, *line, user("q")), says(data.draw(FEW)), state=state, message_id=name)
    if data.draw(st.booleans()):
        named = {"m1"}
    sent = data.draw(st.lists(SAID, max_size=4))
    front = data.draw(st.sampled_from([[], *lines]))
    asked = request(*front, *sent, user("new"))
    assert walk(chat.tree, asked.path, frozenset(named)) == walked_by_hand(chat.tree, asked, frozenset(named))
