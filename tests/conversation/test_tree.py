"""The tree of a conversation: what names a path, and what tells its nodes apart."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar.conversation.tree import HASH_SIZE, ID_SIZE, Chain, LongMessages, Node, Tree
from tests.conversation.build import (
    CHAIN,
    Recorded,
    calls,
    line,
    message,
    node,
    path_to,
    raw,
    request,
    result,
    says,
    user,
)

TALK = [user("hi"), says(" hello"), user("more"), calls("c"), result("c"), says("bye")]

HASHES = [
    "6a7b3ebea41236596a3c5c0fd97addb8",
    "9a4469a14aebf05b7252dfeda86b5d03",
    "e39a94afda8a0df57cadcb1638717ff1",
    "bea7abb227f94626cfda74f2ba4901a6",
    "1ba87ff5d03db96db6e17ff61c3eee58",
    "1c59410af5a8b88f61183d77d0372036",
]
EXACTS = [
    "",
    "42b1b9f72b3962dcb3c562166faa2eac",
    "42b1b9f72b3962dcb3c562166faa2eac",
    "d15ac209b614043948eefcdcaea28ae1",
    "5bdc60aea7960e767e27f70f5648a041",
    "2821769675c20f45c68bc2d5d0b570ab",
]
IDS = (
    "6a7b3ebea41236596a3c5c0fd97addb8ea5e6730a6ae6c85",
    "69fcbf636bc5879c7aa45d4e04ab9f985ed45b2085e3b298",
)
REPLY_ID = "181c8d18a8c0afea3b781b66735c23c80000000000000001"


def path_of(*messages, chain=CHAIN):
    return chain.path(chain.message(raw(each)) for each in messages)


class TestTheContract:
    def test_the_hashes_of_a_path_are_pinned(self):
        assert [hash.hex() for hash in path_of(*TALK).hashes] == HASHES

    def test_the_exact_hashes_of_a_path_are_pinned(self):
        assert [hash.hex() for hash in path_of(*TALK).exacts] == EXACTS

    def test_ids_are_pinned(self):
        root = node(user("hi"))
        assert (root.id.hex(), node(user("more"), root).id.hex()) == IDS
        assert node(says("x"), root, nonce=1).id.hex() == REPLY_ID

    def test_sizes_are_pinned(self):
        root = node(user("hi"))
        assert (HASH_SIZE, len(root.hash), ID_SIZE, len(root.id)) == (16, 16, 24, 24)


class TestMessages:
    def test_a_message_keeps_its_bytes(self):
        assert CHAIN.message(b'{"role":"user", "content":"hi"}').raw == b'{"role":"user", "content":"hi"}'

    @pytest.mark.parametrize("role", [None, 3, ["user"]])
    def test_a_role_that_is_no_text_is_no_role(self, role):
        assert message({"role": role, "content": "hi"}).role == ""

    @pytest.mark.parametrize("role", ["user", "system", "developer"])
    def test_only_what_was_spoken_is_ever_restored(self, role):
        assert message({"role": role, "content": "hi"}).exact is None

    @pytest.mark.parametrize("role", ["assistant", "tool", "function"])
    def test_the_exact_digest_is_the_digest_where_the_two_forms_are_one(self, role):
        plain, padded = (message({"role": role, "content": text}) for text in ("hi", "hi "))
        assert plain.exact == plain.digest == padded.digest != padded.exact


class TestHashes:
    def test_a_hash_covers_the_parent(self):
        one, other = path_of(user("a"), user("c")), path_of(user("b"), user("c"))
        assert one.messages[1].digest == other.messages[1].digest
        assert one.hashes[1] != other.hashes[1]

    def test_two_tenants_share_no_hash(self):
        other = path_of(*TALK, chain=Chain(b"other"))
        assert not set(path_of(*TALK).hashes) & set(other.hashes)

    def test_a_path_that_reads_the_same_has_the_same_exact_hash(self):
        spelt = [user("hi", name=""), *TALK[1:]]
        assert path_of(*spelt).exacts == path_of(*TALK).exacts

    @pytest.mark.parametrize(
        "other", [[user("hi"), says("hello")], [user("hi"), says(" hello"), user(""), says("")]]
    )
    def test_white_space_of_an_answer_changes_the_exact_hash(self, other):
        assert path_of(*other).exacts[-1] != path_of(*TALK[:2]).exacts[-1]

    def test_what_users_say_leaves_the_exact_hash(self):
        assert path_of(says("a"), user("b")).exacts[0] == path_of(says("a"), user("c")).exacts[1]

    def test_the_empty_path_has_no_hashes(self):
        assert (len(path_of()), path_of().hashes) == (0, ())


class TestIds:
    def test_the_same_message_twice_under_one_parent_is_one_node(self):
        root = node(says("hi"), nonce=1)
        assert node(user("a"), root) == node(user("a"), root)

    def test_a_reply_twice_is_two_siblings_that_read_alike(self):
        root = node(user("hi"))
        one, other = node(says("a"), root, nonce=1), node(says("a"), root, nonce=2)
        assert (one.hash, one.parent) == (other.hash, other.parent)
        assert one.id != other.id

    def test_the_same_question_after_either_of_two_equal_replies_is_two_nodes(self):
        root = node(user("hi"))
        one, other = (node(user("b"), node(says("a"), root, nonce=nonce)) for nonce in (1, 2))
        assert one.hash == other.hash
        assert one.id != other.id


class TestTree:
    def test_children_are_oldest_first_and_roots_are_those_of_nothing(self):
        root, answer = line(user("hi"), says("a"))
        again = node(says("b"), root, nonce=9)
        tree = Tree([root, answer, again])
        assert (list(tree.children(None)), list(tree.children(root))) == ([root], [answer, again])
        assert list(tree.children(answer)) == []

    def test_a_node_whose_parent_is_not_there_is_a_root(self):
        nodes = line(*TALK)[2:]
        assert list(Tree(nodes).children(None)) == [nodes[0]]

    def test_a_later_node_ranks_higher(self):
        nodes = line(*TALK)
        assert [Tree(nodes).rank(each) for each in (None, *nodes)] == [-1, 0, 1, 2, 3, 4, 5]

    def test_a_line_goes_from_the_root_to_a_node_that_is_there(self):
        nodes = line(*TALK)
        assert Tree(nodes).line(nodes[3].id) == nodes[:4]
        assert Tree(nodes).line(b"gone") == []


QUESTIONS = st.sampled_from([user("hi"), user("more"), user(""), user(" hi "), result("c")])
ANSWERS = st.sampled_from([says("a"), says(" a\n"), says("b"), calls("c"), says(None)])
PATHS = st.lists(QUESTIONS | ANSWERS, min_size=1, max_size=8)


class TestMessageByMessage:
    @given(PATHS, st.data())
    def test_a_clients_path_fed_bit_by_bit_or_at_once_is_the_same_tree(self, path, data):
        path = [each if each["role"] != "assistant" else {**each, "role": "user"} for each in path]
        bitwise, at_once = Recorded(), Recorded()
        for end in sorted({*data.draw(st.lists(st.integers(1, len(path)))), len(path)}):
            bitwise.tell(request(*path[:end]))
        at_once.tell(request(*path))
        assert list(bitwise.nodes.values()) == list(at_once.nodes.values())

    @given(st.lists(st.tuples(st.lists(QUESTIONS, min_size=1, max_size=3), ANSWERS), min_size=1, max_size=5))
    def test_a_chat_by_turns_reads_like_the_same_chat_told_at_once(self, turns):
        by_turns, at_once = Recorded(), Recorded()
        told = []
        for asked, answer in turns:
            told += asked
            (tip,) = by_turns.tell(request(*told), answer)
            told.append(answer)
        at_once.tell(request(*told, user("end")))
        one, other = list(by_turns.nodes.values()), list(at_once.nodes.values())[:-1]
        assert [each.hash for each in one] == [each.hash for each in other]
        assert [(each.body, each.exact) for each in one] == [(each.body, each.exact) for each in other]
        assert path_to(by_turns.tree, tip) == tuple(one)

    @settings(max_examples=50)
    @given(PATHS)
    def test_a_request_told_twice_adds_nothing(self, path):
        recorded = Recorded()
        recorded.tell(request(*path, user("end")))
        before = dict(recorded.nodes)
        recorded.tell(request(*path, user("end")))
        assert recorded.nodes == before


class TestFieldsOfANode:
    NODE = Node(
        b"n" * ID_SIZE, None, b"d", b"e", "user", b'{"role":"user","content":"hi"}', "client", "complete", 1.0
    )

    def test_they_are_read_once(self):
        assert self.NODE.fields == {"role": "user", "content": "hi"}
        assert self.NODE.fields is self.NODE.fields

    def test_a_copy_with_another_body_tells_what_is_in_that(self):
        assert self.NODE.fields["content"] == "hi"
        assert msgspec.structs.replace(self.NODE, body=b'{"content":"bye"}').fields == {"content": "bye"}

    def test_a_node_that_was_read_equals_one_that_was_not(self):
        read, unread = msgspec.structs.replace(self.NODE), msgspec.structs.replace(self.NODE)
        assert read.fields
        assert read == unread
        assert (read != unread) is False
        assert hash(read) == hash(unread)
        assert read != msgspec.structs.replace(self.NODE, body=b"{}")
        assert read != "a node"

    def test_a_body_that_is_no_message_raises(self):
        with pytest.raises(ValueError, match="not an object"):
            _ = msgspec.structs.replace(self.NODE, body=b"[]").fields


class TestLongMessages:
    SAID = raw(says("a" * (300 << 10)))

    def test_what_is_in_one_is_read_when_it_is_asked_for_and_all_else_is_as_of_any_other(self):
        long, same = CHAIN.new_message(self.SAID), CHAIN.message(self.SAID)
        assert long.is_long
        assert not same.is_long
        assert (long.role, long.digest, long.exact) == (same.role, same.digest, same.exact)
        assert (long.fields, long.measure) == (same.fields, same.measure)

    def test_one_that_is_known_by_its_bytes_is_not_read_again_and_another_tenants_is(self, monkeypatch):
        known = LongMessages(most=2)
        first = Chain(b"one", known).new_message(self.SAID)
        with monkeypatch.context() as patch:
            patch.setattr("sidecar.conversation.message.read", None)
            assert Chain(b"one", known).new_message(self.SAID) == first
        other = Chain(b"two", known).new_message(self.SAID)
        assert other.digest == Chain(b"two").message(self.SAID).digest != first.digest

    def test_only_the_latest_are_known(self, monkeypatch):
        known = LongMessages(most=2)
        said = [raw(says(str(number) * (300 << 10))) for number in range(3)]
        chain = Chain(b"one", known)
        messages = [chain.new_message(each) for each in said]
        with monkeypatch.context() as patch:
            patch.setattr("sidecar.conversation.message.read", None)
            assert [chain.new_message(each) for each in said[1:]] == messages[1:]
            with pytest.raises(TypeError):
                chain.new_message(said[0])

    def test_one_that_is_nested_too_deep_is_refused_each_time(self):
        deep = b'{"role":"user","x":' + b"[" * 300 + b"]" * 300 + b',"content":"' + b"a" * (300 << 10) + b'"}'
        chain = Chain(b"one", LongMessages())
        for _ in range(2):
            with pytest.raises(ValueError, match="nested too deep"):
                chain.new_message(deep)
