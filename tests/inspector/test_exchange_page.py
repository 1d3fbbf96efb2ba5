"""One exchange: what the client sent, what the upstream got, and why."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Difference, Refusal, Sent
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.records import Summary
from sidecar.inspector.called import called_in
from sidecar.inspector.exchange_facts import Around
from sidecar.inspector.exchange_page import MAX_GROUPS, exchange_page_of, sampled
from sidecar.inspector.render import as_html
from sidecar.inspector.system_prompts import leading_of
from sidecar.inspector.text import exchange_text
from sidecar.inspector.went import groups_of, missing, number_of, quoted_of
from sidecar.inspector.wording import OUTCOMES, SHORT
from sidecar.settings.trimming import Trim
from tests.inspector.conftest import Visitor
from tests.inspector.test_conversation_page import opened
from tests.inspector.test_tree_shape import stem
from tests.proxy.mock_upstream import Upstream, says, sends
from tests.store.trees import chat, exchange, message, question

#: Questions and answers in turn, the last one a question.
PATH = [
    stem(24 * name, role="assistant" if at % 2 else "user", source="upstream" if at % 2 else "client")
    for at, name in enumerate("abcdefg")
]


def done(sent, **about):
    return exchange("conv_1", None, detail=Detail(sent=sent, **about))


def told(sent, **about):
    """What was done, as `first to last: client, upstream`."""
    groups = groups_of(done(sent, **about), PATH)
    return [f"{at[0] + 1}-{at[-1] + 1}: {each.client}, {each.upstream}" for each, at in groups]


def test_what_the_client_sent_goes_as_it_came():
    assert told(Sent("client")) == ["1-7: sent, as it came"]


def test_what_was_left_out_is_told_from_what_went():
    assert told(Sent("client", PATH[4].id), dropped=4) == ["1-4: sent, left out", "5-7: sent, as it came"]


def test_what_is_never_cut_is_told_apart_from_what_was_left_out():
    sent = Sent("client", PATH[4].id[:16])
    assert told(sent, dropped=2) == [
        "1-2: sent, as it came",
        "3-4: sent, left out",
        "5-7: sent, as it came",
    ]
    groups = groups_of(done(sent, dropped=2), PATH)
    assert (groups[0][0].why, missing(groups)) == ("the first turn stays", "3 to 4")


def test_the_newest_question_stays_where_the_cut_is_behind_it():
    path = [*PATH[:5], *(stem(name, role="assistant") for name in "xyz")]
    each = done(Sent("client", path[7].id), dropped=4)
    groups = groups_of(each, path)
    assert [(verdict.upstream, verdict.why, at) for verdict, at in groups] == [
        ("as it came", "the first turn stays", [0, 1]),
        ("left out", "the prompt was cut to what it might have", [2, 3]),
        ("as it came", "the newest question stays", [4]),
        ("left out", "the prompt was cut to what it might have", [5, 6]),
        ("as it came", "", [7]),
    ]
    assert missing(groups) == "3 to 4, 6 to 7"


def test_the_question_of_an_old_turn_stays_where_the_cut_lies_within_that():
    path = [*PATH[:3], *(stem(name, role="assistant") for name in "wxyz"), PATH[6]]
    groups = groups_of(done(Sent("client", path[5].id), dropped=4), path)
    assert [(verdict.upstream, verdict.why, at) for verdict, at in groups] == [
        ("left out", "the prompt was cut to what it might have", [0, 1]),
        ("as it came", "the question stays, its oldest steps went", [2]),
        ("left out", "the prompt was cut to what it might have", [3, 4]),
        ("as it came", "", [5, 6, 7]),
    ]


@pytest.mark.parametrize(
    ("exceptions", "about"),
    [((), {"brought": 6}), (tuple((bytes([at]) * 32, "out") for at in range(32)), {})],
)
def test_where_it_is_not_kept_which_were_left_out_that_is_said(exceptions, about):
    each = done(Sent("client", PATH[4].id, exceptions), dropped=2, **about)
    out = [verdict for verdict, _ in groups_of(each, PATH) if "unless" in verdict.upstream]
    assert {verdict.upstream for verdict in out} == {"left out, unless it is never cut"}
    assert "of these 4 messages 2 were left out" in out[0].why


def test_more_than_there_is_was_left_out_where_the_client_had_more():
    assert told(Sent("client", PATH[4].id), dropped=9)[0] == "1-4: sent, left out"


@pytest.mark.parametrize("since", [b"", b"removals"])
def test_a_summary_stands_for_a_front(since: bytes):
    sent = Sent("client", PATH[4].id)
    assert told(sent, dropped=4, summary=PATH[1].id[:16] + since) == [
        "1-2: sent, a summary in its place",
        "3-4: sent, left out",
        "5-7: sent, as it came",
    ]


def test_a_client_that_sends_only_what_is_new_gets_the_rest_put_in():
    assert told(Sent("whole")) == ["1-6: not sent, put in as stored", "7-7: sent, as it came"]


def test_what_a_client_has_left_out_of_its_history_is_told_as_not_sent():
    sent = Sent("client")
    assert told(sent, brought=9) == ["1-7: sent, as it came"]
    page = exchange_page_of(done(sent, brought=3), None, PATH, [], {}, None)
    assert "3 messages where this path has 7" in page.rule
    assert "this path has" not in exchange_page_of(done(sent), None, PATH, [], {}, None).rule


@pytest.mark.parametrize(
    ("brought", "rows"),
    [
        (4, ["1-3: not sent", "4-5: sent, or other words in its place", "6-7: sent"]),
        (3, ["1-4: not sent", "5-6: sent, or other words in its place", "7-7: sent"]),
        (1, ["1-6: not sent", "7-7: sent"]),
    ],
)
def test_a_summary_of_the_clients_own_is_not_said_to_be_a_message_of_the_path(brought, rows):
    assert [each.rpartition(", ")[0] for each in told(Sent("client"), brought=brought)] == rows


@pytest.mark.parametrize(("about", "cause"), [({}, "edited"), ({"brought": 3}, "replaced")])
def test_a_client_that_has_replaced_its_beginning_is_not_said_to_have_edited_a_message(about, cause):
    each = done(Sent("client"), difference=Difference(2, "edited"), **about)
    page = exchange_page_of(each, None, PATH, [], {}, None)
    assert page.cause == cause
    assert ("put other words in its place" in page.why_difference) is (cause == "replaced")


@pytest.mark.parametrize(
    ("cause", "cached", "before", "is_said"),
    [
        ("grown", 0, 900, True),
        ("grown", 449, 900, True),
        ("grown", 450, 900, False),
        ("grown", None, 900, False),
        ("grown", 0, 499, False),
        ("grown", 0, None, False),
        ("system", 0, 900, False),
    ],
)
def test_that_the_upstream_no_longer_held_what_it_had_cached_is_said(cause, cached, before, is_said):
    each = done(None, difference=Difference(2, cause), cached_tokens=cached)
    earlier = replace(done(None), input_tokens=before)
    page = exchange_page_of(each, earlier, [], [], {}, None)
    assert ("it no longer held the others" in page.why_difference) is is_said
    for other in (None, replace(earlier, error="client_left")):
        assert "no longer held" not in exchange_page_of(each, other, [], [], {}, None).why_difference


def test_answers_may_be_restored():
    assert told(Sent("restored"))[:2] == [
        "1-1: sent, as it came",
        "2-2: sent, as stored, where the client's copy differs",
    ]


def test_exceptions_are_told():
    sent = Sent("client", None, ((PATH[1].id, "out"), (PATH[3].id, "short")))
    assert told(sent) == [
        "1-1: sent, shortened, where it is long",
        "2-2: sent, left out",
        "3-4: sent, shortened, where it is long",
        "5-7: sent, as it came",
    ]


def test_what_is_not_kept_is_not_guessed():
    each = done(None)
    assert groups_of(each, PATH) == []
    assert exchange_page_of(each, None, PATH, [], {}, None).rule == "What went upstream is not kept."


def test_of_many_messages_the_first_and_the_last_are_told_in_words():
    assert sampled(groups_of(done(Sent("client")), PATH)) == [0, 1, 6]
    path = [stem(f"n{at}", source="upstream" if at % 2 else "client", role="tool" if at % 2 else "user")
            for at in range(200)]  # fmt: skip
    groups = groups_of(done(Sent("restored")), path)
    page = exchange_page_of(done(Sent("restored")), None, path, groups, {}, None)
    assert (page.total_groups, len(page.groups)) == (200, MAX_GROUPS)
    assert page.groups[0].samples[0].words == "(not read here)"


@pytest.mark.parametrize("outcome", list(Outcome))
def test_every_outcome_is_explained(outcome):
    assert OUTCOMES[outcome.value]
    assert SHORT[outcome.value]


@pytest.mark.parametrize(
    ("cause", "number"),
    [
        *((cause, 0) for cause in ("model", "tools", "system", "summary")),
        *((cause, 2) for cause in ("trimmed", "recalled", "restored", "edited")),
        *((cause, None) for cause in ("grown", "unknown")),
    ],
)
def test_every_cause_of_a_difference_is_explained_and_has_the_number_that_messages_have(cause, number):
    each = done(Sent("client"), difference=Difference(2, cause))
    page = exchange_page_of(each, None, PATH, [], {}, None, Around(leading=1))
    assert (page.cause, page.difference) == (cause, number)
    assert page.why_difference
    html = as_html("exchange.html", "../", page=page).decode()
    assert ("The two differ in front of message 1," in html) is (number == 0)
    assert ("The two differ from message 2 on" in html) is (number == 2)


def test_another_model_is_named_in_the_first_words():
    now = replace(done(None, difference=Difference(0, "model")), model="llama3")
    page = exchange_page_of(now, replace(now, model="qwen3"), PATH, [], {}, None)
    assert page.why_difference.startswith("The client asked for llama3, and for qwen3 before:")
    nameless = exchange_page_of(now, replace(now, model=None), PATH, [], {}, None)
    assert "and for no model before" in nameless.why_difference


@pytest.mark.parametrize(
    ("tools", "before", "said"),
    [
        (None, b"t", "The client sent no tools any more; the prompt before had some (in this chat"),
        (b"t", None, "The client sent tools, and had sent none before ("),
        (b"t", b"u", "The client sent other tools than before ("),
    ],
)
def test_tools_that_went_or_came_are_said_in_the_first_words(tools, before, said):
    now = done(None, difference=Difference(0, "tools"), tools=tools)
    called = Around(called=("look", "find"))
    page = exchange_page_of(now, done(None, tools=before), PATH, [], {}, None, called)
    assert page.why_difference.startswith(said)
    assert "(in this chat it has called look, find)" in page.tools


async def test_tools_are_named_by_what_was_called(visitor: Visitor, upstream: Upstream):
    calls = [
        {"id": "1", "type": "function", "function": {"name": "track_parcel", "arguments": "{}"}},
        {"id": "2", "type": "function", "function": {"name": "track_parcel", "arguments": "{}"}},
    ]
    said: list[dict[str, Any]] = [
        {"role": "user", "content": "Where is it?"},
        {"role": "assistant", "content": "", "tool_calls": calls},
        *({"role": "tool", "tool_call_id": each, "content": "there"} for each in "12"),
    ]
    tools = [{"type": "function", "function": {"name": "track_parcel"}}]
    upstream.will(says("There."), says("No idea."))
    await visitor.sidecar.ask(*said, id="a", tools=tools)
    more = [{"role": "assistant", "content": "There."}, {"role": "user", "content": "And the other?"}]
    await visitor.sidecar.ask(*said, *more, id="a")
    path = await opened(visitor, "a")
    last = (await visitor.value(path))["entries"][-1]["exchange"]["id"]
    page = await visitor.value(f"{path}x/{last}")
    assert page["cause"] == "tools"
    assert (
        "no tools any more; the prompt before had some (in this chat it has called track_parcel)"
        in (page["why_difference"])
    )
    assert page["tools"].startswith("none; the exchange before had some (in this chat it has called track_p")


def test_what_is_no_call_has_no_name():
    odd = message({"role": "assistant", "tool_calls": [1, {"function": 2}, {"function": {"name": 3}}]})
    old = message({"role": "assistant", "function_call": {"name": "old"}})
    broken = msgspec.structs.replace(question("hi"), body=b"no JSON")
    assert called_in([odd, old, broken, old]) == ("old",)


def test_of_a_client_that_sends_only_what_is_new_no_message_was_edited():
    now = replace(done(Sent("whole"), difference=Difference(2, "edited")), outcome="append")
    page = exchange_page_of(now, None, PATH, [], {}, None)
    assert page.cause == "unstored"
    assert "a turn that is not stored" in page.why_difference


def test_the_remedy_for_a_clock_in_the_system_prompt_is_named():
    page = exchange_page_of(done(None, difference=Difference(0, "system")), None, PATH, [], {}, None)
    assert "set `restore.system_prompt` to pin" in page.why_difference


def test_that_the_first_turn_was_left_out_as_well_is_said():
    each = done(Sent("client", PATH[4].id), dropped=4)
    about = Around(trim=Trim(keep_first_turn="auto"))
    page = exchange_page_of(each, None, PATH, groups_of(each, PATH), {}, None, about)
    assert "The first turn went with the others" in page.cut
    kept = done(Sent("client", PATH[4].id), dropped=2)
    page = exchange_page_of(kept, None, PATH, groups_of(kept, PATH), {}, None, about)
    assert "The first turn" not in page.cut


def test_without_the_number_of_system_messages_no_number_is_told():
    each = done(Sent("client"), difference=Difference(2, "edited"))
    assert exchange_page_of(each, None, PATH, [], {}, None).difference is None


def test_a_prompt_that_was_cut_differs_where_the_first_is_missing():
    def cut(first, dropped, parent):
        kept = Detail(
            sent=Sent("client", first and first.id), dropped=dropped, difference=Difference(3, "trimmed")
        )
        return exchange("conv_1", None, parent=parent.id, detail=kept)

    now = cut(PATH[4], 2, PATH[6])
    for before, number in ((cut(None, 0, PATH[4]), 3), (cut(PATH[3], 1, PATH[4]), 4), (None, 5)):
        page = exchange_page_of(now, before, PATH, [], {}, None, Around(leading=1))
        assert page.difference == number


def test_a_number_is_told_only_of_what_is_kept():
    assert number_of(done(Sent("client")), PATH, 6) == 7
    for each, nth in (
        (done(Sent("client")), 7),
        (done(Sent("client")), -1),
        (done(Sent("client"), brought=3), 0),
        (done(Sent("client"), dropped=1), 0),
        (done(None), 0),
    ):
        assert number_of(each, PATH, nth) is None
    assert number_of(done(Sent("client", None, ((PATH[1].id, "out"),))), PATH, 1) == 3


def test_system_prompt_and_tools_are_compared_with_those_before():
    def compared(now, before):
        earlier = None if before == "first" else done(None, system=before)
        return exchange_page_of(done(None, system=now), earlier, [], [], {}, None).system

    assert compared(None, "first") == "none"
    assert compared(None, b"x") == "none; the exchange before had some"
    assert compared(b"x", "first") == "sent"
    assert compared(b"x", b"x") == "as in the exchange before"
    assert compared(b"x", b"y") == "other than in the exchange before"


def test_the_estimate_is_compared_with_what_was_counted():
    each = replace(done(None, estimated_tokens=110), input_tokens=100)
    assert exchange_page_of(each, None, [], [], {}, None).estimate == 110
    assert exchange_page_of(replace(each, input_tokens=None), None, [], [], {}, None).estimate is None


def test_the_summary_is_shown():
    page = exchange_page_of(done(None), None, [], [], {}, Summary(b"h", "They met.", "m", 1.0))
    assert page.summary is not None
    assert page.summary.seen == "They met."


def test_what_was_quoted_again_is_told_with_its_words():
    nodes = chat("The bell is blue.", "So.", "Which?")
    path = [replace(PATH[at], id=node.id, role=node.role) for at, node in enumerate(nodes)]
    quoted = (nodes[0].id[:16], nodes[1].id, b"gone")
    each = done(
        None, quoted=quoted, recalled=5, recall_score=7.5, budget=900, saved=70, refusal=Refusal(500, None)
    )
    assert quoted_of(each, path) == [0, 1]
    page = exchange_page_of(each, None, path, [], {nodes[0].id: nodes[0]}, None)
    assert [(one.number, one.words) for one in page.quoted] == [
        (1, "The bell is blue."),
        (2, "(not read here)"),
    ]
    html = as_html("exchange.html", "../", page=page).decode()
    assert "something of 2 messages" in html
    assert "And of 3 more, of which it is not kept which they are." in html
    assert "its window holds 500 tokens</dd>" in html
    assert "what was left out had 70, by estimate" in html
    assert "<dt>the prompt might have</dt><dd>900 tokens, of the model's window".replace("'", "&#39;") in html
    text = exchange_text(page)
    assert "the upstream said: window 500, prompt - tokens" in text
    assert "quoted:         1. user: The bell is blue." in text
    assert "quoted by:      words of the newest question, the best scores 7.5" in text


def test_a_message_that_cannot_be_read_is_said_to_be_none():
    node = replace(question("x"), body=b"[]")
    path = [replace(PATH[0], id=node.id)]
    each = done(Sent("client"))
    page = exchange_page_of(each, None, path, groups_of(each, path), {node.id: node}, None)
    assert page.groups[0].samples[0].words == "(not a message)"


@pytest.mark.parametrize(
    ("system", "front", "left"),
    [("Be kind. Summary: …", [], 6), ("Be kind.", [{"role": "user", "content": "A summary: …"}], 5)],
)
async def test_that_a_client_compacts_by_itself_is_seen_on_the_pages_of_its_exchanges(
    visitor, upstream, system, front, left
):
    said: list[dict[str, str]] = []
    for at in range(6):
        upstream.will(says(f"answer {at}"))
        said.append({"role": "user", "content": f"question {at}"})
        sent = [{"role": "system", "content": "Be kind."}, *said]
        if at >= 4:
            sent = [{"role": "system", "content": system}, *front, *said[6:]]
        await visitor.sidecar.ask(*sent, id="a")
        said.append({"role": "assistant", "content": f"answer {at}"})

    path = await opened(visitor, "a")
    for entry in (await visitor.value(path))["entries"][9::2]:
        page = await visitor.value(f"{path}x/{entry['exchange']['id']}")
        assert [(each["client"], each["last"]) for each in page["groups"]] == [
            ("not sent", left),
            ("sent, or other words in its place", left + 2),
            ("sent", page["path"]),
        ]
        # The request in which it begins to is not taken for one with an edited message.
        assert page["cause"] != "edited"


async def test_a_cut_is_seen_on_the_page_of_its_exchange(visit, upstream: Upstream):
    visitor: Visitor = await visit(trim={"max_messages": 5})
    said: list[str] = []
    for at in range(4):
        upstream.will(says(f"answer {at}"))
        said.append(f"question {at}")
        await visitor.sidecar.ask(*said, id="a")
        said.append(f"answer {at}")

    path = await opened(visitor, "a")
    last = (await visitor.value(path))["entries"][-1]["exchange"]
    page = await visitor.value(f"{path}x/{last['id']}")
    assert last["dropped"] == page["line"]["dropped"] > 0
    assert page["groups"][0]["upstream"].startswith("left out")
    assert page["groups"][-1]["upstream"] == "as it came"
    assert page["groups"][-1]["samples"][-1]["words"] == "question 3"
    assert page["before"]["outcome"] == "continue"
    html = (await visitor.get(f"{path}x/{last['id']}")).text
    assert f'href="{page["before"]["id"]}"' in html
    assert "left out" in html
    # Each link leads to a page.
    assert (await visitor.get(f"{path}x/{page['before']['id']}")).status == 200


async def test_what_a_thin_client_did_not_send_is_seen(visit, upstream: Upstream):
    visitor: Visitor = await visit(history={"mode": "append"})
    upstream.will(says("Hello Ada."), says("Ada."))
    await visitor.sidecar.ask("I am Ada.", id="a")
    await visitor.sidecar.ask("My name?", id="a")

    path = await opened(visitor, "a")
    last = (await visitor.value(path))["entries"][-1]["exchange"]
    page = await visitor.value(f"{path}x/{last['id']}")
    assert last["outcome"] == "append"
    assert [(each["client"], each["first"], each["last"]) for each in page["groups"]] == [
        ("not sent", 1, 2),
        ("sent", 3, 3),
    ]
    assert "put in as stored" in (await visitor.get(f"{path}x/{last['id']}")).text


@pytest.mark.parametrize(
    ("before", "now", "cause"),
    [
        ({}, {}, "grown"),
        ({"model": "old"}, {}, "model"),
        ({"tools": b"t"}, {}, "tools"),
        ({"system": b"s"}, {"system": b"z"}, "system"),
        ({}, {"summary": b"h"}, "summary"),
        ({"dropped": 2}, {"dropped": 4}, "trimmed"),
        ({"shortened": 1}, {}, "trimmed"),
        ({"parent": b"elsewhere"}, {}, "edited"),
        ({"parent": None}, {}, "grown"),
        ({"parent": PATH[0].id}, {"sent": Sent("whole", None, ((PATH[2].id[:16], "out"),))}, "joined"),
        ({}, {"sent": Sent("whole", None, ((PATH[2].id[:16], "out"),))}, "grown"),
        ({"parent": PATH[0].id}, {"sent": Sent("whole", None, ((PATH[1].id, "out"),))}, "grown"),
        ({"sent": Sent("restored")}, {}, "restored"),
        ({"sent": Sent("restored")}, {"sent": Sent("restored")}, "grown"),
    ],
)
def test_where_the_prompt_before_was_not_at_hand_what_is_kept_of_both_tells(before, now, cause):
    def made(model="demo", parent=PATH[2].id, **detail):
        kept = Detail(**{"sent": Sent("client"), "difference": Difference(0, "unknown"), **detail})
        return exchange("conv_1", None, model=model, parent=parent, detail=kept)

    page = exchange_page_of(made(**now), made(**before), PATH[:3], [], {}, None)
    in_front = cause in ("model", "tools", "system", "summary")
    assert (page.cause, page.difference) == (cause, 0 if in_front else None)
    assert page.why_difference.startswith("The prompt before was not at hand")
    html = as_html("exchange.html", "../", page=page).decode()
    assert f'<strong class="cause">{cause}</strong>' in html


def test_where_nothing_is_kept_of_the_one_before_the_cause_stays_unknown():
    each = done(Sent("client"), difference=Difference(0, "unknown"))
    assert exchange_page_of(each, done(None), PATH, [], {}, None).cause == "unknown"


async def test_messages_have_one_number_on_all_pages_and_exchanges_lead_on(visitor, upstream: Upstream):
    upstream.will(says("Hello."), says("Green."), says("Blue."))
    system, hi = {"role": "system", "content": "Be kind."}, {"role": "user", "content": "Hi!"}
    hello = {"role": "assistant", "content": "Hello."}
    await visitor.sidecar.ask(system, hi, id="a")
    await visitor.sidecar.ask(system, hi, hello, {"role": "user", "content": "Green?"}, id="a")
    await visitor.sidecar.ask(system, hi, hello, {"role": "user", "content": "Blue?"}, id="a")
    path = await opened(visitor, "a")
    last = (await visitor.value(path))["entries"][-1]["exchange"]["id"]
    page = await visitor.value(f"{path}x/{last}")
    assert (page["cause"], page["difference"], page["after"]) == ("edited", 3, "")
    (part,) = (await visitor.value(f"{path}x/{last}/diff"))["parts"]
    assert part["title"] == "Message 3"
    before = page["before"]["id"]
    assert (await visitor.value(f"{path}x/{before}"))["after"] == last
    assert f'<a rel="next" href="{last}">' in (await visitor.get(f"{path}x/{before}")).text


async def test_a_request_that_the_upstream_refused_is_told_with_what_is_missing(visitor, upstream: Upstream):
    upstream.will(says("Hello."))
    await visitor.sidecar.ask("Hi!", id="a")
    upstream.will(sends(b'{"error": {"code": "rate_limit_exceeded"}}', status=429))
    await visitor.sidecar.ask("Hi!", "Hello.", "So?", id="a")
    path = await opened(visitor, "a")
    async with asyncio.timeout(10):  # it is recorded once the client has its answer
        while not (found := (await visitor.value(path))["entries"][-1]["failed"]):
            await asyncio.sleep(0.01)
    (failed,) = found
    html = (await visitor.get(f"{path}x/{failed['id']}")).text
    assert "The upstream refused it (rate_limit_exceeded), with status 429" in html
    assert "The question that failed came behind these." in html
    assert "could use all of it" not in html


@pytest.mark.parametrize(
    ("system", "summary", "leading"), [(b"[{},{}]", None, 2), (b"[]", b"h", 1), (b"[", None, None)]
)
def test_how_many_system_messages_led_is_known_where_they_are_kept(system, summary, leading):
    each = done(None, system=b"s", summary=summary)
    assert leading_of(each, {b"s": system}) == leading
    assert leading_of(each, {}) is None


@pytest.mark.parametrize(
    ("here", "cached", "said"),
    [
        ("http://b", None, "went to http://a, and this one to http://b, which has nothing"),
        ("http://b", 900, "Nothing broke the prefix"),
        ("http://a", None, "Nothing broke the prefix"),
        (None, None, "Nothing broke the prefix"),
    ],
)
def test_a_prompt_that_another_machine_got_finds_nothing_in_its_cache(here, cached, said):
    detail = Detail(member="http://a", sent=Sent("client"))
    before = exchange("conv_1", None, detail=detail)
    now = exchange(
        "conv_1",
        None,
        detail=replace(detail, member=here, cached_tokens=cached, difference=Difference(2, "grown")),
    )
    page = exchange_page_of(now, before, PATH, groups_of(now, PATH), {}, None)
    assert (page.cause, said in page.why_difference) == ("grown", True), page.why_difference
