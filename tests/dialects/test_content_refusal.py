"""Refusals inside of an answer, for content, form and length, told from failures that may pass."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.base import Assembled
from sidecar.dialects.chat.assembly import from_json
from sidecar.dialects.chat.content_refusal import is_refused
from sidecar.dialects.chat.dialect import CHAT


def ended(reason: str) -> Assembled:
    choice = {"index": 0, "message": {"role": "assistant", "content": ""}, "finish_reason": reason}
    return from_json(json.dumps({"choices": [choice]}).encode())


def failed(**error: object) -> Assembled:
    return from_json(json.dumps({"error": error}, ensure_ascii=False).encode())


@pytest.mark.parametrize("reason", ["content_filter", "SAFETY", "PROHIBITED_CONTENT", "sensitive"])
def test_an_answer_that_ends_for_its_content_is_a_refusal(reason):
    assert is_refused(ended(reason), b"")
    assert CHAT.is_refused(ended(reason), b"")


@pytest.mark.parametrize("reason", ["stop", "length", "tool_calls", "error"])
def test_any_other_end_is_none(reason):
    assert not is_refused(ended(reason), b"")


@pytest.mark.parametrize(
    "error",
    [
        {"code": "content_filter", "message": "The response was filtered"},
        {"code": "data_inspection_failed", "message": "no"},
        {"message": "The request was blocked by our content management policy."},
        {"code": "1301", "message": "系统检测到输入或生成内容可能包含不安全或敏感内容"},
        {"message": "Input was flagged by moderation"},
        {"message": "messages: roles must alternate", "code": 400},
        {"message": "prompt is too long: 209303 tokens > 200000 maximum"},
    ],
)
def test_an_error_about_the_request_is_a_refusal(error):
    assert is_refused(failed(**error), b"")


@pytest.mark.parametrize(
    "error",
    [
        {"message": "Overloaded", "code": 529},
        {"message": "Rate limit reached", "code": "rate_limit_exceeded"},
        {"code": 502, "message": "Provider returned error"},
    ],
)
def test_a_failure_that_may_pass_is_none(error):
    assert not is_refused(failed(**error), b"")
