"""What `sidecar check` says of an upstream, asked over real sockets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from yarl import URL

from sidecar.commands import check
from sidecar.doctor.backends import demands, known_backend, known_by_probe
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.settings.session_profiles import NONE, PROFILES
from tests.proxy.mock_upstream import Exchange, Upstream, sends

HERE = URL("http://127.0.0.1:1/v1")


@pytest.fixture
async def upstream():
    server = Upstream()
    await server.start()
    yield server
    await server.stop()


def listed(*models: dict[str, Any]) -> bytes:
    return json.dumps({"object": "list", "data": list(models)}).encode()


def serves(answers: dict[str, tuple[int, dict[str, str], bytes]]):
    """Answers at these paths, and 404 elsewhere."""

    async def answer(exchange: Exchange) -> None:
        status, headers, body = answers.get(exchange.request.target, (404, {}, b"{}"))
        await sends(body, status=status, headers={"Content-Type": "application/json", **headers})(exchange)

    return answer


async def said(
    capsys: pytest.CaptureFixture[str], upstream: Upstream, code: int = 0, **settings: Any
) -> dict[str, str]:
    """Its lines by what they are about; what is indented belongs to the line before."""
    given = {"upstream": upstream.url, "store": "memory:", **settings}
    assert await check.run(Settings.model_validate(given)) == code
    lines = capsys.readouterr().out.replace("\n  ", " ").splitlines()
    return {line.split()[0]: line for line in lines}


async def test_an_engine_is_told_with_its_window(capsys, upstream: Upstream):
    model = {"id": "qwen", "owned_by": "llamacpp", "meta": {"n_ctx": 8192}}
    upstream.otherwise = serves({"/v1/models": (200, {"Server": "llama.cpp"}, listed(model))})
    told = await said(capsys, upstream)
    assert told["what"] == "what it is   llama.cpp, by its answer"
    assert told["models"].endswith("qwen")
    assert "qwen 8,192 tokens" in told["window"]
    assert told["reasoning"] == "reasoning    none of its models is known to demand any back"
    assert told["session"] == "session      it is not known to take any; sent: X-Conversation-ID"
    assert {each.method for each in upstream.requests} == {"GET"}  # no model was asked


async def test_a_window_of_a_catalogue_is_told_with_what_it_is_good_for(capsys, upstream: Upstream):
    models = {"id": "a/b", "context_length": 131072}, {"id": "c/d", "context_length": 8192}
    upstream.otherwise = serves({"/v1/models": (200, {}, listed(*models))})
    told = (await said(capsys, upstream))["window"]
    assert "a/b 131,072 tokens (a catalogue's), c/d 8,192 tokens (a catalogue's)" in told
    assert "Nothing is cut by it: set trim.models" in told


@pytest.mark.parametrize(
    ("session", "tells"),
    [
        ({}, 'by itself it does not): set session.profile = "litellm"'),
        ({"profile": NONE}, 'session.profile is none): set session.profile = "litellm"'),
        ({"profile": "litellm"}, "The sidecar sends it."),
        ({"headers": ["x-litellm-session-id"]}, "The sidecar sends it, as session.headers says."),
    ],
)
async def test_which_session_header_it_takes_and_whether_it_gets_that(
    capsys,
    upstream: Upstream,
    session: dict[str, Any],
    tells: str,
):
    answer: tuple[int, dict[str, str], bytes] = (200, {}, listed({"id": "m", "owned_by": "openai"}))
    deployed = {"model_name": "m", "litellm_params": {"model": "openai/m"}, "model_info": {}}
    upstream.otherwise = serves({"/v1/models": answer, "/model/info": (200, {}, listed(deployed))})
    told = await said(capsys, upstream, session=session)
    assert told["what"] == "what it is   LiteLLM, by its answer to /model/info"
    assert told["session"].startswith("session      takes `X-LiteLLM-Session-Id`: ")
    assert PROFILES["litellm"].source in told["session"]
    assert tells in told["session"]


async def test_a_field_of_the_body_is_told_as_well(capsys, upstream: Upstream):
    upstream.otherwise = serves({"http://api.openai.com/v1/models": (200, {}, listed({"id": "m"}))})
    proxy = {"proxy": f"http://127.0.0.1:{upstream.port}"}
    about = {"target": proxy, "session": {"body_field": "prompt_cache_key"}}
    given = Settings.model_validate({"upstream": "http://api.openai.com/v1", "store": "memory:", **about})
    assert await check.run(given) == 0
    told = capsys.readouterr().out
    assert "takes `prompt_cache_key` in the body: " in told
    assert "The sidecar sends it, as session.body_field says." in told


async def test_vllms_router_is_known_by_its_workers(capsys, upstream: Upstream):
    model = {"id": "m", "owned_by": "vllm", "max_model_len": 4096}
    workers: tuple[int, dict[str, str], bytes] = (200, {}, b'{"urls": ["http://10.0.0.1:8000"]}')
    upstream.otherwise = serves({"/v1/models": (200, {}, listed(model)), "/list_workers": workers})
    told = await said(capsys, upstream)
    assert "vLLM router" in told["what"]
    assert "takes `X-Session-ID`" in told["session"]


async def test_what_demands_reasoning_is_named(capsys, upstream: Upstream):
    models = [{"id": name} for name in ("deepseek-v4-pro", "moonshotai/kimi-k2.5", "qwen3")]
    upstream.otherwise = serves({"/v1/models": (200, {}, listed(*models))})
    told = await said(capsys, upstream)
    assert "deepseek-v4-pro, moonshotai/kimi-k2.5: demands reasoning_content back" in told["reasoning"]
    assert "trim.models" in told["window"]


async def test_a_key_that_is_missing_is_told_with_its_cure(
    capsys,
    upstream: Upstream,
):
    upstream.otherwise = serves({"/v1/models": (401, {}, b'{"error": {"message": "no key"}}')})
    assert "SIDECAR_TARGET__API_KEY" in (await said(capsys, upstream, code=1))[upstream.url]
    upstream.otherwise = serves({})
    told = await said(capsys, upstream, code=1)
    assert "may work all the same" in told[upstream.url]
    assert "models" not in told


async def test_one_that_is_not_there_is_an_error_and_the_demo_is_told(capsys):
    with pytest.raises(SidecarError, match="it refuses connections"):
        await check.run(Settings.model_validate({"upstream": str(HERE), "store": "memory:"}))
    assert await check.run(Settings()) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert told.startswith("No upstream is set in the settings that this command reads")
    assert "A running sidecar was not asked." in told
    assert told.endswith("`sidecar check --upstream URL`.")


@pytest.mark.parametrize(
    ("headers", "owner", "title"),
    [
        ({"Server": "llama.cpp"}, "", "llama.cpp"),
        ({}, "vllm", "vLLM"),
        ({}, "sglang", "SGLang"),
        ({}, "library", "Ollama"),
        ({"Server": "nginx"}, "somebody", ""),
    ],
)
def test_an_engine_is_known_by_what_it_says_of_itself(headers: dict[str, str], owner: str, title: str):
    assert known_backend(HERE, headers, listed({"id": "m", "owned_by": owner})).title == title


def test_an_address_says_more_than_an_answer():
    assert known_backend(URL("https://openrouter.ai/api/v1"), {}, b"").profile == "openrouter"
    assert demands(["gemini-3-pro", "gpt-5"]) == {"extra_content (a thought signature)": ["gemini-3-pro"]}
    assert known_by_probe("/list_workers", b"[]") is None
    assert known_by_probe("/model/info", b"<html>") is None
    assert known_by_probe("/model/info", listed({"id": "m"})) is None


@pytest.mark.parametrize(
    ("status", "tells"),
    [(400, "it saves them"), (501, "--slot-save-path"), (404, "it does not save them"), (200, "did not say")],
)
async def test_whether_it_saves_slots_is_told_where_they_are_to_be_saved(
    capsys, upstream: Upstream, status: int, tells: str
):
    upstream.otherwise = serves(
        {"/v1/models": (200, {}, listed({"id": "m"})), "/slots/0?action=save": (status, {}, b"{}")}
    )
    assert "slots" not in await said(capsys, upstream, session={"slots": 2})
    told = await said(capsys, upstream, session={"slots": 2, "slot_files": 3})
    assert tells in told["slots"]
