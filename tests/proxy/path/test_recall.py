"""A chat that was cut gets back what its newest question asks for."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.conversation.exchange_record import Difference, Exchange
from sidecar.conversation.tree import Node
from sidecar.prompt.recall import ANSWER, HEADING
from sidecar.store import make_store
from tests.proxy.client import Sidecar
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Upstream, says

NAMES = ["Ada", "Bela", "Carl", "Dora", "Emil", "Fred", "Gina", "Hugo", "Ivan", "Jane"]
NAMES += ["Kurt", "Lena", "Mona", "Nils", "Olga", "Paul", "Quin", "Rosa", "Sven", "Tina"]
FACTS = [f"The house of {name} has the number {at}{at}{at}." for at, name in enumerate(NAMES)]
ANSWERED = "I see. " + "So it is, then. " * 12
QUESTION = "Which number has the house of Bela?"
#: The word of each line, its conversation, its tenant, and how many facts it shares with the other lines.
LINES = [("violet", "a", "k1", 5), ("amber", "a", "k1", 5), ("teal", "b", "k1", 0), ("ochre", "a", "k2", 5)]
TRIM = {"max_input_tokens": 1200, "recall": 0.25}


async def talk(sidecar: Sidecar, upstream: Upstream, thin: bool, id: str | None = "a") -> Any:
    """Twenty turns, each with a fact, and then a question about an old one."""
    said: list[str] = []
    for text in [*FACTS, QUESTION]:
        upstream.will(says(ANSWERED))
        reply = await sidecar.ask(*([text] if thin else [*said, text]), id=id)
        said += [text, ANSWERED]
    return reply


async def kept(sidecar: Sidecar) -> tuple[Exchange, list[Node]]:
    """The last exchange of the one conversation, and its messages."""
    store = make_store(sidecar.settings.store_path)
    await store.open()
    (about,) = [each async for each in store.conversations()]
    last, *_ = await store.exchanges(about.tenant, about.id)
    nodes = list(await store.tree(about.id))
    await store.close()
    return last, nodes


async def findings(sidecar: Sidecar) -> dict[str, str]:
    told = (await sidecar.send("GET", "/-/doctor")).json["findings"]
    return {each["code"]: each["found"] for each in told}


@pytest.mark.parametrize(("thin", "id"), [(False, "a"), (True, "a"), (False, None)])
async def test_what_the_question_asks_for_stands_in_front_of_it_and_is_no_part_of_the_history(
    start: Start, upstream: Upstream, thin: bool, id: str | None
):
    sidecar = await start(trim=TRIM, history={"mode": "append" if thin else "full"})
    reply = await talk(sidecar, upstream, thin, id)
    *_, quoting, noted, question = upstream.last.said
    assert (question, noted) == (QUESTION, ANSWER)
    assert quoting.startswith(HEADING)
    assert FACTS[1] in quoting
    assert int(reply.headers["X-Sidecar-Recalled"]) > 0
    assert await sidecar.metric("sidecar_recalls_total") > 0
    assert await sidecar.metric("sidecar_recalled_messages_total") >= int(reply.headers["X-Sidecar-Recalled"])
    assert await sidecar.metric("sidecar_recalled_tokens_total") > 0
    assert "recall_off" not in await findings(sidecar)
    stored = await sidecar.only()
    (branch,) = stored.branches
    assert [each for each in branch if each != ANSWERED] == [*FACTS, QUESTION]


@pytest.mark.parametrize("thin", [False, True])
async def test_it_is_kept_which_messages_were_quoted(start: Start, upstream: Upstream, thin: bool):
    sidecar = await start(trim=TRIM, history={"mode": "append" if thin else "full"})
    reply = await talk(sidecar, upstream, thin)
    last, nodes = await kept(sidecar)
    assert len(last.detail.quoted) == int(reply.headers["X-Sidecar-Recalled"]) == last.detail.recalled
    quoted = [node for node in nodes if any(map(node.id.startswith, last.detail.quoted))]
    assert FACTS[1] in [node.fields["content"] for node in quoted]
    assert (last.detail.budget, last.detail.saved > 0) == (1200, True)
    assert last.detail.recall_score > 1
    assert last.detail.difference == Difference(len(upstream.last.said) - 4, "grown")
    said = [each for fact in FACTS for each in (fact, ANSWERED)] + [QUESTION, ANSWERED]
    other = QUESTION.replace("Bela", "Carl")
    upstream.will(says("so"))
    await sidecar.ask(*([other] if thin else [*said, other]), id="a")
    assert FACTS[2] in upstream.last.said[-3]
    last, _ = await kept(sidecar)
    assert last.detail.difference is not None
    assert last.detail.difference.cause == "recalled"


async def test_a_retry_and_another_replica_get_the_same_bytes(start: Start, upstream: Upstream):
    bodies = []
    for again in (True, False):
        sidecar = await start(trim=TRIM)
        await talk(sidecar, upstream, thin=False)
        bodies.append(upstream.last.body)
        if again:
            upstream.will(says("again"))
            history = [each for fact in FACTS for each in (fact, ANSWERED)]
            await sidecar.ask(*history, QUESTION, id="a")
            bodies.append(upstream.last.body)
    assert len({body.split(b'"messages"')[1] for body in bodies}) == 1


async def test_it_can_be_turned_off(start: Start, upstream: Upstream):
    sidecar = await start(trim={**TRIM, "recall": 0})
    reply = await talk(sidecar, upstream, thin=False)
    assert "X-Sidecar-Recalled" not in reply.headers
    assert not any(text.startswith(HEADING) for text in upstream.last.said)
    assert await sidecar.metric("sidecar_recalls_total") == 0
    assert "1 chat" in (await findings(sidecar))["recall_off"]


async def test_a_request_that_is_not_to_be_cut_quotes_nothing(start: Start, upstream: Upstream):
    sidecar = await start(trim=TRIM)
    history = [each for fact in FACTS for each in (fact, ANSWERED)]
    upstream.will(says("so"))
    reply = await sidecar.ask(*history, QUESTION, id="a", headers={"X-Sidecar-Trim": "off"})
    assert "X-Sidecar-Recalled" not in reply.headers
    assert upstream.last.said == [*history, QUESTION]


async def test_through_ten_steps_of_a_tool_loop_the_front_of_the_prompt_stays_the_same(
    start: Start, upstream: Upstream
):
    sidecar = await start(trim={**TRIM, "max_input_tokens": 1400})
    messages: list[Any] = [
        {"role": role, "content": text}
        for fact in FACTS
        for role, text in (("user", fact), ("assistant", ANSWERED))
    ]
    messages.append({"role": "user", "content": QUESTION})
    prompts = []
    for at in range(11):
        call = {"id": f"c{at}", "type": "function", "function": {"name": "look", "arguments": "{}"}}
        upstream.will(says(None, tool_calls=[call]))
        await sidecar.ask(*messages, id="a")
        prompts.append(upstream.last.json["messages"])
        messages.append({"role": "assistant", "content": None, "tool_calls": [call]})
        messages.append({"role": "tool", "tool_call_id": f"c{at}", "content": f"step {at}"})
    front = prompts[0]
    assert HEADING in front[-3]["content"]
    assert [len(each) - len(front) for each in prompts] == list(range(0, 22, 2))
    assert all(each[: len(front)] == front for each in prompts)


async def test_a_branch_is_not_told_what_was_said_on_another(start: Start, upstream: Upstream):
    sidecar = await start(trim=TRIM)
    await talk(sidecar, upstream, thin=False)
    said = [each for fact in FACTS for each in (fact.replace("Bela", "Berta"), ANSWERED)]
    upstream.will(says("so"))
    await sidecar.ask(*said, "Which number has the house of Bela or Berta?", id="a")
    assert "house of Berta" in upstream.last.said[-3]
    assert "house of Bela " not in upstream.last.said[-3]


async def test_no_word_of_another_branch_conversation_or_tenant_is_ever_quoted(
    start: Start, upstream: Upstream
):
    """Lines that share some of their beginnings, each with a word of its own behind every fact, in turn."""
    sidecar = await start(trim=TRIM)
    lines = {mark: (id, tenant, split) for mark, id, tenant, split in LINES}
    said: dict[str, list[str]] = {
        mark: [f"{fact} {'shared' if at < split else mark}" for at, fact in enumerate(FACTS)]
        for mark, (_, _, split) in lines.items()
    }
    quoted: dict[str, str] = dict.fromkeys(lines, "")
    for name in ("Bela", "Hugo", "Lena", "Bela"):
        for mark, (id, tenant, _) in lines.items():
            upstream.will(says("so"))
            history = [each for fact in said[mark] for each in (fact, ANSWERED)]
            question = f"Which number has the house of {name}, in {' or '.join(lines)}?"
            await sidecar.ask(*history, question, id=id, headers={"Authorization": f"Bearer {tenant}"})
            turn = upstream.last.said[-3]
            assert turn.startswith(HEADING)
            assert f"house of {name} " in turn
            quoted[mark] += turn
    for mark, text in quoted.items():
        assert mark in text  # what is its own is quoted, so others' would be seen
        assert not [other for other in lines if other != mark and other in text]


async def test_a_limit_of_messages_is_kept(start: Start, upstream: Upstream):
    sidecar = await start(trim={**TRIM, "max_messages": 9, "step": 0.1})
    await talk(sidecar, upstream, thin=False)
    assert len(upstream.last.said) <= 9
