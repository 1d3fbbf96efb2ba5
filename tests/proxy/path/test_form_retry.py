"""A request that is refused for its form is put right and sent again, and the client sees the answer."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import pytest

from sidecar.background import shared_forms
from sidecar.background.shared_forms import SharedForms
from sidecar.store import make_store
from tests.proxy.client import CHAT, Sidecar, eventually, named
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import JSON, Received, Upstream, says, sends, streams
from tests.proxy.path.test_exchange import rows
from tests.referee import profiles
from tests.referee.clients import Client
from tests.referee.models import THOUGHT, model
from tests.referee.profiles import NAMED, Refusal
from tests.referee.strict import Strict
from tests.referee.talk import TOOLS, call, calls, result, user
from tests.referee.talk import says as answer

DEMANDING = ["deepseek-v4", "deepseek-v4-pro", "kimi", "gemini-3"]
OTHERS = ["openai", "groq", "cerebras", "mistral", "minimax", "bedrock", "qwen-3.5-by-llama.cpp"]
REFUSED = json.dumps({"error": {"message": "property 'reasoning_content' is unsupported"}}).encode()
DEMANDED = json.dumps({"error": {"message": "The `reasoning_content` must be passed back to the API."}})


async def looped(sidecar: Sidecar, turns: int = 3, **how: Any) -> Client:
    client = Client(sidecar, **how)
    for turn in range(turns):
        assert (await client.ask(f"q{turn}")).startswith("answer")
    return client


@pytest.mark.parametrize("id", ["a", None])
@pytest.mark.parametrize("name", DEMANDING)
async def test_what_a_client_drops_and_a_model_demands_comes_back(
    sidecar: Sidecar, upstream: Upstream, name: str, id: str | None
):
    upstream.otherwise = strict = model(NAMED[name], steps=2)
    client = await looped(sidecar, id=id)
    assert len(upstream.requests) == len(client.replies) + len(strict.refusals)
    if name == "gemini-3" and id:
        # A signature is a part of its call, and is put back without being asked for.
        assert not strict.refusals
    else:
        # Refused once: every further request of the conversation is right at the first try.
        assert 1 <= len(strict.refusals) <= 2
        healed = [each for each in client.replies if "X-Sidecar-Supplied" in each.headers]
        assert len(healed) >= len(client.replies) - 2
    taken = json.loads(strict.taken[-1])["messages"]
    if name.startswith("deepseek") or name == "kimi":
        assert all(
            each["reasoning_content"] == THOUGHT["reasoning_content"]
            for each in taken
            if each.get("tool_calls")
        )
    # It is what the model would have been told by a client that drops nothing; and nothing else was touched.
    assert [each["role"] for each in taken] == [each["role"] for each in client.history[:-1]]


@pytest.mark.parametrize("name", DEMANDING)
async def test_without_the_sidecar_the_same_client_is_refused(
    sidecar: Sidecar, upstream: Upstream, name: str
):
    upstream.otherwise = model(NAMED[name])
    direct = Client(Sidecar(upstream.url.removesuffix("/v1"), sidecar.settings, sidecar.http))
    with pytest.raises(AssertionError, match="message"):
        await direct.ask("q")


@pytest.mark.parametrize("name", [*DEMANDING, *OTHERS])
async def test_a_thin_clients_tool_loops_are_taken_everywhere(start: Start, upstream: Upstream, name: str):
    upstream.otherwise = strict = model(NAMED[name])
    sidecar = await start(history={"mode": "append"})
    # Mistral's and Bedrock's own rules are about what clients send: no question may follow a result.
    client = await looped(sidecar, is_thin=True)
    assert len(upstream.requests) == len(client.replies) + len(strict.refusals)
    assert len(strict.refusals) <= 2


@pytest.mark.parametrize("name", ["groq", "cerebras", "mistral"])
async def test_reasoning_that_the_operator_wants_back_stays_out_where_it_is_refused(
    start: Start, upstream: Upstream, name: str
):
    upstream.otherwise = strict = model(NAMED[name])
    strict.then = says("ok", **THOUGHT)
    sidecar = await start(restore={"reasoning": "always"})
    for number in range(4):
        reply = await sidecar.ask(f"q{number}", id="a")
        assert reply.status == 200
    assert [each.rule for each in strict.refusals] == ["known_fields"]
    assert reply.headers["X-Sidecar-Left-Out"] == "reasoning_content"
    assert upstream.last.said == ["q0", "ok", "q1", "ok", "q2", "ok", "q3"]


@pytest.mark.parametrize("how", ["whole", "stream", "in a stream"])
async def test_a_refusal_is_known_in_every_form_and_the_client_sees_none_of_it(
    sidecar: Sidecar, upstream: Upstream, how: str
):
    upstream.otherwise = strict = model(profiles.DEEPSEEK)
    strict.in_stream = how == "in a stream"
    await sidecar.ask("q", id="a", tools=TOOLS)
    made = calls(call("callno001"), text="Let me see.")
    reply = await sidecar.ask(
        user("q"),
        made,
        result("callno001"),
        id="a",
        tools=TOOLS,
        stream=how != "whole",
    )
    assert reply.status == 200
    assert b"answer" in reply.body
    assert b"error" not in reply.body
    assert reply.headers["X-Sidecar-Supplied"] == "reasoning_content"
    assert len(upstream.requests) == 3


async def test_it_is_said_in_the_exchange_and_in_a_metric(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = model(profiles.KIMI)
    await looped(sidecar, turns=1)
    assert await sidecar.metric("sidecar_form_refusals_total") == 1
    assert [each.get("form_retries", 0) for each in await rows(sidecar, 2)] == [0, 1]


async def findings(sidecar: Sidecar) -> dict[str, str]:
    found = (await sidecar.send("GET", "/-/doctor")).json["findings"]
    return {each["code"]: each["found"] for each in found}


async def test_the_doctor_tells_what_is_demanded(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = model(profiles.KIMI)
    await looped(sidecar, turns=1)
    told = await findings(sidecar)
    assert "reasoning_content" in told["client_drops_fields"]
    assert "backend_refuses_fields" not in told


async def test_the_doctor_tells_what_is_refused(start: Start, upstream: Upstream):
    sidecar = await start(restore={"reasoning": "always"})
    upstream.otherwise = Strict(profiles.GROQ, says("ok", **THOUGHT))
    for question in ("one", "two"):
        await sidecar.ask(question, id="b")
    told = await findings(sidecar)
    assert "reasoning_content" in told["backend_refuses_fields"]
    assert "client_drops_fields" not in told


async def test_what_was_never_there_gets_a_placeholder_that_stays_the_same(
    sidecar: Sidecar, upstream: Upstream
):
    upstream.otherwise = strict = Strict(profiles.DEEPSEEK_PRO)
    foreign = [user("q"), calls(), result(), answer("42"), user("and?")]
    assert (await sidecar.ask(*foreign, id="a", tools=TOOLS)).status == 200
    assert (await sidecar.ask(*foreign, answer("ok"), user("so?"), id="a", tools=TOOLS)).status == 200
    first, second = (json.loads(each)["messages"] for each in strict.taken)
    told = [each["reasoning_content"] for each in second if each["role"] == "assistant"]
    assert len(set(told)) == 3
    assert second[: len(first)] == first


async def test_a_result_gets_its_call_back(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = strict = model(profiles.OPENAI)
    await sidecar.ask("q", id="a", tools=TOOLS)
    reply = await sidecar.ask(
        user("q"), result("callno001"), id="a", tools=TOOLS, headers={"X-Sidecar-History": "full"}
    )
    assert reply.status == 200
    assert reply.headers["X-Sidecar-Supplied"] == "call"
    assert [each["role"] for each in json.loads(strict.taken[-1])["messages"]] == [
        "user",
        "assistant",
        "tool",
    ]


async def test_a_chat_without_an_id_gets_no_call_put_in(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = model(profiles.OPENAI)
    await sidecar.ask("q", tools=TOOLS)
    reply = await sidecar.ask(user("q"), result("callno001"), tools=TOOLS)
    assert reply.status == 400
    assert len(upstream.requests) == 2


async def test_an_error_about_something_else_is_the_answer(sidecar: Sidecar, upstream: Upstream):
    error = b'{"error":{"message":"Your credit balance is too low for these messages."}}'
    upstream.will(says("ok", **THOUGHT), sends(error, status=400))
    await sidecar.ask("q", id="a")
    reply = await sidecar.ask("and?", id="a")
    assert (reply.status, reply.body, len(upstream.requests)) == (400, error, 2)


async def test_what_the_client_itself_sent_is_refused_once(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = sends(REFUSED, status=400)
    reply = await sidecar.ask("q", "a", "and?", id="a")
    assert (reply.status, reply.body, len(upstream.requests)) == (400, REFUSED, 1)


@pytest.mark.parametrize(
    ("name", "more"),
    [
        ("groq", {"reasoning_content": "so", "annotations": [], "refusal": None}),
        ("cerebras", {"reasoning_content": "so"}),
        ("mistral", {"provider_specific_fields": {"a": 1}, "parsed": None}),
    ],
)
async def test_fields_of_answers_that_the_client_sends_back_and_that_are_refused_stay_out(
    sidecar: Sidecar, upstream: Upstream, name: str, more: dict[str, Any]
):
    upstream.otherwise = strict = Strict(NAMED[name])
    history: list[Any] = ["q"]
    for number in range(3):
        reply = await sidecar.ask(*history, id="a")
        assert (reply.status, reply.json["choices"][0]["message"]["content"]) == (200, "ok")
        history += [answer("ok", **more), f"q{number}"]
    # Refused as the client sent it, and at the first try afterwards.
    assert [each.rule for each in strict.refusals] == ["known_fields"]
    assert upstream.last.said == ["q", "ok", "q0", "ok", "q1"]
    assert next(iter(more)) in reply.headers["X-Sidecar-Left-Out"]
    # Another conversation goes as its client sends it.
    await sidecar.ask("q", answer("ok", **more), "q0", id="b")
    assert len(strict.refusals) == 2


async def test_at_most_five_requests_go_upstream_and_the_client_gets_the_last_answer(
    sidecar: Sidecar, upstream: Upstream
):
    wanted = ["reasoning_content", "reasoning", "reasoning_text", "reasoning_content"]
    told = [f"{name} is missing" for name in wanted] + ["property 'reasoning_text' is unsupported"] * 2
    upstream.will(
        *(
            sends(json.dumps({"error": {"message": f"{each} ({at})"}}).encode(), status=400)
            for at, each in enumerate(told)
        )
    )
    reply = await sidecar.ask(user("q"), calls(), result(), answer(), user("and?"), id="a", tools=TOOLS)
    assert (reply.status, len(upstream.requests)) == (400, 5)
    assert "(4)" in reply.json["error"]["message"]


async def test_an_agent_is_never_asked_twice(start: Start, upstream: Upstream):
    upstream.otherwise = strict = model(profiles.DEEPSEEK)
    sidecar = await start(upstream_agent=True)
    with pytest.raises(AssertionError, match="passed back"):
        await looped(sidecar)
    assert len(upstream.requests) == 2
    assert len(strict.refusals) == 1


async def test_what_two_chats_have_learned_a_third_knows(sidecar: Sidecar, upstream: Upstream):
    upstream.otherwise = strict = model(profiles.DEEPSEEK)
    for id in ("a", "b", "c"):
        await looped(sidecar, turns=1, id=id)
    assert len(strict.refusals) == 2
    await looped(sidecar, turns=1, id="d", model="another")
    assert len(strict.refusals) == 3
    await looped(sidecar, turns=1, id="e", headers={"Authorization": "Bearer other"})
    assert len(strict.refusals) == 4


async def test_it_is_known_after_a_restart_and_to_other_processes_within_seconds(
    start: Start, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(shared_forms, "_EVERY", 0.1)
    shared: list[SharedForms] = []
    begin = SharedForms.start

    async def started(self: SharedForms) -> None:
        shared.append(self)
        await begin(self)

    monkeypatch.setattr(SharedForms, "start", started)
    upstream.otherwise = strict = model(profiles.DEEPSEEK)
    first, second = await start(), await start()
    for id in ("a", "b"):
        await looped(first, turns=1, id=id)
    writing = shared[0]._writing
    assert writing is not None
    await writing
    await eventually(lambda: shared[0]._seen == shared[1]._seen)
    for sidecar, id in ((second, "c"), (await start(), "d")):
        await looped(sidecar, turns=1, id=id)
    assert len(strict.refusals) == 2


async def test_what_the_store_holds_under_that_name_may_be_anything(
    start: Start, upstream: Upstream, caplog: pytest.LogCaptureFixture
):
    store = make_store((await start()).settings.store_path)
    await store.open()
    await store.save_learned("forms", b"odd")
    await store.close()
    upstream.otherwise = model(profiles.DEEPSEEK)
    await looped(await start(), turns=1)
    assert "cannot be read" in caplog.text


async def test_a_refused_history_goes_as_plain_text(start: Start, upstream: Upstream):
    def no_calls(request: Received) -> Refusal | None:
        told = b'"tool_calls"' in request.body
        return (
            Refusal(400, {"error": {"message": "I do not like these messages"}}, "no_calls") if told else None
        )

    sidecar = await start(history={"mode": "append"})
    upstream.otherwise = strict = model(profiles.OPENAI)
    await looped(sidecar, turns=1, is_thin=True)
    strict.more = no_calls
    reply = await sidecar.ask("and?", id="a", tools=TOOLS)
    assert reply.headers["X-Sidecar-Left-Out"] == "all"
    told = await findings(sidecar)
    assert "1 request went with nothing added instead" in told["backend_refuses_form"]
    assert "all the same" not in told["backend_refuses_form"]
    assert "backend_refuses_fields" not in told
    assert json.loads(strict.taken[-1])["messages"] == [
        user("q0"),
        answer("Let me see.\n\nanswer 2"),
        user("and?"),
    ]


async def test_the_doctor_tells_of_what_was_refused_in_plain_text_as_well(start: Start, upstream: Upstream):
    sidecar = await start(history={"mode": "append"})
    upstream.otherwise = strict = model(profiles.OPENAI)
    await looped(sidecar, turns=1, is_thin=True)
    strict.more = lambda _: Refusal(400, {"error": {"message": "I do not like these messages"}}, "never")
    assert (await sidecar.ask("and?", id="a", tools=TOOLS)).status == 400
    assert "1 of them it refused all the same" in (await findings(sidecar))["backend_refuses_form"]


async def test_a_long_chat_of_a_demanding_model_is_cut_as_well(sidecar: Sidecar, upstream: Upstream):
    too_long = {"error": {"message": "too long", "code": "context_length_exceeded"}}

    def short(request: Received) -> Refusal | None:
        return Refusal(400, too_long, "short") if len(request.body) > 6000 else None

    upstream.otherwise = strict = model(profiles.DEEPSEEK)
    strict.more = short
    client = Client(sidecar, more={"max_tokens": 10})
    for turn in range(8):
        await client.ask(f"q{turn} " + "word " * 100)
    assert {each.rule for each in strict.refusals} == {"deepseek_reasoning", "short"}


async def test_what_is_sent_again_as_the_client_sent_it_is_cut_to_the_budget_as_well(
    start: Start, upstream: Upstream
):
    sidecar = await start(restore={"reasoning": "always"}, trim={"max_turns": 2, "step": 0.1})
    upstream.otherwise = says("ok", **THOUGHT)
    for sent in (["q0"], ["q0", "ok", "q1"]):
        await sidecar.ask(*sent, id="a")
    upstream.otherwise = strict = Strict(profiles.GROQ)
    reply = await sidecar.ask("q0", "ok", "q1", "ok", "q2", id="a")
    assert (reply.status, len(strict.refusals)) == (200, 1)
    assert upstream.last.said == ["q1", "ok", "q2"]


async def test_calls_of_a_prompt_that_is_cut_keep_the_reasoning_that_the_client_sends(
    start: Start, upstream: Upstream
):
    upstream.otherwise = Strict(profiles.DEEPSEEK)
    sidecar = await start(trim={"max_input_tokens": 1000}, upstream_agent=True)
    told: list[Any] = []
    for at in range(3):
        id = f"callno00{at}"
        told += [user(f"q{at}"), calls(call(id), **THOUGHT), result(id, "word " * 300), answer("42")]
    reply = await sidecar.ask(*told, user("and?"), id="a", tools=TOOLS)
    assert reply.status == 200
    assert int(reply.headers["X-Sidecar-Shortened"]) > 0


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_refused_at_random_of_what_only_we_add_the_client_never_sees(
    start: Start, upstream: Upstream, seed: int
):
    chance = random.Random(seed)
    wanted: set[str] = set()

    def picky(request: Received) -> Refusal | None:
        if not wanted:
            return None
        for each in request.json["messages"]:
            for name in sorted(wanted & set(each)):
                told = chance.choice(
                    [f"property '{name}' is unsupported", "the messages are wrong", "Invalid role"]
                )
                return Refusal(chance.choice([400, 422]), {"error": {"message": told}}, "picky")
        return None

    upstream.otherwise = strict = model(profiles.OPENAI)
    inner = strict.then
    strict.more = picky
    sidecar = await start(restore={"reasoning": "always"}, history={"mode": "append"})
    clients = [Client(sidecar, id=f"c{number}", is_thin=True) for number in range(3)]
    for turn in range(8):
        extra = {chance.choice(["reasoning", "reasoning_content", "annotations"]): "so"}
        strict.then = says(f"answer {turn}", **extra) if chance.random() < 0.5 else inner
        wanted = set(chance.sample(["reasoning", "reasoning_content", "tool_calls", "annotations"], 1))
        if chance.random() < 0.5:
            wanted = set()
        for client in clients:
            client.more = {"tools": TOOLS if "tool_calls" not in wanted else []}
            await client.ask(f"q{turn}")
    assert len(upstream.requests) <= sum(len(each.replies) for each in clients) * 2


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_is_demanded_at_random_of_what_only_we_hold_is_given(
    sidecar: Sidecar, upstream: Upstream, seed: int
):
    chance = random.Random(seed)
    name = chance.choice(["reasoning_content", "reasoning"])
    said = chance.choice(["{} is missing in message 1", "Missing `{}` field", "The `{}` must be passed back"])

    def demanding(request: Received) -> Refusal | None:
        for each in request.json["messages"]:
            if each.get("tool_calls") and each.get(name) != "The user wants to know.":
                return Refusal(
                    chance.choice([400, 422]), {"error": {"message": said.format(name)}}, "demanding"
                )
        return None

    upstream.otherwise = strict = model(
        profiles.DEEPSEEK if name == "reasoning_content" else profiles.CEREBRAS
    )
    strict.profile = profiles.OPENAI
    strict.more = demanding
    for id in (None, "a", "b"):
        await looped(sidecar, id=id, turns=2)
    assert len(strict.refusals) <= 3


async def test_a_slow_error_holds_the_head_back_for_a_moment_only(sidecar: Sidecar, upstream: Upstream):
    gate = asyncio.Event()
    upstream.will(says("ok"), streams(b'{"error": {"message": "role', gate, b'"}}', status=400, headers=JSON))
    await sidecar.ask("q", id="a")
    data = json.dumps({"model": "m", "messages": [user("and?")]}).encode()
    async with asyncio.timeout(3):
        async with sidecar.http.post(sidecar.url + CHAT, data=data, headers=named("a")) as response:
            assert response.status == 400
            gate.set()
            assert await response.read()


class TestASystemItemInTheMiddle:
    """Codex sends such items when it goes on with a chat; templates like Qwen3.5's refuse them."""

    SAID = (
        {"role": "developer", "content": "Be brief."},
        {"role": "user", "content": "hi"},
        {"role": "assistant", "content": "ok"},
        {"role": "developer", "content": "Be polite."},
        {"role": "user", "content": "again"},
    )
    MARKED = "[A message of the system]\n\nBe polite."

    async def ask(self, sidecar: Sidecar, *more: dict[str, str], id: str = "a", **body: Any) -> Any:
        data = json.dumps({"model": "m", "input": [*self.SAID, *more], **body}).encode()
        return await sidecar.send("POST", "/v1/responses", data=data, headers=named(id))

    @pytest.mark.parametrize("name", ["qwen-3.5-by-vllm", "qwen-3.5-by-llama.cpp"])
    async def test_is_told_by_the_user_and_known_from_then_on(
        self, start: Start, upstream: Upstream, name: str
    ):
        sidecar = await start(responses={"upstream": "translate"})
        upstream.otherwise = strict = model(NAMED[name])
        reply = await self.ask(sidecar)
        assert reply.status == 200, reply.body
        assert reply.headers["X-Sidecar-Supplied"] == "system_first"
        assert [each["role"] for each in upstream.last.json["messages"]] == [
            *("system", "user", "assistant", "user", "user")
        ]
        assert upstream.last.said[3] == self.MARKED
        kept = await sidecar.only()
        assert [each["message"]["role"] for each in kept.messages][:4] == [
            "user",
            "assistant",
            "system",
            "user",
        ]
        refused = len(strict.refusals)
        thin = json.dumps(
            {
                "model": "m",
                "input": [{"role": "developer", "content": "x"}, {"role": "user", "content": "3"}],
                "previous_response_id": reply.json["id"],
            }
        ).encode()
        assert (await sidecar.send("POST", "/v1/responses", data=thin, headers=named("a"))).status == 200
        assert len(strict.refusals) == refused
        assert self.MARKED in upstream.last.said
        # Another chat of the same tenant, and then all of them.
        for at in range(3):
            assert (await self.ask(sidecar, id=f"b{at}")).status == 200
        assert len(strict.refusals) <= refused + 1

    async def test_stays_what_it_is_over_chat_completions(self, start: Start, upstream: Upstream):
        sidecar = await start(responses={"upstream": "translate"})
        upstream.otherwise = model(NAMED["qwen-3.5-by-vllm"])
        for id in ("a", "b", "c"):
            await self.ask(sidecar, id=id)
        before = len(upstream.requests)
        messages = [{**each, "role": each["role"].replace("developer", "system")} for each in self.SAID]
        reply = await sidecar.ask(*messages, id="d")
        assert reply.status == 400
        assert [each.json["messages"] for each in upstream.requests[before:]] == [messages]
