"""LiteLLM's proxy in front of the sidecar, and behind it."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.e2e.checked import checked
from tests.e2e.neighbours.clients.talk import KEY
from tests.e2e.neighbours.libraries import LITELLM_ALONE, Front, Libraries, litellm
from tests.e2e.neighbours.test_clients import (
    STEPS,
    TOLD,
    TOLD_WITHOUT_TOOLS,
    TREE,
    assert_answers,
    script,
    told,
)
from tests.e2e.program import Program, free_ports, plain_environment
from tests.e2e.stored import tree
from tests.proxy.mock_upstream import Upstream
from tests.proxy.process import serving

NAMED = {"X-Conversation-ID": "chat-1"}


@asynccontextmanager
async def litellm_proxy(backend: str, folder: Path, **general: bool) -> AsyncIterator[str]:
    """A running proxy with one model, `m`, at this base URL; yields its own."""
    config = {
        "model_list": [
            {
                "model_name": "m",
                "litellm_params": {"model": "openai/m", "api_base": backend, "api_key": "sk-backend"},
            }
        ],
        "general_settings": general,
    }
    file = folder / "litellm.yaml"  # JSON is YAML
    file.write_text(json.dumps(config))
    (port,) = free_ports(1)
    program = Program(
        [str(litellm() / "litellm"), "--config", str(file), "--host", "127.0.0.1", "--port", str(port)],
        url=f"http://127.0.0.1:{port}/health/liveliness",
        folder=folder,
        environment={**plain_environment(), **LITELLM_ALONE, "LITELLM_MASTER_KEY": KEY},
        log=folder / "litellm.log",
        patience=120,
    )
    await program.start()
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        await program.stop()


async def test_in_front_it_hands_the_id_on_when_it_is_told_to(
    libraries: Libraries, front: Front, upstream: Upstream, tmp_path: Path
):
    async with litellm_proxy(front.base_url, tmp_path, forward_client_headers_to_llm_api=True) as url:
        script(upstream)  # not sooner: when it starts it asks for the models
        assert_answers(await libraries.converse("openai_sdk.py", url, *STEPS, headers=NAMED))
        stored = await front.only()
        assert stored["conversation"]["key"] == "chat-1"
        assert tree(stored) == TREE
        assert told(upstream.last) == TOLD
        assert upstream.last.headers["X-Conversation-ID"] == "chat-1"


async def test_in_front_without_that_the_chat_is_known_by_what_it_holds(
    libraries: Libraries, front: Front, upstream: Upstream, tmp_path: Path
):
    async with litellm_proxy(front.base_url, tmp_path) as url:
        script(upstream)
        assert_answers(await libraries.converse("openai_sdk.py", url, *STEPS, headers=NAMED))
    stored = await front.only()
    assert stored["conversation"]["key"] is None
    assert tree(stored) == TREE


async def test_behind_it_gets_whole_requests(libraries: Libraries, upstream: Upstream, tmp_path: Path):
    store = tmp_path / "sidecar.db"
    async with (
        litellm_proxy(upstream.url, tmp_path) as backend,
        serving("--upstream", backend, "--store", f"sqlite:///{store}", folder=tmp_path) as sidecar,
    ):
        front = Front(f"{sidecar.url}/v1", store)
        script(upstream)
        assert_answers(
            await libraries.converse("openai_sdk.py", front.base_url, *STEPS, headers=NAMED, thin=True)
        )
        assert told(upstream.last) == TOLD_WITHOUT_TOOLS
        assert tree(await front.only()) == TREE


async def test_check_knows_it_by_its_answer(upstream: Upstream, tmp_path: Path):
    async with litellm_proxy(upstream.url, tmp_path) as url:
        said = await checked(url, tmp_path, SIDECAR_TARGET__API_KEY=KEY)
    assert "LiteLLM, by its answer to /model/info" in said
    assert 'set session.profile = "litellm"' in said
