"""`./dev bench recall` measures what it says, and its own talks are fit for it."""

from __future__ import annotations

import pytest
from aiohttp import ClientSession

from sidecar.server.serve import running
from sidecar.settings import Settings
from tests.bench.recall.kinds import asked, row
from tests.bench.recall.model import is_right
from tests.bench.recall.prompts import Prompt, text_of
from tests.bench.recall.talk import KINDS, Question, read
from tests.proxy.mock_upstream import Upstream

ASKED = {"role": "user", "content": "?"}
SAID = {"role": "assistant", "content": "old, and then new"}
CALLS = {"role": "assistant", "content": None, "tool_calls": [{"id": "a"}]}
RESULT = {"role": "tool", "tool_call_id": "a", "content": "{}"}


@pytest.mark.parametrize("kind", KINDS)
def test_what_a_question_needs_is_said_once_and_asked_by_other_words(kind):
    talk = read(kind)
    assert talk.questions
    for question in talk.questions:
        *said, newest = talk.history(question)
        texts = [text_of(each) for each in said]
        for need in question.needs:
            assert sum(need in text for text in texts) == (2 if need in str(question.before) else 1), need
            assert need not in newest["content"]
        if question.old:
            assert sum(question.old in text for text in texts) == 1, question.old


def test_a_prompt_tells_what_it_holds_and_in_which_order():
    prompt = Prompt([ASKED, SAID, ASKED], 10, 0)
    assert prompt.holds(["old", "new"])
    assert not prompt.holds(["?!"])
    assert not prompt.prefers("old", ["new"])
    assert prompt.prefers("new", ["old"])
    assert prompt.prefers("old", ["newer"])


def test_an_answer_is_right_in_other_order_and_spelling():
    question = Question("When?", ("14 March 2031", "1,249"))
    assert is_right(question, "On march 14, 2031, for 1249 euros.")
    assert not is_right(question, "On April 14, 2031, for 1249 euros.")


@pytest.mark.parametrize(
    ("messages", "fault"),
    [
        ([ASKED], ""),
        ([ASKED, SAID, ASKED], ""),
        ([ASKED, CALLS, RESULT, SAID, ASKED], ""),
        ([ASKED, ASKED], "message 1 is of the user, not of assistant"),
        ([SAID, ASKED], "message 0 is of the assistant, not of user"),
        ([ASKED, CALLS, SAID, ASKED], "message 2 is of the assistant, not of tool"),
        ([ASKED, CALLS, {**RESULT, "tool_call_id": "b"}], "message 2 is the result of no call"),
        ([ASKED, SAID], "it does not end with a question"),
    ],
)
def test_a_prompt_tells_what_a_strict_template_would_refuse(messages, fault):
    assert Prompt(messages, 10, 0).fault == fault


async def test_what_was_cut_is_found_with_recall_and_not_without(tmp_path):
    upstream = Upstream()
    await upstream.start()
    trim = {"max_input_tokens": 1000, "window_refresh": 0}
    given = {"upstream": upstream.url, "listen": "127.0.0.1:0", "store": f"sqlite:///{tmp_path}/sidecar.db"}
    found = []
    async with ClientSession() as http:
        for recall, kind in ((0, "tools"), (0.25, "tools"), (0.25, "two-facts")):
            settings = Settings.model_validate({**given, "trim": {**trim, "recall": recall}})
            async with running(settings) as url:
                found.append(await asked(http, url, upstream, kind, most=3))
    await upstream.stop()
    assert [each.found for each in found] == [0, 3, 3]
    assert [fault for each in found for fault in each.faults] == []
    assert max(each.longest for each in found) <= 1000
    assert row(found[0], found[1])[:5] == ["tools", "3", "0", "3", "-"]
