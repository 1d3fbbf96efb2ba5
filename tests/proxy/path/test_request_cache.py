"""The last request of each conversation is held, as far as there is room."""

from __future__ import annotations

import gc
import tracemalloc

import pytest

from sidecar.conversation.tree import Chain
from sidecar.dialects.chat.request import ChatRequest, parse
from sidecar.exchange.outcome import Counted
from sidecar.exchange.prompt import Prompt
from sidecar.proxy.request_cache import RequestCache
from tests.proxy.client import Sidecar


def request(text: str = "hi") -> ChatRequest:
    return parse(b'{"messages":[{"role":"user","content":"%s"}]}' % text.encode(), Chain(b"tenant"))


def test_the_last_request_of_a_conversation_is_held():
    recent, first, second = RequestCache(10_000), request("first"), request("second")
    recent.keep("a", first)
    recent.keep("a", second)
    assert recent.last("a") is second


def test_a_request_that_names_no_conversation_is_not_held():
    recent = RequestCache(10_000)
    recent.keep(None, request())
    assert recent.last(None) is None


def test_the_conversation_that_was_longest_silent_goes_first():
    size = request().weight
    recent = RequestCache(2 * size)
    for name in ("a", "b", "a", "c"):
        recent.keep(name, request())
    assert [recent.last(name) is not None for name in "abc"] == [True, False, True]


@pytest.mark.parametrize(("size", "held"), [(1, [False, True, True]), (9 << 20, [False, False, True])])
def test_what_was_silent_for_ten_minutes_goes_or_two_while_all_take_much(size, held):
    now = 0.0
    recent = RequestCache(64 << 20, lambda: now)
    for name, at in (("a", 0.0), ("b", 400.0), ("c", 501.0)):
        now = at
        recent.keep(name, request("x" * size))
    now = 601.0
    recent.forget_silent()
    assert [recent.last(name) is not None for name in "abc"] == held
    now = 1200.0
    recent.forget_silent()
    assert [recent.last(name) for name in "abc"] == [None, None, None]


def test_room_is_counted_in_memory_however_often_a_conversation_comes():
    size = request().weight
    recent = RequestCache(2 * size)
    for _ in range(5):
        recent.keep("a", request())
    recent.keep("b", request())
    assert recent.last("a") is not None
    recent.keep("c", request())
    assert [recent.last(name) is not None for name in "abc"] == [False, True, True]


def test_what_is_too_large_to_be_held_drives_nobody_out():
    size = request().weight
    recent = RequestCache(2 * size)
    recent.keep("a", request())
    recent.keep("b", request())
    recent.keep("a", request("x" * 2 * size))
    assert [recent.last(name) is not None for name in "ab"] == [False, True]
    recent.keep("c", request())
    assert recent.last("b") is not None


def test_tiny_messages_and_deep_ones_weigh_what_they_take_in_memory():
    def weight_of(body: bytes) -> int:
        gc.collect()
        tracemalloc.start()
        try:
            asked = parse(body, Chain(b"tenant"))
            gc.collect()
            return tracemalloc.get_traced_memory()[0] + len(asked.body)
        finally:
            tracemalloc.stop()

    tiny = b'{"messages":[' + b",".join([b'{"role":"user","content":"%d"}' % at for at in range(500)]) + b"]}"
    nested = b'{"messages":[{"role":"user","content":[' + b",".join([b'{"a":[]}'] * 5000) + b"]}]}"
    long = b'{"messages":[{"role":"user","content":"' + b"x" * 1_000_000 + b'"}]}'
    for body in (tiny, nested, long):
        weight, taken = parse(body, Chain(b"tenant")).weight, weight_of(body)
        assert 0.8 * taken < weight < 4 * taken


async def test_the_same_id_of_another_tenant_is_another_conversation_here_too(sidecar: Sidecar):
    await sidecar.ask("hi", "ok", "and?", id="a", headers={"Authorization": "Bearer 1"})
    reply = await sidecar.ask("hi", "ok", "and?", id="a", headers={"Authorization": "Bearer 2"})
    assert reply.outcome == "start"


def test_a_prompt_for_a_model_that_cannot_be_is_not_held():
    recent = RequestCache(1 << 20)
    request = parse(b'{"model":"m","messages":[]}', Chain(b"tenant"))
    recent.went("a", request, Prompt(model="m" * 100_000))
    assert recent.prompt("a") is None
    recent.went("a", request, Prompt(model="m"))
    assert recent.prompt("a") == Prompt(model="m")


def test_a_request_for_a_model_that_cannot_be_is_not_held():
    recent = RequestCache(10_000_000)
    recent.keep("a", parse(b'{"model":"%b","messages":[]}' % (b"m" * 100_000), Chain(b"tenant")))
    assert recent.last("a") is None


def test_what_was_counted_is_held_with_its_prompt_and_with_no_other():
    recent, one, two = RequestCache(1 << 20), Prompt(model="m"), Prompt(model="m")
    request = parse(b'{"model":"m","messages":[]}', Chain(b"tenant"))
    assert recent.counted("a") is None
    recent.count("a", one, Counted("default", "m", 7))
    assert recent.counted("a") is None, "nothing of it is held"
    recent.went("a", request, one)
    recent.count("a", two, Counted("default", "m", 8))
    assert recent.counted("a") is None
    recent.count("a", one, Counted("default", "m", 9))
    assert recent.counted("a") == Counted("default", "m", 9)
    recent.went("a", request, two)
    assert recent.counted("a") is None
