"""What one key was told of a model's window is nobody else's, and takes no more room than it may."""

from __future__ import annotations

import json
from functools import partial

import pytest

from sidecar.background import known_windows
from sidecar.background.known_windows import KnownWindows
from sidecar.prompt.model_lists import SMALLEST_WINDOW, Window
from tests.proxy.client import Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream, says, sends
from tests.proxy.path.test_budget import turns

ASKING = {"trim": {"window_refresh": 3600}}


def models(window: int) -> bytes:
    return json.dumps({"data": [{"id": "m", "max_model_len": window}]}).encode()


def tells(upstream: Upstream, lists: dict[str, bytes]) -> None:
    """A list of models for each key; none but these keys are known."""

    async def answer(exchange: Exchange) -> None:
        key = exchange.request.headers.get("Authorization", "")
        if key not in lists:
            await sends(b"{}", status=401)(exchange)
        elif exchange.request.method == "GET":
            await sends(lists[key])(exchange)
        else:
            await says("ok")(exchange)

    upstream.otherwise = answer


async def sent(sidecar: Sidecar, upstream: Upstream, key: str) -> int:
    """How many of 41 messages go upstream."""
    await sidecar.ask(*turns(21), headers={"Authorization": key})
    return len([each for each in upstream.requests if each.method == "POST"][-1].json["messages"])


def lists(upstream: Upstream) -> list[str]:
    return [each.headers["Authorization"] for each in upstream.requests if each.method == "GET"]


def in_list(upstream: Upstream, key: str) -> bool:
    return key in lists(upstream)


async def test_the_list_of_one_key_cuts_no_chat_of_another(start: Start, upstream: Upstream):
    sidecar = await start(**ASKING)
    tells(upstream, {"small": models(1000), "large": models(100_000)})
    for key in ("small", "large", "small"):
        await sent(sidecar, upstream, key)
        await eventually(partial(in_list, upstream, key))
    assert await sent(sidecar, upstream, "large") == 41
    assert await sent(sidecar, upstream, "small") < 41
    assert sorted(lists(upstream)) == ["large", "small"]


async def test_nor_does_the_list_of_one_user_need_be_asked_for_again_for_the_next(
    start: Start, upstream: Upstream
):
    sidecar = await start(**ASKING)
    tells(upstream, {"small": models(1000)})
    for user in ("ada", "bob"):
        await sidecar.ask(*turns(21), headers={"Authorization": "small", "X-User-ID": user})
        await eventually(lambda: lists(upstream))
    assert len(upstream.last.json["messages"]) < 41
    assert lists(upstream) == ["small"]


async def test_a_key_that_the_upstream_does_not_take_asks_for_nothing(start: Start, upstream: Upstream):
    sidecar = await start(**ASKING)
    tells(upstream, {"small": models(1000)})
    for at in range(5):
        await sent(sidecar, upstream, f"made up {at}")
    await sent(sidecar, upstream, "small")
    await eventually(lambda: lists(upstream))
    assert lists(upstream) == ["small"]


async def test_a_refusal_under_one_key_cuts_no_chat_of_another(start: Start, upstream: Upstream):
    refusal = {
        "error": {
            "message": "This model's maximum context length is 1000 tokens. However, your messages resulted"
            " in 5000 tokens. Please reduce the length of the messages.",
            "type": "invalid_request_error",
            "code": "context_length_exceeded",
        }
    }
    sidecar = await start()
    upstream.will(sends(json.dumps(refusal).encode(), status=400))
    reply = await sidecar.ask(*turns(41), headers={"Authorization": "small"})
    assert reply.headers["X-Sidecar-Healed"] == "1"
    assert await sent(sidecar, upstream, "large") == 41
    assert await sent(sidecar, upstream, "small") < 41


def test_lists_that_are_alike_are_held_once_and_the_oldest_go(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known_windows, "_MAX_LISTS_SIZE", 400)
    known = KnownWindows()
    for key in (b"a", b"b"):
        known.asking(key, 0.0)
        known.hold(key, {"m": Window(1000, by_engine=True)})
    assert known.listed(b"a") is known.listed(b"b")
    known.asking(b"c", 1.0)
    three = {name: Window(at, by_engine=True) for at, name in enumerate("mno")}
    known.hold(b"c", three)
    assert (known.listed(b"a"), known.asked_at(b"b")) == ({}, None)
    assert known.listed(b"c") == three
    known.hold(b"a", three)  # it took too long
    assert known.listed(b"a") == {}


def test_keys_and_models_without_end_are_forgotten(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(known_windows, "_MAX_LISTS", 2)
    monkeypatch.setattr(known_windows, "_MAX_LEARNED", 2)
    known = KnownWindows()
    for at, key in enumerate((b"a", b"b", b"c")):
        known.asking(key, float(at))
        known.learn(key, "m", SMALLEST_WINDOW, float(at))
    assert [known.asked_at(each) for each in (b"a", b"b", b"c")] == [None, 1.0, 2.0]
    assert [known.learned(each, "m") for each in (b"a", b"c")] == [None, (SMALLEST_WINDOW, 2.0)]
    known.learn(b"c", "x" * 300, SMALLEST_WINDOW, 3.0)
    assert known.learned(b"c", "x" * 300) is None
