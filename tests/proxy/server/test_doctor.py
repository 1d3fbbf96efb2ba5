"""`sidecar doctor` behind every half-configured Open WebUI: it names the cause, and the very variable."""

from __future__ import annotations

import json
import re
import shlex
import tracemalloc
from collections.abc import Awaitable, Callable
from typing import NamedTuple

import pytest
from multidict import CIMultiDict

from sidecar.doctor.advice import connection_headers
from sidecar.doctor.samples import CHAT, FILLED, RequestSample, RequestSamples, product
from sidecar.settings import Settings
from tests.docs import OPENWEBUI
from tests.proxy.client import Sidecar
from tests.proxy.client_keys import bearer, new_key
from tests.proxy.conftest import Start
from tests.proxy.front import FOLLOW_UP, OLDEST, TEMPLATES, TOOLS, V0_9, Front, doctor

GUIDE = OPENWEBUI.read_text("utf-8")
PARENT = '"X-User-Message-Parent-ID": "{{USER_MESSAGE_PARENT_ID}}"'
SECRET = "the very secret of Open WebUI and sidecar"


class Said(NamedTuple):
    """What `sidecar doctor` said: its exit code, its text on one line, the codes of its findings."""

    code: int
    text: str
    found: list[str]


Examine = Callable[..., Awaitable[Said]]


@pytest.fixture
def examine(capsys: pytest.CaptureFixture[str]) -> Examine:
    async def examine(sidecar: Sidecar, *arguments: str) -> Said:
        capsys.readouterr()
        code = await doctor(sidecar, *arguments)
        text = " ".join(capsys.readouterr().out.split())
        return Said(code, text, re.findall(r"\[([a-z_]+)\]", text))

    return examine


def without(*names: str) -> dict[str, str]:
    return {name: value for name, value in TEMPLATES.items() if name not in names}


async def test_the_best_set_up_is_told_to_be_the_best(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, TEMPLATES).chats("a", "b")
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, [])
    assert "the last 10 chat requests, all is as it should be." in said.text
    assert "Fine: what arrives, chat ids, message ids and tasks, tenants, store and upstream." in said.text
    assert "chat id X-Conversation-ID 10; 2 conversations" in said.text
    assert "tasks 6 known by X-Task" in said.text
    assert "tenants 1, by credential+user: Authorization 10, X-User-ID 10" in said.text


async def test_open_webui_as_it_comes_out_of_the_box(sidecar: Sidecar, examine: Examine):
    await Front(sidecar).chats("a", "b")
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["no_chat_id", "one_tenant"])
    assert '"X-Conversation-ID": "{{CHAT_ID}}"' in said.text
    assert "OPENAI_API_CONFIGS" in said.text
    assert "ENABLE_PERSISTENT_CONFIG=False" in said.text
    assert "ENABLE_FORWARD_USER_INFO_HEADERS=true" in said.text
    assert "SIDECAR_TENANT__MODE=credential" in said.text


async def test_the_simple_set_up_works_and_the_better_one_is_told(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, forward=True).chats("a", "b")
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, ["chat_id_only"])
    assert "all works; 1 hint" in said.text
    assert "the 6 tasks by their opening words" in said.text
    assert '"X-Task": "{{TASK}}"' in said.text


async def test_a_chat_id_under_another_name_is_found(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, forward=True, chat_header="X-My-Chat").chats("a", "b")
    said = await examine(sidecar)
    assert said.found[0] == "chat_id_elsewhere"
    assert "SIDECAR_IDENTITY__HEADERS=X-Conversation-ID,X-OpenWebUI-Chat-Id,X-My-Chat" in said.text
    assert "FORWARD_SESSION_INFO_HEADER_CHAT_ID=X-Conversation-ID" in said.text


async def test_the_example_in_the_guide_is_what_it_says(sidecar: Sidecar, capsys: pytest.CaptureFixture[str]):
    await Front(sidecar, forward=True, chat_header="X-My-Chat").chats("a", "b")
    await doctor(sidecar)
    said = capsys.readouterr().out.replace(sidecar.url, "http://127.0.0.1:8790")
    (example,) = re.findall(r"<!-- doctor: .*? -->\n```\n(.*?)```", GUIDE, re.DOTALL)
    assert example == said


async def test_the_cure_for_a_chat_id_under_another_name_helps(start: Start, examine: Examine):
    names = ["X-Conversation-ID", "X-OpenWebUI-Chat-Id", "X-My-Chat"]
    sidecar = await start(identity={"headers": names})
    await Front(sidecar, forward=True, chat_header="X-My-Chat").chats("a", "b")
    assert (await examine(sidecar)).found == ["chat_id_only"]


async def test_users_without_chats_are_told_from_nothing_at_all(sidecar: Sidecar, examine: Examine):
    front = Front(sidecar, forward=True)
    for _ in range(3):
        await front.ask(["what a program asks"], {"USER_ID": "user-1"})
    said = await examine(sidecar)
    assert said.found == ["no_chat_id"]
    assert "programs that call Open WebUI's API" in said.text


async def test_an_open_webui_that_fills_in_nothing(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, TEMPLATES, fills_in=OLDEST).chats("a", "b")
    said = await examine(sidecar)
    assert said.code == 1
    assert said.found == ["chat_id_unfilled", "task_unfilled", "message_ids_unfilled", "user_unfilled"]
    assert "fills in {{CHAT_ID}} from 0.9.3 on" in said.text
    assert "fills in {{TASK}} from 0.10.0 on" in said.text


async def test_an_open_webui_that_does_not_know_tasks_yet(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, TEMPLATES, fills_in=V0_9).chats("a", "b")
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["task_unfilled", "message_ids_unfilled"])
    assert "by their opening words only" in said.text
    assert '"X-User-Message-ID": "{{USER_MESSAGE_ID}}"' in said.text


@pytest.mark.parametrize(
    ("header", "code", "variable"),
    [
        ("X-Task", "no_task_header", '"X-Task": "{{TASK}}"'),
        ("X-User-ID", "one_tenant", '"X-User-ID": "{{USER_ID}}"'),
        ("X-Message-ID", "message_ids_missing", '"X-Message-ID": "{{MESSAGE_ID}}"'),
        ("X-User-Message-Parent-ID", "message_ids_missing", PARENT),
    ],
)
async def test_a_header_that_is_missing_in_the_connection_is_named(
    sidecar: Sidecar, examine: Examine, header: str, code: str, variable: str
):
    await Front(sidecar, without(header)).chats("a", "b")
    said = await examine(sidecar)
    assert said.found == [code]
    assert f"-> Add {variable}" in said.text


async def test_headers_under_the_names_of_another_guide_are_found(sidecar: Sidecar, examine: Examine):
    names = {"X-OpenWebUI-Chat-Id": "{{CHAT_ID}}", "X-OpenWebUI-Task": "{{TASK}}"}
    names |= {"X-OpenWebUI-Message-Id": "{{MESSAGE_ID}}", "X-OpenWebUI-User-Id": "{{USER_ID}}"}
    await Front(sidecar, names).chats("a", "b")
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["headers_elsewhere"])
    assert "SIDECAR_TASKS__HEADER=X-OpenWebUI-Task" in said.text
    assert "SIDECAR_IDENTITY__MESSAGE_ID_HEADER=X-OpenWebUI-Message-Id" in said.text


async def test_a_token_that_was_signed_with_another_secret(start: Start, examine: Examine):
    sidecar = await start(tenant={"user_jwt_secret": SECRET})
    await Front(sidecar, forward=True, jwt_secret=SECRET[::-1]).chats("a")
    said = await examine(sidecar)
    assert (said.code, said.found[0]) == (1, "user_token_refused")
    assert "FORWARD_USER_INFO_HEADER_JWT_SECRET" in said.text
    assert "SIDECAR_TENANT__USER_JWT_SECRET" in said.text
    assert "refused invalid_user_token" in said.text


async def test_the_same_secret_on_both_sides_is_fine(start: Start, examine: Examine):
    sidecar = await start(tenant={"user_jwt_secret": SECRET})
    front = Front(sidecar, forward=True, jwt_secret=SECRET)
    await front.chats("a")
    await front.chats("b", user="user-2")
    said = await examine(sidecar)
    assert said.found == ["chat_id_only"]
    assert "tenants 2, by credential+user (signed): Authorization 10, X-OpenWebUI-User-Jwt 10" in said.text


async def test_a_secret_for_which_no_token_comes(start: Start, examine: Examine):
    sidecar = await start(tenant={"user_jwt_secret": SECRET})
    await Front(sidecar, forward=True).chats("a")
    said = await examine(sidecar)
    assert (said.code, said.found[0]) == (1, "user_token_missing")
    assert "FORWARD_USER_INFO_HEADER_JWT_SECRET" in said.text


async def test_a_token_for_which_there_is_no_secret(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, forward=True, jwt_secret=SECRET).chats("a")
    said = await examine(sidecar)
    assert (said.code, said.found[0]) == (1, "user_token_ignored")
    assert "SIDECAR_TENANT__USER_JWT_SECRET" in said.text


async def test_an_id_that_is_always_empty(sidecar: Sidecar, examine: Examine):
    front = Front(sidecar, TEMPLATES)
    for _ in range(3):
        await front.ask(["what a program asks"], {"USER_ID": "user-1"})
    said = await examine(sidecar)
    assert said.found == ["chat_id_empty"]
    assert "X-Conversation-ID arrives, and never with an id" in said.text


async def test_some_requests_without_an_id_are_a_hint(sidecar: Sidecar, examine: Examine):
    front = Front(sidecar, TEMPLATES)
    await front.chats("a")
    await front.ask(["what a program asks"], {"USER_ID": "user-1"})
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, ["some_without_chat_id"])
    assert "1 of 6 requests name no chat" in said.text


async def test_one_fixed_id_for_all_chats(sidecar: Sidecar, examine: Examine):
    front = Front(sidecar, TEMPLATES | {"X-Conversation-ID": "my-open-webui"}, title=None, follow_up=None)
    await front.chats("a", "b", "c", "d", "e", turns=1)
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["one_chat_id_for_all"])


async def test_a_fixed_mark_makes_every_request_a_task(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, TEMPLATES | {"X-Task": "yes"}).chats("a", "b")
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["only_tasks"])


async def test_edited_prompts_of_tasks_show_by_their_shape(sidecar: Sidecar, examine: Examine):
    front = Front(sidecar, forward=True, title="Give this a name", follow_up="What may come next?")
    await front.chats("a", "b")
    said = await examine(sidecar)
    assert said.found == ["chat_id_only", "tasks_missed"]
    assert "tasks.openings" in said.text


async def test_an_open_webui_without_tasks_is_asked_about_them(sidecar: Sidecar, examine: Examine):
    await Front(sidecar, forward=True, title=None, follow_up=None).chats("a", "b", "c")
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, ["chat_id_only", "no_task_seen"])


async def test_single_questions_under_one_id_are_told(sidecar: Sidecar, examine: Examine):
    """As evaluations do whose client has an id written into it."""
    who = {"Authorization": "k", "User-Agent": "evals/1"}
    for at, about in enumerate(("Malta", "Rome", "chess", "whales", "algebra", "Bach")):
        prompt = {"role": "system", "content": f"You know all of {about}, number {at}."}
        await sidecar.ask(prompt, {"role": "user", "content": f"{about}?"}, id="a", headers=who)
    said = await examine(sidecar)
    assert "one_chat_id_for_all" in said.found
    assert "an evaluation, needs no id" in said.text
    assert "X-Sidecar-History: full" in said.text
    for chat in "bc":
        await sidecar.ask("hi", id=chat, headers=who)
    said = await examine(sidecar)
    assert "chat_with_many_roots" in said.found
    assert "Of 6 requests in 1 chat 5 began anew and went as they came (evals)" in said.text


async def test_who_compacts_by_himself_is_told(sidecar: Sidecar, examine: Examine):
    def asked(first: int, last: int) -> list[str]:
        told = [text for at in range(first, last) for text in (f"question {at}", "ok")]
        return [*told, f"question {last}"]

    front = Front(sidecar, TEMPLATES)
    for first, last in ((0, 0), (0, 1), (0, 2), (1, 3), (1, 4), (3, 5), (4, 6), (5, 7), (6, 8)):
        ids = {"CHAT_ID": "a", "USER_ID": "u", "MESSAGE_ID": f"a{last}", "USER_MESSAGE_ID": f"q{last}"}
        parent = {"USER_MESSAGE_PARENT_ID": f"a{last - 1}" if last else ""}
        await front.ask(asked(first, last), ids | parent, tools=TOOLS)
    said = await examine(sidecar)
    assert "client_compacts" in said.found
    assert "one_chat_id_for_all" not in said.found
    assert "in 1 chat it asked for 0 summaries, and 5 requests came without the beginning" in said.text
    assert "ENABLE_CONTEXT_COMPACTION=False" in said.text


@pytest.mark.parametrize(
    ("prompts", "is_told"),
    [
        (("It is 10:01.", "It is 10:02.", "It is 10:03.", "It is 10:04."), True),
        (("It is 10:01.", "It is 10:02.", "It is 10:03.", "It is 10:03.", "It is 10:03."), False),
        (("It is 10:01.", "It is 10:02."), False),
    ],
)
async def test_a_system_prompt_that_is_another_each_time_is_told_with_its_remedy(
    start: Start, examine: Examine, prompts: tuple[str, ...], is_told: bool
):
    for setting in ("client", "pin"):
        sidecar = await start(restore={"system_prompt": setting})
        said: list[dict[str, str]] = []
        for prompt in prompts:
            said.append({"role": "user", "content": "hi"})
            system = {"role": "system", "content": prompt}
            await sidecar.ask(system, *said, id=setting, headers={"Authorization": "k"})
            said.append({"role": "assistant", "content": "ok"})
        found = await examine(sidecar)
        assert ("system_prompt_changes" in found.found) is (is_told and setting == "client")
        assert ("restore.system_prompt = pin" in found.text) is (is_told and setting == "client")


async def test_an_agents_own_header_names_its_chat(sidecar: Sidecar, examine: Examine):
    for at in range(6):  # it may name a login that has many
        await sidecar.ask(f"{at}?", headers={"Authorization": "k", "X-Session-Affinity": "ses_1"})
    said = await examine(sidecar)
    assert "chat id X-Session-Affinity 6; 6 conversations" in said.text
    prompt = {
        "role": "system",
        "content": "You are a context summarization agent. You are given a conversation …",
    }
    await sidecar.ask(
        prompt, {"role": "user", "content": "Here it is."}, headers={"X-Session-Affinity": "ses_1"}
    )
    said = await examine(sidecar)
    assert "in 1 chat it asked for 1 summary, and 0 requests came" in said.text
    assert {"no_chat_id", "chat_id_elsewhere", "one_chat_id_for_all"}.isdisjoint(said.found)


async def test_after_a_change_the_newest_requests_are_looked_at_alone(sidecar: Sidecar, examine: Examine):
    await Front(sidecar).chats("a")
    await Front(sidecar, TEMPLATES).chats("b", turns=1)
    assert (await examine(sidecar)).found == ["some_without_chat_id", "some_without_user"]
    said = await examine(sidecar, "--last", "1")
    assert (said.code, said.found) == (0, [])
    assert "the last 2 chat requests" in said.text
    assert "taken for start 1, task 1" in said.text


async def test_tasks_do_not_hide_the_message_that_they_came_with(sidecar: Sidecar, examine: Examine):
    front = Front(sidecar, TEMPLATES)
    await front.chats("a", turns=1)
    for _ in range(2):  # the newest three requests are tasks
        about = {"CHAT_ID": "a", "USER_ID": "user-1", "TASK": "follow_up_generation"}
        await front.ask([FOLLOW_UP], about)
    assert "taken for start 1, task 3" in (await examine(sidecar, "--last", "1")).text
    assert "the last 5 chat requests" in (await examine(sidecar, "--last", "3")).text


async def test_a_plain_client_is_not_taken_for_open_webui(sidecar: Sidecar, examine: Examine):
    await sidecar.ask("hi", headers={"User-Agent": "curl/8.5.0", "Authorization": "Bearer k"})
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, ["no_chat_id"])
    assert "clients curl 1" in said.text
    assert "X-Conversation-ID with every request" in said.text
    assert "OPENAI_API_CONFIGS" not in said.text


async def test_a_plain_client_with_an_id_has_nothing_to_change(sidecar: Sidecar, examine: Examine):
    await sidecar.ask("hi", id="a", headers={"User-Agent": "OpenAI/Python 1.99.1", "Authorization": "k"})
    assert (await examine(sidecar)).found == []


async def test_nobody_named_at_all(sidecar: Sidecar, examine: Examine):
    await sidecar.ask("hi", id="a")
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, ["nobody_named"])
    assert "neither came" in said.text


@pytest.mark.parametrize("enforcement", ["required", "optional"])
async def test_who_comes_with_a_key_of_the_sidecars_own_is_named_by_that(
    start: Start, examine: Examine, enforcement: str
):
    sidecar = await start(keys={"enforcement": enforcement})
    await sidecar.ask("hi", id="a", headers=bearer(await new_key(sidecar.settings)))
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, [])
    assert "tenants 1, by credential+user: keys of the sidecar's own 1" in said.text


async def test_where_nothing_is_kept_without_an_id_that_has_to_change(start: Start, examine: Examine):
    sidecar = await start(identity={"fallback": "none"})
    await sidecar.ask("hi", headers={"Authorization": "k"})
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["no_chat_id"])
    assert "identity.fallback = none" in said.text


@pytest.mark.parametrize(
    ("value", "code"),
    [("null", "chat_id_empty"), ("{{LIBRECHAT_BODY_CONVERSATIONID}}", "chat_id_unfilled")],
)
async def test_a_word_for_nothing_is_no_id(sidecar: Sidecar, examine: Examine, value: str, code: str):
    await sidecar.ask("hi", id=value, headers={"Authorization": "k"})
    assert (await examine(sidecar)).found == [code]


async def test_an_id_that_cannot_be_one(sidecar: Sidecar, examine: Examine):
    await sidecar.ask("hi", id="x" * 300, headers={"Authorization": "k"})
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["chat_id_refused"])


async def test_where_no_header_is_read_for_the_id_that_is_the_cure(start: Start, examine: Examine):
    sidecar = await start(identity={"headers": []})
    await sidecar.ask("hi", headers={"Authorization": "k"})
    said = await examine(sidecar)
    assert (said.code, said.found) == (0, ["no_chat_id"])
    assert "SIDECAR_IDENTITY__HEADERS" in said.text


async def test_where_chats_go_by_how_they_begin_that_is_told(start: Start, examine: Examine):
    sidecar = await start(identity={"fallback": "hash"})
    await sidecar.ask("hi", headers={"Authorization": "k"})
    assert "two that begin alike are one" in (await examine(sidecar)).text


@pytest.mark.parametrize("mode", ["credential", "fixed"])
async def test_one_tenant_that_is_meant_is_no_finding(start: Start, examine: Examine, mode: str):
    sidecar = await start(tenant={"mode": mode})
    await Front(sidecar, without("X-User-ID")).chats("a")
    assert (await examine(sidecar)).found == []


async def test_where_no_header_is_read_for_the_user_that_is_the_cure(start: Start, examine: Examine):
    sidecar = await start(tenant={"user_headers": []})
    await Front(sidecar, TEMPLATES).chats("a")
    said = await examine(sidecar)
    assert (said.code, said.found) == (1, ["one_tenant"])
    assert "SIDECAR_TENANT__USER_HEADERS" in said.text


async def test_a_header_of_another_case_is_the_same_header(start: Start, examine: Examine):
    sidecar = await start(identity={"headers": ["x-conversation-id"]}, tasks={"header": "X-TASK"})
    await Front(sidecar, TEMPLATES).chats("a")
    assert (await examine(sidecar)).found == []


def test_the_headers_that_are_advised_are_those_of_the_guide_and_the_settings():
    line = next(line for line in GUIDE.splitlines() if line.startswith("OPENAI_API_CONFIGS="))
    (assignment,) = shlex.split(line)
    told = json.loads(assignment.removeprefix("OPENAI_API_CONFIGS="))["0"]["headers"]
    assert connection_headers(Settings()) == told
    other = Settings.model_validate({"tasks": {"header": "X-What"}, "identity": {"parent_id_header": ""}})
    assert connection_headers(other)["X-What"] == "{{TASK}}"
    assert "X-User-Message-Parent-ID" not in connection_headers(other)


@pytest.mark.parametrize(
    ("said", "name"),
    [
        ("Python/3.11 aiohttp/3.14.5", "Python aiohttp"),
        ("OpenAI/Python 1.99.1", "OpenAI"),
        ("Mozilla/5.0 (X11; Linux) AppleWebKit/537.36 Safari/1", "Mozilla AppleWebKit"),
        ("node", "node"),
        ("sk-0123456789", ""),
        ("ada@example.com/1.0", ""),
        ("", ""),
        ("x" * 10_000, ""),
    ],
)
def test_of_a_user_agent_only_the_names_of_products_are_kept(said: str, name: str):
    assert product(said) == name


def test_what_clients_call_themselves_and_their_headers_takes_little_memory():
    samples = RequestSamples(Settings.model_validate({"upstream": "http://127.0.0.1:1/v1"}))
    product.cache_clear()

    def see(number: int) -> RequestSample:
        # Of each it is still seen what it means.
        many = {f"{'X' * 60}-{number}-{at}": "" for at in range(200)}
        long = {f"X-{number}-" + "x" * 20_000: ""}
        named = {"User-Agent": f"node {number} " + "x" * 20_000, "X-Conversation-ID": "a", "X-Thread": "b"}
        samples.see(CHAT, CIMultiDict({**named, **many}))
        return samples.see(CHAT, CIMultiDict({**named, **long}))

    see(0)
    tracemalloc.start()
    try:
        seen = [see(number) for number in range(1, 260)]
        held, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert {(each.client, each.states["x-conversation-id"], each.elsewhere) for each in seen} == {
        ("node", FILLED, ("X-Thread",))
    }
    assert held < 1 << 20
