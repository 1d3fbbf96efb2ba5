"""What a request says about where it stands."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.chat.dialect import CHAT
from sidecar.dialects.responses.dialect import Responses
from sidecar.exchange.call import relies_on_calls
from tests.conversation.build import CHAIN, request, result, user
from tests.dialects.responses import output, said
from tests.dialects.test_dialect import whole

RESPONSES = Responses("max_completion_tokens", 1 << 20)


@pytest.mark.parametrize(
    ("items", "more", "relies"),
    [
        ([output("c1")], {}, True),
        ([output("c1"), said("user", "a")], {"instructions": "Be brief."}, True),
        ([said("user", "a")], {}, False),
        ([], {}, False),
        ([output("c1")], {"conversation": "a"}, False),
        ([output("c1")], {"previous_response_id": "resp_" + "0" * 20 + "c" + "0" * 32}, False),
    ],
)
def test_results_alone_rely_on_calls_that_are_stored(items, more, relies):
    body = json.dumps({"model": "m", "input": items, **more}).encode()
    read = whole(RESPONSES.parse(body, CHAIN, None, 100, goes_on=True))
    assert relies_on_calls(RESPONSES, read) is relies


def test_over_chat_completions_whatever_comes_goes_on():
    assert not relies_on_calls(CHAT, request(result("c1"), user("a")))
