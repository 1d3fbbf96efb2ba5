"""Hostile shapes of requests: each costs what its bytes cost."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from copy import copy

import pytest

from sidecar.conversation.effort import Effort, EffortLimits
from sidecar.conversation.identity import Identity
from sidecar.conversation.reconcile import walk
from sidecar.conversation.records import Found, Thread
from sidecar.conversation.tree import Conversation, Node, Tree
from sidecar.dialects.chat.dialect import CHAT
from sidecar.dialects.chat.request import ChatRequest, parse
from sidecar.errors import BadRequest
from sidecar.exchange.call import ChatCall, Mode, brings_no_history
from sidecar.exchange.decide import decide
from sidecar.exchange.needs import Known, NeedPath, NeedSystem, NeedThreads, NeedTree, Rules
from sidecar.exchange.plan import Thin, Whole
from sidecar.prompt.rebuild import Outgoing, Reader, Restore, rebuilt
from sidecar.prompt.thin_history import remembered
from sidecar.prompt.trim import Budget, trim
from tests.conversation.build import (
    CHAIN,
    NOBODY,
    TENANT,
    calls,
    line,
    node,
    raw,
    request,
    result,
    says,
    user,
)
from tests.guard.growth import assert_linear


def test_what_is_linear_passes():
    assert_linear(lambda n: bytes(n), lambda data: data.count(b"x"), 20_000, least=0.005)


def test_what_compares_everything_with_everything_is_told():
    def compare(items: list[int]) -> None:
        for _ in items:
            sum(items)

    with pytest.raises(AssertionError, match="twice the input cost"):
        assert_linear(lambda n: [0] * n, compare, 400, least=0.001)


def _tiny(n: int) -> bytes:
    return b'{"messages":[' + b",".join([b'{"role":"user","content":"a"}'] * n) + b"]}"


def _read(body: bytes) -> ChatRequest:
    return parse(body, CHAIN, None, 1_000_000)


def test_tiny_messages_are_read():
    assert_linear(_tiny, _read, 2_000, least=0.02)


def test_far_too_many_messages_are_refused():
    def refused(body: bytes) -> None:
        with pytest.raises(BadRequest):
            parse(body, CHAIN, None, 100)

    assert_linear(lambda n: b'{"messages":[' + b"{}," * n + b"{}]}", refused, 200_000, least=0.02)


@pytest.mark.parametrize("text", ["<think>", "</think>", '<details type="reasoning">', "<details ", "\\\\"])
def test_texts_full_of_marks_are_read(text: str):
    body = b'{"messages":[{"role":"assistant","content":"%s"},{"role":"user"}]}'
    said = text.replace('"', '\\"').encode()
    assert_linear(lambda n: body % (said * n), _read, 10_000, least=0.02)


SAID = b'{"messages":[{"role":"assistant","content":"%b"},{"role":"user"}]}'


def _cost(body: bytes) -> float:
    """Seconds of processor time to read it, or to say why not."""
    begun = time.process_time()
    with suppress(BadRequest):
        parse(body, CHAIN)
    return time.process_time() - begun


def _assert_cheap(body: bytes, plain: bytes, most: float) -> None:
    """Reading `body` costs no more than `most` times as much as reading `plain`.

    Of both the best of up to twenty in turn: what else a machine does, for seconds even, only ever adds.
    """
    costs: list[tuple[float, float]] = []
    while len(costs) < 20:
        costs.append((_cost(body), _cost(plain)))
        dear, cheap = (min(each) for each in zip(*costs, strict=True))
        if len(costs) >= 3 and dear < most * cheap + 0.01:
            return
    raise AssertionError(f"{dear * 1000:.1f} ms, and {cheap * 1000:.1f} ms for as much plain text")


@pytest.mark.parametrize("end", [b"", rb"\ud800", rb"\\ud800", b"\x00"])
def test_escapes_beside_half_an_emoji_or_a_mistake_cost_little_more_than_escapes(end: bytes):
    escapes = rb"\n" * 500_000
    _assert_cheap(SAID % (escapes + end), SAID % escapes, 8)


@pytest.mark.parametrize("front", [b"<think>", b"so <think>", rb"<details type=\"reasoning\" ", b"<details "])
@pytest.mark.parametrize("text", [b"x", b" ", rb"\n"])
def test_reasoning_costs_little_more_than_other_words(front: bytes, text: bytes):
    size = 1_000_000 // len(text)
    _assert_cheap(SAID % (front + text * size), SAID % (b"x" * size * len(text)), 5)


def _free() -> Effort:
    """Without a limit: what is linear is linear by itself."""
    return Effort(EffortLimits(10**9, 10**12))


def _find(given: tuple[Tree, ChatRequest]) -> None:
    tree, asked = given
    walk(tree, asked.path, NOBODY, _free())


def test_an_answer_of_many_replies_is_found():
    def make(n: int) -> tuple[Tree, ChatRequest]:
        told = [user("q"), *(says(f"part {at}") for at in range(n))]
        joined = "".join(f"part {at}" for at in range(n))
        return Tree(line(*told)), request(user("q"), says(joined), user("new"))

    assert_linear(make, _find, 250, least=0.02)


def test_a_long_text_is_compared_with_a_long_one():
    def make(n: int) -> tuple[Tree, ChatRequest]:
        stored = line(user("a" * 2 * n), says("b"))
        return Tree(stored), request(user("a" * (n // 2) + "b" + "a" * (n // 2)), says("b"), user("new"))

    assert_linear(make, _find, 10000, least=0.02)


@pytest.mark.parametrize("same", [True, False])
def test_many_answers_to_one_question_are_looked_through(same: bool):
    def make(n: int) -> tuple[Tree, ChatRequest]:
        root = node(user("q"))
        replies = [node(says("a" if same else f"a{at}"), root, nonce=at) for at in range(n)]
        return Tree([root, *replies]), request(user("q"), says("a", x=1), user("new"))

    assert_linear(make, _find, 500, least=0.02)


def test_many_branches_are_looked_through():
    def make(n: int) -> tuple[Tree, ChatRequest]:
        nodes = [each for at in range(n) for each in line(user(f"q {at}"), says("a"))]
        return Tree(nodes), request(user("q"), says("a"), user("new"))

    assert_linear(make, _find, 500, least=0.02)


@pytest.mark.parametrize("last", ["a", "zzz"])
def test_a_history_that_says_the_same_over_and_over_takes_no_more_than_its_limit(last: str):
    """Every place fits, and from each all that follows: quadratic, up to the limit of a recognition."""

    def cost(places: int) -> float:
        nodes = line(user("r"), *[says("a")] * places, user("end"))
        asked = request(says("a"), says(last), user("z"))
        begun = time.process_time()
        walk(Tree(nodes), asked.path, NOBODY)
        return time.process_time() - begun

    # The first that is low enough will do: other work only adds.
    grown = (cost(6_000) / cost(3_000) for _ in range(4))
    assert any(each < 2.5 for each in grown), "without a limit it would be four times as much"


def _cut(given: tuple[list[Outgoing], int]) -> None:
    made, tokens = given
    budget = Budget(max_messages=len(made) // 2, max_turns=len(made) // 2, max_input_tokens=tokens)
    trim(list(map(copy, made)), budget)


def _turn_of_calls(n: int) -> list[Outgoing]:
    told = [each for at in range(n) for each in (calls(f"c{at}"), result(f"c{at}", "r" * 300))]
    return [Outgoing(each["role"], raw(each)) for each in (user("go"), *told)]


def _late_results(n: int) -> list[Outgoing]:
    told = [each for at in range(n) for each in (calls(f"c{at}"), user("u"), result(f"c{at}"))]
    return [Outgoing(each["role"], raw(each)) for each in (user("go"), *told, user("end"))]


def _calls_at_once(n: int) -> list[Outgoing]:
    told = [calls(*(f"c{at}" for at in range(n))), *(result(f"c{at}", "r" * 300) for at in range(n))]
    return [
        Outgoing(each["role"], raw(each)) for each in (user("go"), *told, user("u"), says("x"), user("end"))
    ]


@pytest.mark.parametrize("shape", [_turn_of_calls, _late_results, _calls_at_once])
@pytest.mark.parametrize("tokens", [10, 1_000])
def test_turns_of_many_calls_are_cut(shape: Callable[[int], list[Outgoing]], tokens: int):
    assert_linear(lambda n: (shape(n), tokens), _cut, 100, least=0.02)


def test_stored_calls_are_paired_with_their_results():
    def make(n: int) -> list[Node]:
        return line(*(each for at in range(n) for each in (calls(f"c{at}"), result(f"c{at}"))))

    assert_linear(make, lambda nodes: remembered(nodes, (), Restore(), Reader("m", b"[]")), 150, least=0.02)


TOOLS = b'[{"type":"function","function":{"name":"look"}}]'


def test_a_chat_is_read_found_rebuilt_and_cut():
    def make(n: int) -> tuple[bytes, Tree]:
        told = [
            each for at in range(n) for each in (user(f"q{at}"), calls(f"c{at}"), result(f"c{at}"), says("a"))
        ]
        sent = [each for at in range(n) for each in (user(f"q{at}"), says("a"))]
        return raw({"messages": [*sent, user("new")]}), Tree(line(*told))

    def run(given: tuple[bytes, Tree]) -> None:
        body, tree = given
        asked = parse(body, CHAIN)
        found = walk(tree, asked.path, NOBODY)
        assert len(found.steps) + 1 == len(asked.path)
        line = rebuilt(asked.path.messages, found.steps, Restore(), Reader(None, TOOLS))
        trim(line, Budget(max_input_tokens=500))

    assert_linear(make, run, 50, least=0.02)


def _decided(given: tuple[Tree, ChatCall, list[Thread]]) -> None:
    tree, asked, threads = given
    conversation = Conversation("conv_1", b"t" * 16, "a", 1.0, 1.0)
    decision = decide(
        asked, Known(Found(conversation), conversation), Rules(effort=EffortLimits(10**9, 10**12))
    )
    while not isinstance(decision, Whole | Thin):
        match decision:
            case NeedThreads(given_):
                decision = given_(threads)
            case NeedTree(given_):
                decision = given_(tree)
            case NeedPath(_, given_):
                decision = given_(tree.nodes)
            case NeedSystem(given_):
                decision = given_(None)


def _asks(*messages: dict[str, object], mode: Mode = "auto") -> ChatCall:
    asked, identity = request(*messages, model="m"), Identity(TENANT, "a")
    return ChatCall(identity, CHAT, CHAIN, asked, mode, "conv_1", brings_no_history(identity, asked, mode))


def _many_open_calls(n: int) -> tuple[Tree, ChatCall, list[Thread]]:
    nodes = line(user("go"), *(calls("c1") for _ in range(n)))
    return Tree(nodes), _asks(result("c1"), result("c2")), [Thread(nodes[0].id, nodes[-1].id, is_thin=True)]


def _the_same_again_and_again(n: int) -> tuple[Tree, ChatCall, list[Thread]]:
    nodes = line(user("go"), *([user("a")] * (2 * n)))
    asked = _asks(*([user("a")] * n), user("b"), *([user("a")] * n), mode="append")
    return Tree(nodes), asked, [Thread(nodes[0].id, nodes[-1].id, is_thin=True)]


@pytest.mark.parametrize("make", [_many_open_calls, _the_same_again_and_again])
def test_what_a_request_is_gets_decided(make: Callable[[int], tuple[Tree, ChatCall, list[Thread]]]):
    assert_linear(make, _decided, 150, least=0.02)
