"""Which answers to the question for models tell a window; how they are asked for is in test_budget.py."""

from __future__ import annotations

import asyncio

import pytest
from aiohttp import ClientConnectionError
from aioresponses import aioresponses

from sidecar.background import model_windows as windows
from sidecar.metrics import Metrics
from sidecar.settings import Settings
from sidecar.upstream.targets import targets_of

TOLD = {"data": [{"id": "m", "max_model_len": 8000}]}


async def window(**answer) -> int | None:
    """What is known of the model once every list of models was answered so."""
    settings = Settings(upstream="http://backend.test/v1")
    targets = targets_of(settings, Metrics())
    asked = []

    def spawn(work):
        asked.append(asyncio.create_task(work))
        return asked[-1]

    known = windows.ModelWindows(settings, targets.default, spawn)
    with aioresponses() as backend:
        for path in ("/v1/models", "/api/v0/models", "/api/ps", "/model/info"):
            backend.get(f"http://backend.test{path}", **answer)
        backend.post("http://backend.test/api/show", **answer)
        known.look("m", b"a", {"Authorization": "Bearer sk-1"})
        await asyncio.gather(*asked)
        assert backend.requests
        (first, *_), *_ = backend.requests.values()
        assert first.kwargs["headers"]["Authorization"] == "Bearer sk-1"
    await targets.close()
    return known.of("m", b"a")


async def test_a_list_of_models_tells_the_window():
    assert await window(payload=TOLD) == 8000


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 401, "payload": TOLD},
        {"status": 302, "headers": {"Location": "http://other.test/"}, "payload": TOLD},
        {"status": 500, "body": "no"},
        {"body": b"\xff not JSON"},
        {"body": b"[" * 100_000},
        {"payload": {**TOLD, "more": "x" * windows._MAX_LIST_SIZE}},
        {"exception": ClientConnectionError("gone")},
        {"exception": TimeoutError()},
    ],
    ids=["refused", "redirect", "error", "no text", "deep", "too long", "gone", "silent"],
)
async def test_any_other_answer_tells_nothing(answer):
    assert await window(**answer) is None


async def test_that_windows_are_listed_is_said_once_for_all_credentials_that_are_told_the_same(caplog):
    caplog.set_level("INFO", "sidecar")
    targets = targets_of(Settings(upstream="http://backend.test/v1"), Metrics())
    asked: list[asyncio.Task[None]] = []

    def spawn(work):
        asked.append(asyncio.create_task(work))
        return asked[-1]

    known = windows.ModelWindows(Settings(), targets.default, spawn)
    with aioresponses() as backend:
        for credential, told in (
            (b"a", TOLD),
            (b"b", TOLD),
            (b"c", {"data": [{"id": "m", "max_model_len": 9000}]}),
        ):
            backend.get("http://backend.test/v1/models", payload=told)
            known.look("m", credential, {})
            await asked[-1]
    await targets.close()
    assert [known.of("m", each) for each in (b"a", b"b", b"c")] == [8000, 8000, 9000]
    assert caplog.messages.count("the upstream lists context windows") == 2
