"""Random trees, and what Open WebUI and its user make of a path: nothing is matched that was not said."""

from __future__ import annotations

import json
import re

from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.reconcile import NOWHERE, settled, walk
from sidecar.conversation.tree import Tree
from tests.conversation.build import NOBODY, Recorded, line, message, path_to, request, says, user
from tests.conversation.chats import copied, grown, meddled, texts_of

QUICK = settings(max_examples=50, deadline=None)


def spoken(fields):
    """Visible text, told slowly."""
    text = fields.get("content") or ""
    return re.sub(r"<think>.*</think>", "", text).strip() if fields["role"] == "assistant" else text.strip()


def told_calls(fields):
    calls = [(each["id"], each["function"]) for each in fields.get("tool_calls", ())]
    return [(id, made["name"], json.loads(made["arguments"])) for id, made in calls]


def stands_for(sent, step):
    """May `sent` stand for these nodes? Equal, or an echo, by the rules as they are written down."""
    if not step:
        return sent["role"] == "tool"  # a client may clear old results
    stored = [json.loads(node.body) for node in step]
    if len(step) == 1 and message(dict(sent)).digest == step[0].digest:
        return True
    if sent["role"] == "user":
        one, other = spoken(sent), spoken(stored[0])
        return (
            len(step) == 1
            and step[0].role == "user"
            and bool(one and other)
            and (one in other or other in one)
        )
    if sent.get("tool_calls"):  # by its calls alone: clients drop the text beside them
        return len(step) == 1 and all(each in told_calls(stored[0]) for each in told_calls(sent))
    texts = [spoken(each) for each in stored if each["role"] == "assistant"]
    said = [each for each in texts if each]
    return sent["role"] == "assistant" and spoken(sent) in (
        texts[-1],
        *(join.join(said) for join in ("", " ", "\n", "\n\n")),
    )


class TestNothingIsMatchedThatWasNotSaid:
    @QUICK
    @given(st.data())
    def test_every_matched_message_is_equal_or_an_echo_and_the_front_is_a_stored_path(self, data):
        chat, path = grown(data, texts_of)
        sent = [*meddled(copied(path, data), data), user("new")]
        match = walk(chat.tree, request(*sent).path, NOBODY)
        assert len(match.steps) == match.place.position <= len(sent)
        assert all(stands_for(one, step) for one, step in zip(sent, match.steps, strict=False))
        line = [node for step in match.steps for node in step]
        if line:
            assert match.place.node == line[-1]
            whole = path_to(chat.tree, line[-1])
            whole = whole[whole.index(line[0]) :]
            changed = match.steps.count(())
            assert [each for each in whole if each in line] == line
            assert len(whole) == len(line) + changed
            assert match.place.anchored == (whole[0].parent is None)

    @QUICK
    @given(st.data())
    def test_an_echoed_question_is_never_the_last_thing_that_is_matched(self, data):
        chat, path = grown(data, texts_of)
        sent = [*meddled(copied(path, data), data), user("new")]
        match = walk(chat.tree, request(*sent).path, NOBODY)
        for fields, step in reversed(list(zip(sent, match.steps, strict=False))):
            if fields["role"] == "assistant":
                break
            assert message(dict(fields)).digest == step[0].digest

    @QUICK
    @given(st.data())
    def test_a_look_up_and_a_walk_find_the_same_place(self, data):
        chat, path = grown(data, texts_of)
        sent = request(*meddled(copied(path, data), data), user("new"))
        found: dict[bytes, list] = {}
        for each in chat.nodes.values():
            found.setdefault(each.hash, []).append(each)
        place = settled(sent.path, found, NOBODY)
        if place is not None:
            assert walk(chat.tree, sent.path, NOBODY).place == place

    @QUICK
    @given(st.data())
    def test_what_is_stored_beside_it_and_was_not_sent_changes_no_match(self, data):
        chat, path = grown(data, texts_of)
        sent = request(*meddled(copied(path, data), data), user("new"))
        at = data.draw(st.integers(0, len(chat.tree.nodes)))
        stranger = line(user("unlike \N{SNOWMAN} all"), says("so is \N{COMET} this"))
        beside = Tree([*chat.tree.nodes[:at], *stranger, *chat.tree.nodes[at:]])
        assert walk(beside, sent.path, NOBODY) == walk(chat.tree, sent.path, NOBODY)


class TestWhatOpenWebUISendsAgainIsRecognised:
    @QUICK
    @given(st.data())
    def test_a_whole_path_is_matched_where_no_two_messages_read_alike(self, data):
        names = iter(f"text {number:03}" for number in range(1000))
        chat, path = grown(data, lambda _: next(names))
        copy = copied(path, data)
        match = walk(chat.tree, request(*copy, user("new")).path, NOBODY)
        assert match.place.position == len(copy)
        assert [json.loads(each.body) for step in match.steps for each in step] == path

    @QUICK
    @given(st.data())
    def test_a_cut_front_is_joined_where_no_two_messages_read_alike(self, data):
        names = iter(f"text {number:03}" for number in range(1000))
        chat, path = grown(data, lambda _: next(names))
        starts = [at for at, each in enumerate(path) if each["role"] == "user"]
        cut = path[data.draw(st.sampled_from(starts)) :]
        match = walk(chat.tree, request(cut[0], *copied(cut[1:], data), user("new")).path, NOBODY)
        assert match.place.anchored == (cut == path)
        assert [json.loads(each.body) for step in match.steps for each in step] == cut

    @QUICK
    @given(st.data())
    def test_an_empty_store_knows_nothing(self, data):
        _, path = grown(data, texts_of)
        assert walk(Recorded().tree, request(*path, user("new")).path, NOBODY).place == NOWHERE
