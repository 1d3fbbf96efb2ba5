"""A history in fewer words, over the Responses API."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.responses.compaction import compacted, message_of, request_for_summary
from sidecar.errors import BadRequest
from tests.dialects.responses import asked, call, output, said


def wanted(**body):
    return request_for_summary(json.dumps({"model": "m", **body}).encode())


def response(status="completed", *texts, usage=None):
    parts = [{"type": "output_text", "text": text} for text in texts]
    items = [{"type": "reasoning", "summary": []}, {"type": "message", "content": parts}]
    return json.dumps({"status": status, "output": items, "usage": usage}).encode()


def test_the_model_is_asked_for_it_behind_all_that_was_said_as_a_task():
    talk = [said("user", "a"), call("1"), output("1"), said("assistant", "b")]
    data, _ = wanted(input=talk, instructions="Be brief.", tools=[{"type": "web_search"}])
    body = json.loads(data)
    assert body["input"][:-1] == talk
    assert (body["input"][-1]["type"], body["input"][-1]["role"]) == ("message", "user")
    assert (body["instructions"], body["store"]) == ("Be brief.", False)
    assert "tools" not in body
    assert asked(**{name: body[name] for name in ("input", "client_metadata")}).is_compaction


def test_what_the_user_said_stays_as_it_is():
    parts = [{"type": "input_image", "image_url": "data:image/png;base64,AAAA"}]
    talk = [{"role": "user", "content": "a"}, said("assistant", "b"), call("1"), output("1")]
    _, items = wanted(input=[*talk, {"type": "message", "role": "user", "content": parts}])
    assert [each["content"] for each in items] == [[{"type": "input_text", "text": "a"}], parts]
    assert wanted(input="a")[1] == items[:1]


def test_the_summary_stands_for_the_rest():
    _, items = wanted(input="Hello ü.")
    answer = response("completed", "He ", "said ü.", usage={"total_tokens": 3})
    told = json.loads(compacted(items, answer, "ab", 100) or b"")
    assert (told["object"], told["created_at"]) == ("response.compaction", 100)
    assert told["usage"] == {"total_tokens": 3}
    message, compaction = told["output"]
    assert message == {"id": "msg_ab0000", **items[0]}
    assert (compaction["type"], compaction["id"]) == ("compaction", "cmp_ab")
    stands = message_of(compaction, "input[0]")
    assert stands["role"] == "user"
    assert stands["content"].endswith("\n\nHe said ü.")


def test_it_has_a_usage_where_the_upstream_tells_none():
    told = json.loads(compacted([], response("completed", "He said."), "ab", 100) or b"")
    assert (told["usage"]["total_tokens"], told["usage"]["input_tokens_details"]) == (0, {"cached_tokens": 0})


@pytest.mark.parametrize("answer", [response("failed", "He"), response("completed", " "), response()])
def test_an_answer_that_says_nothing_is_no_summary(answer):
    assert compacted([], answer, "ab", 100) is None


@pytest.mark.parametrize("sealed", ["gAAAA", "summary.ü", "summary.!", "summary./w=="])
def test_what_another_server_has_made_is_refused(sealed):
    with pytest.raises(BadRequest) as caught:
        message_of({"type": "compaction", "encrypted_content": sealed}, "input[2]")
    assert caught.value.param == "input[2].encrypted_content"


@pytest.mark.parametrize(
    ("data", "param"),
    [
        (b"{", None),
        (b"[]", None),
        (b'{"input":"a"}', "model"),
        (b'{"model":"m"}', "input"),
        (b'{"model":"m","input":[]}', "input"),
        (b'{"model":"m","input":5}', "input"),
        (b'{"model":"m","previous_response_id":"resp_1"}', "previous_response_id"),
    ],
)
def test_what_cannot_be_summed_up_is_refused_by_its_name(data, param):
    with pytest.raises(BadRequest) as caught:
        request_for_summary(data)
    assert caught.value.param == param
