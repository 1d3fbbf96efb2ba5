"""The last request of each conversation is held, as far as there is room."""

from __future__ import annotations

from sidecar.conversation.history import Chain
from sidecar.conversation.request import ChatRequest, parse
from sidecar.proxy.recent import Recent
from tests.proxy.client import Sidecar


def request(text: str = "hi") -> ChatRequest:
    return parse(b'{"messages":[{"role":"user","content":"%s"}]}' % text.encode(), Chain(b"tenant"))


def test_the_last_request_of_a_conversation_is_held():
    recent, first, second = Recent(1000), request("first"), request("second")
    recent.keep("a", first)
    recent.keep("a", second)
    assert recent.last("a") is second


def test_a_request_that_names_no_conversation_is_not_held():
    recent = Recent(1000)
    recent.keep(None, request())
    assert recent.last(None) is None


def test_the_conversation_that_was_longest_silent_goes_first():
    size = len(request().body)
    recent = Recent(2 * size)
    for name in ("a", "b", "a", "c"):
        recent.keep(name, request())
    assert [recent.last(name) is not None for name in "abc"] == [True, False, True]


def test_room_is_counted_in_bytes_however_often_a_conversation_comes():
    size = len(request().body)
    recent = Recent(2 * size)
    for _ in range(5):
        recent.keep("a", request())
    recent.keep("b", request())
    assert recent.last("a") is not None
    recent.keep("big", request("x" * 2 * size))
    assert [recent.last(name) for name in ("a", "b", "big")] == [None, None, None]


async def test_the_same_id_of_another_tenant_is_another_conversation_here_too(sidecar: Sidecar):
    await sidecar.ask("hi", "ok", "and?", id="a", headers={"Authorization": "Bearer 1"})
    reply = await sidecar.ask("hi", "ok", "and?", id="a", headers={"Authorization": "Bearer 2"})
    assert reply.outcome == "start"
