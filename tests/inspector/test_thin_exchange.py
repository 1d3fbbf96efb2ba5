"""The page of an exchange of a client that sends only what is new: what became of what it did not send."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Sent
from sidecar.inspector.exchange_facts import Around, Group, Sample
from sidecar.inspector.exchange_page import exchange_page_of
from sidecar.inspector.stray_results import stray_results
from sidecar.inspector.text import exchange_text
from sidecar.inspector.went import groups_of, missing
from tests.conversation.build import calls, node, result, says, user
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.inspector.test_exchange_page import done
from tests.inspector.test_tree_shape import stem
from tests.proxy.mock_upstream import Upstream, sends
from tests.proxy.mock_upstream import says as will_say

CALL = {"id": "c60", "type": "function", "function": {"name": "look", "arguments": "{}"}}
OTHER = {**CALL, "id": "c61"}
TOOLS = [{"type": "function", "function": {"name": "look"}}]
PERSONA = {"role": "system", "content": "You are a weather assistant."}


def path_of(*roles, **states):
    """A path of messages of these roles: `u`ser, `a`ssistant, `t`ool; `states` of some, by `m` and number."""
    names = {"u": "user", "a": "assistant", "t": "tool"}
    return [
        stem(
            f"m{at}",
            role=names[each],
            source="upstream" if each == "a" else "client",
            state=states.get(f"m{at}", "complete"),
        )
        for at, each in enumerate(roles)
    ]


def told(path, *out, **about):
    sent = Sent("whole", about.pop("first", None), tuple((path[at].id, "out") for at in out))
    groups = groups_of(done(sent, **about), path)
    return [
        (at[0], at[-1], verdict.upstream, verdict.why.partition(":")[0]) for verdict, at in groups
    ], missing(groups)


def test_without_tools_what_is_left_out_of_earlier_turns_is_said_with_the_reason():
    path = path_of(*"uattau")
    assert told(path, 2, 3) == (
        [
            (0, 0, "put in as stored", "the client sends only what is new"),
            (1, 1, "its words, without its calls", "the request has no `tools`"),
            (2, 3, "left out", "the request has no `tools`"),
            (4, 4, "put in as stored", "the client sends only what is new"),
            (5, 5, "as it came", ""),
        ],
        "3 to 4",
    )
    assert told(path, 1, 2, 3)[0][1] == (1, 3, "left out", "the request has no `tools`")
    assert told(path, 1, 2)[0][2] == (3, 3, "as text", "the request has no `tools`")


def test_with_tools_the_request_is_not_said_to_have_none():
    path = path_of(*"uattau")
    assert [each[2] for each in told(path, tools=b"t")[0]] == ["put in as stored", "as it came"]
    assert told(path, 3, tools=b"t")[0][1][3].startswith("its call does not go")


def test_the_steps_of_the_newest_turn_are_not_those_of_earlier_ones():
    assert [each[2] for each in told(path_of(*"uat"))[0]] == ["put in as stored", "as it came"]


def test_a_client_that_sends_all_by_itself_is_told_nothing_of_it():
    groups = groups_of(done(Sent("client")), path_of(*"uattau"))
    assert [verdict.upstream for verdict, _ in groups] == ["as it came"]


def test_of_more_than_are_kept_as_exceptions_all_results_are_known_to_stay_out():
    path = path_of(*("u" + "at" * 40 + "au"))
    groups, left = told(path, *range(50, 82))
    assert {why for _, _, went, why in groups if went == "left out"} == {"the request has no `tools`"}
    assert left.startswith("3, 5, 7, ")


def test_what_the_cut_took_is_said_to_be_cut():
    path = path_of(*"uatauuau")
    groups, _ = told(path, 2, first=path[5].id, dropped=3)
    assert groups[2][2:] == ("left out", "the request has no `tools`")
    assert groups[3][2:] == ("left out", "the prompt was cut to what it might have")


@pytest.mark.parametrize(
    ("path", "out", "went", "why"),
    [
        (path_of(*"uau", m1="failed"), 1, "left out", "its upstream broke off, and what it said is never"),
        (path_of(*"uuau"), 1, "not as a message of its own", "its words stand in the question before it"),
        (path_of(*"uaau"), 2, "not as a message of its own", "its words stand in the answer before it, or"),
        (path_of(*"uau"), 1, "left out", "it says nothing, or nothing but calls that have no result here"),
    ],
)
def test_whatever_stays_out_has_a_reason_of_its_own(path, out, went, why):
    (found,) = [each for each in told(path, out)[0] if each[0] == out]
    assert found[2] == went
    assert found[3].startswith(why)


async def test_that_a_request_has_no_tools_is_seen_on_its_page_and_by_its_client(visit, upstream: Upstream):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(will_say(None, tool_calls=[CALL, OTHER], finish="tool_calls"), will_say("Warm."))
    await visitor.sidecar.ask(PERSONA, user("Rome?"), id="a", tools=TOOLS)
    results = [{"role": "tool", "tool_call_id": each["id"], "content": "21"} for each in (CALL, OTHER)]
    with_tools = await visitor.sidecar.ask(*results, id="a", tools=TOOLS)
    without = await visitor.sidecar.ask("And?", id="a")
    again = await visitor.sidecar.ask("Now?", id="a", tools=TOOLS)

    name = "X-Sidecar-Steps-Left-Out"
    assert [each.headers.get(name) for each in (with_tools, without, again)] == [None, "2", None]
    path = await opened(visitor, "a")
    asked = (await visitor.value(path))["entries"][-3]["exchange"]["id"]
    page = await visitor.value(f"{path}x/{asked}")
    assert page["missing"] == "2 to 4"
    assert page["rule"].endswith("what the client sent went upstream. Not among it: 2 to 4.")
    assert page["groups"][1]["why"].startswith("the request has no `tools`")


async def test_a_result_in_whose_place_a_later_one_stands_is_not_said_to_lack_tools(
    visit, upstream: Upstream
):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(will_say(None, tool_calls=[CALL], finish="tool_calls"), will_say("Warm."))
    await visitor.sidecar.ask("Rome?", id="a", tools=TOOLS)
    await visitor.sidecar.ask({"role": "tool", "tool_call_id": "c60", "content": "21"}, id="a", tools=TOOLS)
    reply = await visitor.sidecar.ask(
        {"role": "tool", "tool_call_id": "c60", "content": "22"}, id="a", tools=TOOLS
    )

    assert [each.get("content") for each in upstream.last.json["messages"]] == ["Rome?", "Warm.", "22"]
    assert "X-Sidecar-Steps-Left-Out" not in reply.headers


async def test_a_step_that_nothing_answered_is_said_to_have_gone_as_text(visit, upstream: Upstream):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(
        will_say(None, tool_calls=[CALL, OTHER], finish="tool_calls"),
        sends(b"{}", status=503),
        will_say("So."),
    )
    await visitor.sidecar.ask("Rome?", id="a", tools=TOOLS)
    results = [{"role": "tool", "tool_call_id": each["id"], "content": "21"} for each in (CALL, OTHER)]
    assert (await visitor.sidecar.ask(*results, id="a", tools=TOOLS)).status == 503
    await visitor.sidecar.ask("And?", id="a", tools=TOOLS)

    assert upstream.last.json["messages"] == [
        user("Rome?"),
        {"role": "assistant", "content": "look({}): 21\nlook({}): 21"},
        user("And?"),
    ]
    path = await opened(visitor, "a")
    asked = (await visitor.value(path))["entries"][-1]["exchange"]["id"]
    page = await visitor.value(f"{path}x/{asked}")
    told = [(each["first"], each["last"], each["client"], each["upstream"]) for each in page["groups"]]
    assert told == [
        (1, 1, "not sent", "put in as stored"),
        (2, 2, "not sent", "as text"),
        (3, 4, "sent before, and not answered", "as text"),
        (5, 5, "sent", "as it came"),
    ]
    assert page["groups"][1]["why"].startswith("no answer came to these calls")
    assert page["missing"] == ""
    assert "Not among it" not in page["rule"]


def in_words(path, text, *in_text, **about):
    """What is told of each message of a path on which one tells others in its text: what went, and why."""
    forms = ((path[text].id, "text"), *((path[at].id, "told") for at in in_text))
    groups = groups_of(done(Sent("whole", about.pop("first", None), forms), **about), path)
    return [verdict.upstream for verdict, at in groups for _ in at], {verdict.why for verdict, _ in groups}


def test_where_there_are_no_tools_all_of_a_step_that_was_written_out_is_said_to_be_text():
    went, why = in_words(path_of(*"uatatu"), 4, 1, 2, 3)
    assert went == ["put in as stored", *["as text"] * 4, "as it came"]
    assert any(each.startswith("the request has no `tools`") for each in why)


def test_what_went_as_text_since_the_upstream_refused_it_otherwise_is_said_so():
    went, why = in_words(path_of(*"uattu"), 1, 2, 3, tools=b"t", left_out=("all",))
    assert went[1:4] == ["as text"] * 3
    assert "the upstream refused the prompt in another form" in why


def test_of_a_text_whose_own_message_is_not_known_the_others_are_still_said_to_be_text():
    path = path_of(*"uattu")
    sent = Sent("whole", None, tuple((path[at].id, "told") for at in (2, 3)))
    went = [verdict.upstream for verdict, _ in groups_of(done(sent, tools=b"t"), path)]
    assert went == ["put in as stored", "as text", "as it came"]


def test_of_a_text_that_was_cut_nothing_is_said_to_have_gone():
    path = path_of(*"uauattuau")
    assert in_words(path, 3, 4, 5, tools=b"t", first=path[6].id, dropped=4)[0][:6] == ["left out"] * 6


def test_a_text_of_the_first_turn_that_stays_is_still_one():
    path = path_of(*"uattuauau")
    went, _ = in_words(path, 1, 2, 3, tools=b"t", first=path[6].id, dropped=2)
    assert went[:6] == ["put in as stored", *["as text"] * 3, *["left out"] * 2]


async def test_a_system_prompt_that_was_put_in_is_said_and_listed(visit, upstream: Upstream):
    visitor: Visitor = await visit(history={"mode": "append"})
    await visitor.sidecar.ask(PERSONA, user("I am Ada."), id="a")
    reply = await visitor.sidecar.ask("My name?", id="a")

    assert reply.headers["X-Sidecar-Restored"] == "3"
    path = await opened(visitor, "a")
    entries = (await visitor.value(path))["entries"]
    first, last = [await visitor.value(f"{path}x/{entries[at]['exchange']['id']}") for at in (1, -1)]
    assert (first["system"], first["system_put_in"]) == ("sent", None)
    assert last["system"].startswith("put in as stored, where the client sent none")
    assert last["system"].endswith("; as in the exchange before")
    assert last["system_put_in"]["seen"] == PERSONA["content"]
    html = (await visitor.get(f"{path}x/{entries[-1]['exchange']['id']}")).text
    assert "put in as stored, where the client sent none" in html
    assert "<dt>what was put in of it</dt>" in html
    # A message has the same number here as everywhere, whoever sent what stands in front of all.
    assert last["cause"] == "grown"


async def test_a_pinned_system_prompt_is_said_to_be_put_in(visit, upstream: Upstream):
    visitor: Visitor = await visit(restore={"system_prompt": "pin"})
    clock = "You are a kind and patient assistant of this town. It is {}:00."
    first, second = ({"role": "system", "content": clock.format(hour)} for hour in (10, 11))
    await visitor.sidecar.ask(first, user("Hi!"), id="a")
    await visitor.sidecar.ask(second, user("Hi!"), says("ok"), user("So?"), id="a")

    assert upstream.last.json["messages"][0] == first
    path = await opened(visitor, "a")
    last = (await visitor.value(path))["entries"][-1]["exchange"]["id"]
    page = await visitor.value(f"{path}x/{last}")
    assert page["system"].endswith("nearly the same; as in the exchange before")
    assert "10:00" in page["system_put_in"]["seen"]


async def test_results_that_answer_no_call_go_as_they_came_and_are_told(visit, upstream: Upstream):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(will_say(None, tool_calls=[CALL, OTHER], finish="tool_calls"))
    await visitor.sidecar.ask("Rome?", id="a", tools=TOOLS)
    strays = [{"role": "tool", "tool_call_id": each, "content": "21"} for each in ("c70", "c71")]
    await visitor.sidecar.ask(*strays, id="a", tools=TOOLS)

    assert upstream.last.json["messages"] == [{"role": "user", "content": "Rome?"}, *strays]
    path = await opened(visitor, "a")
    last = (await visitor.value(path))["entries"][-1]["exchange"]["id"]
    page = await visitor.value(f"{path}x/{last}")
    assert page["stray"].startswith("Messages 3 to 4: a result that answers no call of this chat")
    assert page["groups"][1]["why"].startswith("it says nothing, or nothing but calls that have no result")
    assert "answers no call of this chat" in (await visitor.get(f"{path}x/{last}")).text


def page_of(**around):
    return exchange_page_of(done(Sent("client")), None, [], [], {}, None, Around(**around))


def test_what_was_put_in_and_what_answers_nothing_is_in_the_terminal_too():
    text = exchange_text(page_of(put_in="Be kind.", stray=[4]))
    assert "system prompt: client not sent; upstream put in as stored\n    Be kind.\n" in text
    assert "  results:        Message 5: a result that answers no call" in text
    assert "results:" not in exchange_text(page_of())


def counted(page, **numbers):
    """The page with these of its stored numbers."""
    return replace(page, numbers=replace(page.numbers, **numbers))


def test_where_no_limit_is_set_the_terminal_says_nothing_of_one():
    assert "might have" not in exchange_text(page_of())
    limited = counted(replace(page_of(), limit="900 tokens, the operator's"), saved=21)
    assert "  might have:     900 tokens, the operator's; 21 tokens were left out, by" in exchange_text(
        limited
    )
    assert "left out" not in exchange_text(counted(limited, saved=0))


def test_the_terminal_says_no_number_that_nobody_counted():
    page = counted(page_of(), estimated_tokens=34)
    unknown = replace(page.line, input_tokens=None, output_tokens=None, cached_tokens=None)
    text = exchange_text(replace(page, line=unknown))
    assert "tokens:         the upstream reported none; estimated 34\n" in text
    assert "in -" not in text
    known = replace(unknown, input_tokens=40, cached_tokens=30)
    assert "counted 40, 30 from its cache; estimated 34" in exchange_text(replace(page, line=known))


ASK = node(user("Rome?"))
MADE = node(calls("c1", "c2"), ASK, nonce=1)
EARLIER = node(calls("c9"), ASK, nonce=2)


class TestStrayResults:
    """Which results at the end of a path answer none of its calls."""

    async def found(self, *nodes, unread=(), sizes=None):
        path = [
            stem(f"n{at}", role=each.role, size=(sizes or {}).get(at, 1)) for at, each in enumerate(nodes)
        ]
        held = {
            stem.id: each for at, (stem, each) in enumerate(zip(path, nodes, strict=True)) if at not in unread
        }
        self.read: list[bytes] = []

        async def read(stems: Any) -> Any:
            self.read += [each.id for each in stems]
            return {each.id: held[each.id] for each in stems if each.id in held}

        return await stray_results(path, read)

    async def test_those_with_ids_of_no_call(self):
        assert await self.found(ASK, MADE, node(result("c1"), MADE), node(result("x"), MADE)) == [3]

    async def test_a_late_result_answers_a_call_further_up(self):
        late = node(result("c9"), MADE)
        assert await self.found(ASK, EARLIER, node(says("So."), EARLIER), late) == []
        assert await self.found(ASK, EARLIER, node(says("So."), EARLIER), node(result("x"), MADE)) == [3]

    async def test_usually_one_answer_is_read_and_not_all(self):
        assert await self.found(ASK, EARLIER, MADE, node(result("c1"), MADE)) == []
        assert len(self.read) == 2

    async def test_of_what_does_not_end_with_results_nothing_is_read(self):
        assert await self.found(ASK, MADE) == []
        assert self.read == []

    async def test_where_no_answer_is_there_all_are_stray(self):
        assert await self.found(ASK, node(result("c1"), ASK)) == [1]

    async def test_a_call_without_an_id_may_be_the_one(self):
        nameless = node({"role": "assistant", "content": None, "tool_calls": [{"type": "function"}]}, ASK)
        assert await self.found(ASK, nameless, node(result("x"), nameless)) == []

    @pytest.mark.parametrize("unread", [1, 2])
    async def test_what_cannot_be_read_tells_nothing(self, unread):
        assert await self.found(ASK, MADE, node(result("x"), MADE), unread=[unread]) == []

    @pytest.mark.parametrize("damaged", [1, 2])
    async def test_nor_does_what_is_damaged(self, damaged):
        nodes = [ASK, MADE, node(result("x"), MADE)]
        nodes[damaged] = replace(nodes[damaged], body=b"[")
        assert await self.found(*nodes) == []

    @pytest.mark.parametrize("large", [1, 2])
    async def test_nor_does_what_is_too_large_to_be_read_for_it(self, large):
        assert await self.found(ASK, MADE, node(result("x"), MADE), sizes={large: 9 << 20}) == []

    async def test_nor_does_a_path_with_too_many_answers(self):
        assert await self.found(ASK, *[MADE] * 129, node(result("x"), MADE)) == []


def test_in_the_terminal_a_stream_without_counts_says_how_a_client_asks_for_them():
    streamed = replace(page_of(), line=replace(page_of().line, input_tokens=None, first_token_ms=9))
    how = "a stream tells them if its client asks: stream_options.include_usage"
    assert how in " ".join(exchange_text(streamed).split())
    assert how not in " ".join(exchange_text(replace(streamed, failure="It broke off.")).split())
    assert how not in " ".join(exchange_text(page_of()).split())


def test_in_the_terminal_a_long_group_says_that_there_are_others_between():
    group = Group(1, 12, "sent", "as it came", "", "same", ())
    samples = tuple(Sample("id", number, "user", "Hi!") for number in (1, 2, 12))
    text = exchange_text(replace(page_of(), groups=(replace(group, samples=samples),)))
    assert text.endswith("  1. user: Hi!\n  2. user: Hi!\n  … 9 more\n  12. user: Hi!\n")
    short = replace(group, last=2, samples=samples[:2])
    assert "more" not in exchange_text(replace(page_of(), groups=(short,)))
