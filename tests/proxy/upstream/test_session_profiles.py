"""Each kind of backend gets the id of a chat where its own documents say that it is read, and no more."""

from __future__ import annotations

import json
from typing import Any

import pytest
from yarl import URL

from sidecar.settings import Settings
from sidecar.settings.session_profiles import NAMES, PROFILES, by_answer, by_url, profiles_table
from tests import docs
from tests.proxy.client import CHAT, Sidecar, eventually
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream
from tests.proxy.strict_backends import Backend, backends

ADA = {"Authorization": "Bearer ada"}
BOB = {"Authorization": "Bearer bob"}
KNOWN = sorted(backends())
HOSTED = [name for name, each in backends().items() if each.base]
BY_AUTO = ["openrouter", "fireworks", "cloudflare", "opencode-go", "xai"]
OURS = "X-Conversation-ID"


async def stand(upstream: Upstream, start: Start, backend: Backend, profile: str, **settings: Any) -> Sidecar:
    """A sidecar in front of this backend, at its own address: reached through a proxy of the test's."""
    upstream.otherwise = backend.answer
    session = {"profile": profile, **settings.pop("session", {})}
    if not backend.base:
        return await start(session=session, **settings)
    proxy = {"proxy": f"http://127.0.0.1:{upstream.port}"}
    return await start(upstream=backend.base, target=proxy, session=session, **settings)


async def talk(sidecar: Sidecar) -> None:
    """Two turns of a chat, one of another, one of another tenant under the same id, and one without an id."""
    await sidecar.ask("hi", id="a", headers=ADA)
    await sidecar.ask("hi", "ok", "more", id="a", headers=ADA, stream=True)
    await sidecar.ask("hi", id="b", headers=ADA)
    await sidecar.ask("hi", id="a", headers=BOB)
    await sidecar.ask("who am I?", headers=ADA)


async def talk_aside(sidecar: Sidecar) -> None:
    """What is of no session: a title, twice, a temporary chat, a channel."""
    for aside in ({"X-Task": "title"}, {"X-Task": "title"}):
        await sidecar.ask("a title?", id="a", headers={**ADA, **aside})
    await sidecar.ask("hi", id="temporary:1", headers=ADA)
    await sidecar.ask("hi", id="channel:1", headers={**ADA, "X-OpenWebUI-User-Id": "ada"})


@pytest.mark.parametrize("name", KNOWN)
async def test_by_its_name_each_gets_one_id_for_a_chat_and_refuses_nothing(
    start: Start, upstream: Upstream, name: str
):
    backend = backends()[name]
    sidecar = await stand(upstream, start, backend, name)
    await talk(sidecar)
    first, again, *others = backend.sessions
    assert first is not None
    assert first.startswith("conv_")
    assert again == first
    assert len({first, *others}) == 4
    assert None not in others
    await talk_aside(sidecar)
    aside = backend.sessions[5:]
    assert len(aside) == 4
    if PROFILES[name].is_required:
        assert len(set(aside) - {None, first, *others}) == 4  # one each, of nobody else's
    else:
        assert aside == [None] * 4
    assert backend.refused == []


@pytest.mark.parametrize("name", BY_AUTO)
async def test_by_its_address_it_is_known_without_set_up(start: Start, upstream: Upstream, name: str):
    backend = backends()[name]
    await talk(await stand(upstream, start, backend, "auto"))
    assert len(set(backend.sessions)) == 4
    assert backend.sessions[0] == backend.sessions[1] is not None
    assert backend.refused == []
    # Nothing of a body was touched.
    bodies = [json.loads(each.body) for each in upstream.requests]
    assert {frozenset(body) for body in bodies} <= {frozenset({"model", "messages"})} | {
        frozenset({"model", "messages", "stream"})
    }


@pytest.mark.parametrize("name", sorted({*KNOWN} - {*BY_AUTO} - {"llama-swap"}))
async def test_where_the_id_is_more_than_a_hint_nothing_is_sent_unless_the_settings_say_so(
    start: Start, upstream: Upstream, name: str
):
    backend = backends()[name]
    sidecar = await stand(upstream, start, backend, "auto", trim={"window_refresh": 60})
    await sidecar.ask("hi", headers=ADA)
    await eventually(lambda: any(each.method == "GET" for each in upstream.requests))
    await sidecar.ask("hi", "ok", "more", headers=ADA)
    asked = [each for each in upstream.requests if each.method == "POST" and each.target.endswith(CHAT[3:])]
    assert backend.sessions == [None, None]
    assert [set(each.json) for each in asked] == [{"model", "messages"}] * 2
    with_an_id = {name.lower() for each in asked for name, value in each.headers.items() if "conv_" in value}
    assert with_an_id == {"x-conversation-id"}


async def test_llama_swap_is_known_by_its_list_of_models(start: Start, upstream: Upstream):
    backend = backends()["llama-swap"]
    sidecar = await stand(upstream, start, backend, "auto", trim={"window_refresh": 60})
    await sidecar.ask("hi", id="a", headers=ADA)
    await eventually(lambda: sidecar_knows(upstream))
    await sidecar.ask("hi", "ok", "more", id="a", headers=ADA)
    assert backend.sessions[0] is None
    assert str(backend.sessions[-1]).startswith("conv_")


def sidecar_knows(upstream: Upstream) -> bool:
    """Have all lists been asked for that are asked for where no window is known?"""
    return any(each.target.endswith("/model/info") for each in upstream.requests)


async def test_without_a_profile_the_bytes_are_those_of_before(start: Start, upstream: Upstream):
    body = b'{"model": "m",  "messages": [{"role":"user","content":"hi"}]}'
    sent = []
    for profile in ("auto", "none"):
        sidecar = await start(session={"profile": profile}, store="memory:", secret="0" * 32)
        await sidecar.send("POST", CHAT, data=body, headers={**ADA, OURS: "a"})
        headers = [(name, value) for name, value in upstream.last.headers.items() if name != "Host"]
        sent.append((upstream.last.target, headers, upstream.last.body))
    assert sent[0] == sent[1]
    assert sent[0][2] == body
    assert [name for name, value in sent[0][1] if "conv_" in value] == []


@pytest.mark.parametrize("session", [{"headers": ["X-Mine"]}, {"headers": []}, {"body_field": "user"}])
async def test_what_is_set_by_hand_goes_before_what_is_known(
    start: Start, upstream: Upstream, session: dict[str, Any]
):
    backend = backends()["fireworks"]
    await talk(await stand(upstream, start, backend, "auto", session=session))
    assert backend.sessions == [None] * 5
    assert backend.refused == []


async def test_a_field_that_is_set_by_hand_stands_in_the_place_of_the_profiles(
    start: Start, upstream: Upstream
):
    backend = backends()["openai"]
    await talk(await stand(upstream, start, backend, "openai", session={"body_field": "user"}))
    assert backend.sessions == [None] * 5
    assert all(each.json["user"].startswith("conv_") for each in upstream.requests)


async def test_a_client_that_names_its_chat_there_itself_is_not_talked_over(start: Start, upstream: Upstream):
    named = {**ADA, "X-OpenCode-Session": "ses_1"}
    backend = backends()["opencode-go"]
    sidecar = await stand(upstream, start, backend, "auto")
    await sidecar.ask("hi", id="a", headers=named)
    await sidecar.ask("a title?", id="a", headers={**named, "X-Task": "title"})
    await sidecar.send("POST", "/v1/messages", data=b'{"messages": []}', headers=named)
    assert backend.sessions == ["ses_1"] * 3
    backend = backends()["opencode-go"]
    sidecar = await stand(upstream, start, backend, "auto", session={"opaque": True})
    await sidecar.ask("hi", id="a", headers=named)
    await sidecar.ask("hi", id="a", headers={**BOB, "X-OpenCode-Session": "ses_1"})
    assert "ses_1" not in backend.sessions
    assert len(set(backend.sessions)) == 2


async def test_where_a_session_is_demanded_whatever_is_posted_has_one(start: Start, upstream: Upstream):
    backend = backends()["opencode-go"]
    sidecar = await stand(upstream, start, backend, "auto")
    for path in ("/v1/messages", "/v1/responses"):
        assert (await sidecar.send("POST", path, data=b'{"model": "m"}', headers=ADA)).status == 200
    await sidecar.ask("hi", headers={**ADA, "X-Sidecar-History": "off"})
    assert len(set(backend.sessions)) == 3
    assert not any(str(each).startswith("conv_") for each in backend.sessions)
    await sidecar.send("GET", "/v1/models", headers=ADA)
    assert "X-OpenCode-Session" not in upstream.last.headers


@pytest.mark.parametrize("name", ["hermes", "openclaw"])
async def test_what_a_client_says_to_a_backend_that_keeps_the_chat_reaches_nobody(
    start: Start, upstream: Upstream, name: str
):
    backend = backends()[name]
    sidecar = await stand(upstream, start, backend, name)
    theirs = {PROFILES[name].header: "conv_" + "0" * 32}
    await sidecar.ask("hi", headers={**ADA, **theirs})
    await sidecar.ask("hi", headers={**BOB, **theirs})
    await sidecar.ask("a title?", headers={**ADA, **theirs, "X-Task": "title"})
    one, other, title = backend.sessions
    assert len({one, other, "conv_" + "0" * 32}) == 3
    assert title is None


async def test_a_field_that_is_refused_nevertheless_stays_out_of_the_next_request(
    start: Start, upstream: Upstream
):
    backend = backends()["fireworks"]  # behind an address that was taken for another's
    backend.base = ""
    sidecar = await stand(upstream, start, backend, "openai")
    reply = await sidecar.ask("hi", id="a", headers=ADA)
    assert reply.status == 200
    assert len(backend.refused) == 1
    assert "prompt_cache_key" not in upstream.last.json


@pytest.mark.parametrize("name", HOSTED)
def test_an_address_is_known_with_any_path_behind_it_and_no_other_address_is(name: str):
    base = URL(backends()[name].base)
    assert by_url(base) == by_url(base.with_scheme("https")) == name
    assert by_url(base.with_host(f"{base.host}.example.org")) == ""
    assert by_url(base.with_host(f"un{base.host}")) == ""


def test_a_path_belongs_to_an_address_where_one_host_serves_several_things():
    assert by_url(URL("https://opencode.ai/zen/v1")) == ""
    assert by_url(URL("https://api.cloudflare.com/client/v5")) == ""
    assert by_url(URL("https://eu.api.openai.com/v1")) == "openai"


@pytest.mark.parametrize(
    ("headers", "owners", "name"),
    [
        ({"X-SMG-Error-Code": "model_not_found"}, [], "smg"),
        ({}, ["llama-swap", "llama-swap"], "llama-swap"),
        ({}, ["llama-swap", "vllm"], ""),
        ({}, ["hermes"], "hermes"),
        ({}, ["openclaw"], "openclaw"),
        ({}, [None], ""),
        ({}, [], ""),
    ],
)
def test_an_answer_is_known_by_a_header_or_by_who_owns_all_of_its_models(
    headers: dict[str, str], owners: list[Any], name: str
):
    models = {"object": "list", "data": [{"id": "m", "owned_by": each} for each in owners]}
    assert by_answer(headers, json.dumps(models).encode()) == name


@pytest.mark.parametrize("models", [b"", b"[]", b"\xff", b'{"data": {}}', b"[" * 5000])
def test_what_is_no_list_of_models_tells_nothing(models: bytes):
    assert by_answer({}, models) == ""


def test_every_profile_has_a_source_a_name_and_a_backend_that_checks_it():
    assert set(PROFILES) == set(backends())
    for each in PROFILES.values():
        assert URL(each.source).scheme == "https"
        assert bool(each.header) != bool(each.body_field)
        # What `auto` takes is a hint in a header.
        assert not each.by_auto or (each.header and not each.is_kept)
    assert [name for name in NAMES if name not in PROFILES] == ["auto", "none"]


def test_the_table_of_profiles_is_that_of_the_code():
    assert profiles_table().strip() in (docs.GUIDES / "backends.md").read_text("utf-8")


def test_a_name_that_is_none_is_refused_with_those_that_are():
    with pytest.raises(ValueError, match="choose one of auto, openai, "):
        Settings.model_validate({"session": {"profile": "ollama"}})
    assert Settings.model_validate({"session": {"profile": "OpenAI"}}).session.field == "prompt_cache_key"


async def test_of_several_targets_each_is_told_in_its_own_words(start: Start, upstream: Upstream):
    proxy = f"http://127.0.0.1:{upstream.port}"
    known = {
        name: {"name": name, "url": backends()[name].base, "models": [name], "proxy": proxy}
        for name in ("fireworks", "xai")
    }
    sidecar = await start(targets=list(known.values()))
    said = {}
    for model in (*known, "another"):
        await sidecar.ask("hi", headers=ADA, model=model)
        headers = upstream.last.headers
        said[model] = [name for name in ("X-Session-Affinity", "X-Grok-Conv-Id") if name in headers]
    assert said == {"fireworks": ["X-Session-Affinity"], "xai": ["X-Grok-Conv-Id"], "another": []}
