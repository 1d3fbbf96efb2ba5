"""The Responses API as the path of a request uses it."""

from __future__ import annotations

import json

import pytest

from sidecar.conversation.exchange_record import Reference
from sidecar.dialects.chat.dialect import CHAT
from sidecar.dialects.responses.call_ids import ids_told
from sidecar.dialects.responses.dialect import Responses
from sidecar.dialects.responses.errors import ErrorBody
from sidecar.dialects.responses.ids import reference_of, response_id
from sidecar.dialects.responses.refusal import InBackground
from sidecar.dialects.responses.request import ResponsesRequest
from sidecar.dialects.responses.translation import Events, Whole
from sidecar.dialects.served import dialect_of
from sidecar.errors import BadRequest
from tests.conversation.build import CHAIN, request, says, user
from tests.dialects.responses import EXCHANGE, said
from tests.dialects.test_dialect import whole

HERE = Reference("conv_" + "5" * 32, EXCHANGE)
RESPONSES = Responses("max_completion_tokens", 1 << 20)


def read(before=None, most=100, **body):
    return whole(RESPONSES.parse(json.dumps({"model": "m", **body}).encode(), CHAIN, before, most))


@pytest.mark.parametrize(
    ("ids", "kept"),
    [
        (["1", "2"], ["1", "2"]),
        (["1", "1", "2", "2"], ["1", None, "2", None]),
        ([None, "1", "1"], [None, "1", None]),
        (["1"], ["1"]),
    ],
)
def test_calls_that_an_upstream_gave_one_id_are_kept_apart(ids, kept):
    """As they were told: no result could tell which of them it is of."""
    function = {"name": "look", "arguments": '{"id": 1}'}
    made = [{**({"id": id} if id else {}), "type": "function", "function": function} for id in ids]
    body = {"choices": [{"index": 0, "message": {"role": "assistant", "tool_calls": made}}]}
    (reply,) = RESPONSES.assembled(json.dumps(body).encode()).replies
    message = json.loads(reply.message)
    assert [each.get("id") for each in message["tool_calls"]] == kept
    ours = [f"call_{EXCHANGE.hex()}{at:04x}" for at in range(len(kept))]
    assert ids_told(message, EXCHANGE) == [id or ours[at] for at, id in enumerate(kept)]


@pytest.mark.parametrize("id", ["", None, 5])
def test_a_call_whose_id_is_no_name_is_told_under_one_of_ours(id):
    assert ids_told({"tool_calls": [{"id": id}]}, EXCHANGE) == [f"call_{EXCHANGE.hex()}0000"]


def test_its_path_is_its_own():
    assert "/v1/responses".endswith(RESPONSES.path)
    assert dialect_of("/v1/responses") is None


@pytest.mark.parametrize(
    ("path", "there"),
    [
        ("/v1/responses", "/v1/chat/completions"),
        ("/openai/v1/responses?api-version=1", "/openai/v1/chat/completions?api-version=1"),
    ],
)
def test_a_request_goes_to_where_chats_are_completed(path, there):
    assert RESPONSES.upstream_path(path) == there
    assert CHAT.upstream_path(path) is path


@pytest.mark.parametrize(
    "path",
    ["/v1/responses", "/v1/responses/resp_1", "/v1/responses/resp_1/input_items", "/v1/conversations"],
)
def test_what_is_not_served_yet_is_refused_and_goes_to_no_upstream(path):
    with pytest.raises(BadRequest) as caught:
        RESPONSES.refuse(path)
    assert caught.value.code == "unsupported_endpoint"


@pytest.mark.parametrize("path", ["/v1/models", "/v1/files", "/responsesx", "/v1/chat/completions/c1"])
def test_what_belongs_to_another_api_is_not(path):
    RESPONSES.refuse(path)


def test_a_request_is_read_as_the_same_one_over_chat_completions():
    both = read(input=[said("user", "hi"), said("assistant", "yes"), said("user", "go on")])
    over_chat = request(user("hi"), says("yes"), user("go on"), model="m")
    assert both.path.hashes == over_chat.path.hashes
    assert isinstance(both, ResponsesRequest)


def test_what_the_request_before_had_is_not_read_again():
    before = read(input="hi")
    later = read(before, input=[said("user", "hi"), said("assistant", "yes"), said("user", "go on")])
    assert later.sent[0] is before.sent[0]


@pytest.mark.parametrize("beginning", ["conv_", "api-"])
def test_the_id_of_a_response_leads_to_where_it_is_kept(beginning):
    conversation = beginning + "5" * 32
    id = response_id(EXCHANGE, conversation)
    assert id.startswith(f"resp_{EXCHANGE.hex()}")
    assert reference_of(id) == Reference(conversation, EXCHANGE)
    assert read(input="hi", previous_response_id=id).behind == Reference(conversation, EXCHANGE)
    assert request(user("hi"), previous_response_id=id).behind is None


def test_it_names_its_conversation():
    assert read(input="hi", conversation="conv_1").conversation == "conv_1"
    assert request(user("hi"), conversation="conv_1").conversation is None


@pytest.mark.parametrize("conversation", [None, "", "elsewhere"])
def test_that_of_one_that_is_kept_nowhere_leads_nowhere(conversation):
    assert reference_of(response_id(EXCHANGE, conversation)) is None


def test_one_that_is_not_to_be_stored_is_private():
    assert read(input="hi", store=False).is_private
    assert not read(input="hi").is_private
    assert not request(user("hi"), store=False).is_private


def test_a_large_request_is_read_in_steps():
    body = json.dumps({"input": "x" * 3_000_000}).encode()
    assert len(list(RESPONSES.parse(body, CHAIN, None, 100))) >= 1


@pytest.mark.parametrize(
    ("most", "code"),
    [(1, "too_many_messages"), (0, "too_many_messages")],
)
def test_errors_are_about_what_the_client_has_sent(most, code):
    with pytest.raises(BadRequest) as caught:
        read(most=most, input=[said("user", "a"), said("assistant", "b")])
    assert (caught.value.code, caught.value.param) == (code, "input")


def test_another_error_keeps_its_place():
    with pytest.raises(BadRequest) as caught:
        read(input=[{"type": "acme:note"}])
    assert caught.value.param == "input[0].type"


def test_codex_compaction_is_a_task_unless_a_mark_says_otherwise():
    about = {"x-codex-turn-metadata": '{"request_kind":"compaction"}'}
    compaction = read(input="Sum it up.", client_metadata=about)
    assert RESPONSES.is_task(None, compaction, ())
    assert not RESPONSES.is_task("", compaction, ())
    assert RESPONSES.is_task(None, read(input="### Task: name it"), ("### Task",))
    assert not RESPONSES.is_task(None, read(input="hi"), ())


def test_only_what_may_be_answered_apart_is_read_as_a_request_for_the_background():
    body = b'{"input":"hi","background":true}'
    assert whole(RESPONSES.apart().parse(body, CHAIN, None, 100)).asked.in_background
    with pytest.raises(InBackground) as caught:
        whole(RESPONSES.parse(body, CHAIN, None, 100))
    assert caught.value.asked == body


def test_of_a_request_that_holds_a_response_already_that_is_not_looked_for():
    id = response_id(EXCHANGE, HERE.conversation)
    assert read(input="hi", previous_response_id=id).behind == HERE
    body = json.dumps({"input": "hi", "previous_response_id": id}).encode()
    assert whole(RESPONSES.holding(id).parse(body, CHAIN, None, 100)).behind is None
    other = response_id(EXCHANGE[::-1], HERE.conversation)
    assert whole(RESPONSES.holding(other).parse(body, CHAIN, None, 100)).behind == HERE


def test_a_request_may_be_cut_only_where_it_says_so():
    assert RESPONSES.truncation(read(input="hi", truncation="auto")) == "auto"
    assert RESPONSES.truncation(read(input="hi", truncation="disabled")) == "disabled"
    assert RESPONSES.truncation(read(input="hi")) is None


def test_an_answer_is_told_as_it_was_asked_for():
    def translation(**body):
        return RESPONSES.translation(read(input="hi", **body), HERE, 100, lambda: 105)

    assert isinstance(translation(stream=True), Events)
    assert isinstance(translation(), Whole)
    assert isinstance(translation(stream=True).refused(400), ErrorBody)
    assert isinstance(translation().refused(400).refused(500), ErrorBody)
    assert CHAT.translation(request(user("hi")), HERE, 100, lambda: 105) is None
