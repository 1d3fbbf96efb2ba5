"""Every name by which servers say a thing is known, each for itself, and nothing that only looks like one."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sidecar.dialects.base import FormRefusal, Overflow
from sidecar.dialects.chat.assembly import from_json, from_stream
from sidecar.dialects.chat.content_refusal import is_refused
from sidecar.dialects.chat.dialect import CHAT
from sidecar.dialects.chat.form_refusal import form_refusal
from sidecar.dialects.chat.overflow import recognised
from sidecar.dialects.chat.reading import error_in
from sidecar.dialects.chat.request import parse
from tests.conversation.build import CHAIN, message, raw, says, user

NOTHING: tuple[Any, ...] = (None, "", [], {})


def ended(reason, **more):
    choice = {"index": 0, "delta": {"content": "a"}, "finish_reason": reason, **more}
    return from_stream(b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n")


class TestErrors:
    @pytest.mark.parametrize(
        "name", ["detail", "errors", "fault", "error_msg", "error_message", "errorMessage", "Error"]
    )
    def test_one_may_stand_in_a_member_of_another_name(self, name):
        for told in ("no", ["no"], {"a": "no"}):
            body = {name: told}
            assert error_in(body) is body
            assert error_in([1, body]) is body
        for nothing in NOTHING:
            assert error_in({name: nothing}) is None
        assert error_in({name: "no", "usage": {"total_tokens": 1}}) is None
        assert error_in({name: "no", "choices": [1]}) is None
        assert error_in({f"{name}s": "no"}) is None

    @pytest.mark.parametrize(
        "body",
        [
            {"object": "error"},
            {"type": "error"},
            {"message": ""},
            {"success": False},
            {"status": "error"},
            {"status": "failed"},
            {"status": "failure"},
            {"msg": "no", "code": 1},
        ],
    )
    def test_a_body_may_be_one_by_itself(self, body):
        assert error_in(body) is body
        assert error_in({"usage": {"n": 1}, **body}) is None
        assert error_in({"choices": [1], **body}) is None

    @pytest.mark.parametrize(
        "body",
        [
            *({"object": each} for each in ("list", "errors", None)),
            *({"type": each} for each in ("ping", None)),
            *({"message": each} for each in (None, 5, ["no"])),
            *({"success": each} for each in (True, None, 0)),
            *({"status": each} for each in ("ok", "fail", None)),
            *({"msg": "so", "code": each} for each in (None, "", 0, 200, "0", "200", "success", "ok", "OK")),
            *({"msg": each, "code": 1} for each in (None, 5)),
            {},
            [],
            [{}, 5],
        ],
    )
    def test_what_goes_well_is_none(self, body):
        assert error_in(body) is None

    @pytest.mark.parametrize("fine", [None, "", 0, 200, "0", "200", "success", "ok", "OK"])
    def test_a_status_that_says_so_is_fine(self, fine):
        assert error_in({"base_resp": {"status_code": fine}}) is None
        told = {"status_code": f"{fine}1", "status_msg": "no"}
        assert error_in({"base_resp": told, "usage": {"n": 1}}) is told
        assert error_in({"base_resp": told, "choices": [1]}) is None
        assert error_in({"base_resp": "no"}) is None

    def test_its_own_name_counts_before_all_others(self):
        assert error_in({"error": "no", "choices": [1], "detail": "x"}) == "no"
        assert error_in([{"choices": [1]}, {"error": "a"}, {"error": "b"}]) == "a"


class TestEnds:
    @pytest.mark.parametrize(
        "reason",
        ["error", "network_error", "insufficient_system_resource", "abort", "aborted", "cancelled"],
    )
    def test_some_say_that_it_failed(self, reason):
        (reply,) = ended(reason).replies
        assert (reply.failed, reply.settled, reply.finish_reason) == (True, True, reason)

    @pytest.mark.parametrize("reason", ["", "null", "none", "undefined", "NULL", "None"])
    def test_some_say_nothing(self, reason):
        (reply,) = ended(reason).replies
        assert (reply.failed, reply.settled, reply.finish_reason) == (False, False, None)

    @pytest.mark.parametrize("reason", ["stop", "nothing", "errors", "canceled"])
    def test_all_others_say_that_it_ended(self, reason):
        (reply,) = ended(reason).replies
        assert (reply.failed, reply.settled, reply.finish_reason) == (False, True, reason)

    @pytest.mark.parametrize(
        "reason",
        ["content_filter", "safety", "prohibited_content", "blocklist", "spii", "recitation", "sensitive"],
    )
    def test_some_say_that_its_content_was_refused(self, reason):
        assert is_refused(ended(reason), b"")
        assert is_refused(ended(reason.upper()), b"")
        assert not is_refused(ended(f"{reason}s"), b"")

    @pytest.mark.parametrize(
        "words",
        [
            *(
                "content policy",
                "content_filter",
                "content-management",
                "Content moderation",
                "contentpolicy",
            ),
            *("Content Exists Risk", "moderation", "it was flagged", "usage policies", "data_inspection"),
            *(
                "datainspection",
                "prohibited content",
                "unsafe_content",
                "harmful content",
                "sensitive content",
            ),
            *("inappropriate or harmful content", "content may contain", "\u654f\u611f", "\u8fdd\u89c4"),
        ],
    )
    def test_some_words_do(self, words):
        for error in ({"message": f"no: {words}."}, {"code": words, "message": "no"}):
            assert is_refused(from_json(raw({"error": error})), b"")

    @pytest.mark.parametrize("words", ["the content", "unflagged", "policy", "data inspector", "usage"])
    def test_others_do_not(self, words):
        assert not is_refused(from_json(raw({"error": {"message": f"no: {words}."}})), b"")


class TestTooLong:
    LONG = "The prompt is too long."

    @pytest.mark.parametrize(
        "name",
        [
            *("choices", "input", "messages", "prompt", "request", "body", "content", "value", "param"),
            *("loc", "ctx"),
        ],
    )
    def test_what_holds_the_request_says_nothing_of_the_error(self, name):
        assert recognised(400, raw({"error": {"message": "no", name: self.LONG}})) is None
        assert recognised(400, raw({"error": {"message": "no", f"{name}_": self.LONG}})) == Overflow()

    @pytest.mark.parametrize(
        "name", ["code", "type", "status", "reason", "error_type", "error_code", "__type"]
    )
    def test_a_name_says_it_in_one_word(self, name):
        assert recognised(400, raw({"error": {"message": "no", name: "PromptTooLong"}})) == Overflow()
        assert recognised(400, raw({"error": {"message": "no", f"{name}_": "PromptTooLong"}})) is None
        assert recognised(400, raw({"error": {"message": self.LONG, name: "rate_limit"}})) is None

    @pytest.mark.parametrize(
        "code",
        [
            "context_length_exceeded",
            "context_window_exceeded",
            "model_context_window_exceeded",
            "exceed_context_size_error",
            "context_exceeded",
        ],
    )
    def test_a_code_that_says_it_comes_with_counts_in_fields(self, code):
        error = {"code": code, "message": "no", "about": {"n_ctx": 4096, "n_prompt_tokens": 5000}}
        assert recognised(400, raw({"error": error})) == Overflow(4096, 5000)
        assert recognised(400, raw({"error": {**error, "about": {}}})) == Overflow()
        assert recognised(400, raw({"error": {**error, "about": {"n_ctx": 5}}})) == Overflow()

    @pytest.mark.parametrize(("depth", "is_read"), [(8, True), (9, False)])
    def test_an_error_is_read_eight_levels_deep(self, depth, is_read):
        error: dict[str, Any] = {"message": self.LONG}
        for _ in range(depth - 1):
            error = {"error": error}
        assert recognised(400, raw(error)) == (Overflow() if is_read else None)

    @pytest.mark.parametrize(("between", "is_own"), [("x", True), ("xy", False)])
    def test_ten_characters_that_are_in_the_request_are_a_quotation(self, between, is_own):
        said = f"no: prompt{between}\u8d85\u8fc7"
        for request in (raw(user(said)), json.dumps(user(said)).encode()):
            told = recognised(400, raw({"error": {"message": said}}), request)
            assert told == (Overflow() if is_own else None)
        for other in ("{}", said[3:-1], said[5:], f"a{said[5:]}"):
            assert recognised(400, raw({"error": {"message": said}}), raw(user(other))) == Overflow()

    def test_a_long_text_in_escapes_hides_no_other(self):
        packed = "\\\\u0061" * 4000
        assert recognised(400, raw({"a": packed, "error": {"message": self.LONG}})) == Overflow()

    @pytest.mark.parametrize(
        "said",
        [
            "Your input exceeds the context window of this model",
            "Context size has been exceeded",
            "The input length exceeds the context length",
            "input length exceeds maximum context length",
            "prompt too long; exceeded context length",
            "prompt too long; exceeded max context length",
            "The request exceeds the available context size",
            "input is larger than the max context size",
            "The number of tokens to keep from the initial prompt is greater than the context length",
            "prompt is too long",
            "Input is too long for requested model.",
            "the prompt is too long for the requested model",
        ],
    )
    def test_a_wording_that_has_no_numbers_is_known_for_that(self, said):
        before = "Of at most 4096 tokens it has 5000; "
        assert recognised(400, raw({"error": {"message": f"{before}{said}"}})) == Overflow()
        other = recognised(400, raw({"error": {"message": f"{before}the context limit is exceeded"}}))
        assert other == Overflow(4096, 5000)

    @pytest.mark.parametrize(
        ("limit", "sent", "answer", "told"),
        [
            (4096, 5000, 100, Overflow(4096, 5000)),
            (4096, 1, 4096, Overflow(4096, 1)),
            (4096, 1, 4095, Overflow(4096, 1)),
            (4096, 1, 4094, None),
            (4096, 0, 5000, Overflow(4096)),
            (256, 300, 1, Overflow(256, 300)),
            (255, 300, 1, Overflow()),
        ],
    )
    def test_what_contradicts_itself_is_none_and_what_cannot_be_is_not_told(self, limit, sent, answer, told):
        said = f"Input validation error: `inputs` tokens + `max_new_tokens` must be <= {limit}. "
        said += f"Given: {sent} `inputs` tokens and {answer} `max_new_tokens`"
        assert recognised(422, raw({"error": said})) == told

    @pytest.mark.parametrize(
        ("said", "told"),
        [
            ("Context limit exceeded: at most 4096 tokens", Overflow(4096)),
            ("Context limit exceeded: at most 4096 tokens, of 5000", Overflow(4096, 5000)),
            ("5000 tokens exceed the context limit of 4096", Overflow(4096, 5000)),
            ("5,000 tokens exceed the context limit of 4,096", Overflow(4096, 5000)),
            ("5000 tokens, or 9999, exceed the context limit of 4096", Overflow(4096)),
            ("Context limit exceeded: 4000 + 1000 tokens", Overflow()),
            ("Context limit exceeded by 4096 tokens", Overflow()),
            ("Error code: 400. Context limit exceeded: at most 4096 tokens", Overflow(4096)),
            ("Context limit exceeded: at most 4096 words", Overflow()),
            ("Context limit exceeded, gpt-4096, v4096x and 4096-5000 tokens", Overflow()),
            ("Context limit exceeded: 99 tokens of 98", Overflow()),
        ],
    )
    def test_numbers_in_words_that_nobody_has_listed_are_told_where_they_are_clear(self, said, told):
        assert recognised(400, raw({"error": {"message": said}})) == told

    def test_a_count_is_a_number_above_0(self):
        error = {"code": "context_length_exceeded", "message": "no"}
        for sent, told in ((1, None), (0, Overflow(4096)), (-1, Overflow(4096)), (True, Overflow(4096))):
            counts = {**error, "n_ctx": 4096, "n_prompt_tokens": sent}
            assert recognised(400, raw({"error": counts})) == (told or Overflow())

    @pytest.mark.parametrize("status", [200, 400, 599])
    def test_any_status_of_an_error_may_say_it(self, status):
        assert recognised(status, raw({"error": {"message": self.LONG}})) == Overflow()
        assert recognised(status, raw({"error": {"message": self.LONG}, "choices": [1]})) is None
        for other in (201, 399):
            assert recognised(other, raw({"error": {"message": self.LONG}})) is None


class TestForm:
    @pytest.mark.parametrize("name", ["code", "status", "type"])
    @pytest.mark.parametrize("told", [400, 422, "400", "422", "invalid_request_error", "INVALID_ARGUMENT"])
    def test_an_error_in_an_answer_may_bring_its_status_along(self, name, told):
        for error in ({"error": {name: told}}, {name: told}, [{"error": {name: told}}]):
            assert form_refusal(200, raw(error)) == FormRefusal()
        assert form_refusal(200, raw({"error": {f"{name}s": told}})) is None
        assert form_refusal(200, raw({"error": {name: f"{told}1"}})) is None

    @pytest.mark.parametrize(
        "words",
        [
            *("chat template", "Jinja", "role", "roles", "messages", "user message", "system message"),
            *(
                "assistant message",
                "tool message",
                "content block",
                "contentblock",
                "toolConfig",
                "tool call",
            ),
            *(
                "tool_calls",
                "tool use",
                "tool_results",
                "function call",
                "function_calls",
                "function response",
            ),
            *("reasoning", "thought_signature", "thinking", "extra inputs", "unsupported field"),
            *("unsupported property", "unsupported parameter"),
        ],
    )
    def test_some_words_speak_of_it(self, words):
        for status in (200, 500):
            assert form_refusal(status, raw({"error": {"message": f"odd: {words}!"}})) is not None
            assert form_refusal(status, raw({"error": {"message": "odd: x!"}})) is None

    @pytest.mark.parametrize(
        "words",
        [
            *("context length", "context_window", "context size", "prompt too long", "input is too large"),
            *("request is too long", "maximum tokens", "max_prompt tokens", "max number of tokens"),
            *("token limit", "prompt length", "input length", "model length", "5 tokens", "`inputs`"),
            *("API key", "api_key", "apikey", "unauthorized", "unauthorised", "authentication"),
            *("permission denied", "permission_denied", "access denied", "forbidden", "quota", "billing"),
            *(
                "credit balance",
                "insufficient funds",
                "insufficient_credits",
                "insufficient balance",
                "payment",
            ),
            *("rate limit", "ratelimit", "too many requests", "overloaded", "tokens per minute"),
            *("content policy", "content_filter", "content management", "safety", "moderation", "flagged"),
            *("usage policies", "model not found", "model_not_found", "unknown model", "no such model"),
            *("model `m` does not exist", "model m not found", "the model can not exist", "a conflict"),
        ],
    )
    def test_of_other_subjects_others_do(self, words):
        for status in (200, 400, 422, 500):
            assert form_refusal(status, raw({"error": {"message": f"messages: {words}"}})) is None

    def test_an_error_is_read_eight_levels_deep(self):
        error: dict[str, Any] = {"message": "Unknown parameter: 'x'"}
        for depth in range(2, 12):
            error = {"a": error}
            assert bool((form_refusal(400, raw(error)) or FormRefusal()).unwanted) is (depth < 8)

    def test_eight_fields_at_most_are_unwanted_at_once(self):
        said = " ".join(f"Unknown parameter: 'field{at}'." for at in range(9))
        assert form_refusal(400, raw({"error": said})) == FormRefusal(
            None, frozenset(f"field{at}" for at in range(8))
        )
        details = [{"type": "extra_forbidden", "loc": ["body", f"field{at}"]} for at in range(9)]
        assert form_refusal(422, raw({"detail": details})) == FormRefusal(
            None, frozenset(f"field{at}" for at in range(8))
        )
        assert form_refusal(422, raw({"detail": [{"type": "missing", "loc": ["x"]}]})) == FormRefusal()

    def test_what_is_packed_into_a_text_is_read_and_what_stands_before_it(self):
        packed = json.dumps({"message": "Unknown parameter: 'x'"})
        found = form_refusal(400, raw({"error": f"Unknown parameter: 'y' {packed} and so on"}))
        assert found == FormRefusal(None, frozenset("xy"))
        packed = json.dumps({"rate limit": {"message": "Unknown parameter: 'x'"}})
        assert form_refusal(400, raw({"error": f"no: {packed}"})) == FormRefusal(None, frozenset("x"))
        found = form_refusal(400, raw({"error": "Unknown parameter: 'y' {and so on}"}))
        assert found == FormRefusal(None, frozenset("y"))

    def test_four_thousand_characters_of_one_are_looked_through(self):
        for before, names in ((3978, {"x"}), (3980, set())):
            said = f"{'a' * before} Unknown parameter: 'x'"
            assert form_refusal(400, raw({"error": said[:4100]})) == FormRefusal(None, frozenset(names))


class TestParts:
    @pytest.mark.parametrize(
        "kind", ["text", "output_text", "thinking", "reasoning", "reasoning_text", "summary_text"]
    )
    def test_those_that_are_told_in_pieces_go_on(self, kind):
        assert content({"type": kind, "text": "a"}, {"type": kind, "text": "b"}) == [
            {"type": kind, "text": "ab"}
        ]
        other = {"type": f"{kind}s", "text": "a"}
        assert content(other, other) == [other, other]

    def test_others_do_not(self):
        first = {"type": "text", "text": "a"}
        for second in (
            {"type": "thinking", "text": "b"},
            {"type": "text", "text": "b", "index": 1},
            {"text": "b"},
            "b",
        ):
            assert content(first, second) == [first, second]
        signed = {**first, "signature": "s"}
        assert content(signed, first) == [signed, first]
        assert content(first, signed) == [{"type": "text", "text": "aa", "signature": "s"}]

    @pytest.mark.parametrize("name", ["thinking", "reasoning", "summary", "content"])
    def test_parts_within_them_go_on_too(self, name):
        pieces = [{"type": "thinking", name: [{"type": "text", "text": each}]} for each in "ab"]
        assert content(*pieces) == [{"type": "thinking", name: [{"type": "text", "text": "ab"}]}]
        pieces = [{"type": "thinking", "x": [{"type": "text", "text": each}]} for each in "ab"]
        assert len(content(*pieces)[0]["x"]) == 2

    @pytest.mark.parametrize("name", ["role", "id", "type", "signature", "thought_signature"])
    def test_what_names_or_seals_a_thing_comes_whole(self, name):
        pieces = [{"x": {name: "a"}}, {"x": {name: "b", "y": "a"}}, {"x": {"y": "b"}}]
        assert said(*pieces)["x"] == {name: "a", "y": "ab"}

    def test_details_of_one_index_are_told_apart_by_type_and_id(self):
        told = [
            {"index": 0, "type": "reasoning.text", "text": "a", "format": "f"},
            {"index": 0, "type": "reasoning.text", "text": "b", "format": "f"},
            {"index": 0, "type": "reasoning.encrypted", "data": "c"},
            {"index": 0, "text": "d"},
            {"index": 1, "type": "reasoning.text", "text": "e"},
            {"type": "reasoning.text", "text": "f"},
            {"index": True, "text": "g"},
            {"index": 2**31, "text": "h"},
            {"index": 2**31, "text": "i"},
            {"index": 2**31 - 1, "text": "j"},
            {"index": 1 - 2**31, "text": "k"},
            {"index": 2**31 - 1, "text": "l"},
            7,
        ]
        (found,) = said({"reasoning_details": told}).values()
        assert found == [
            {"index": 0, "type": "reasoning.text", "text": "ab", "format": "f"},
            {"index": 0, "type": "reasoning.encrypted", "data": "c", "text": "d"},
            {"index": 1, "type": "reasoning.text", "text": "e"},
            {"type": "reasoning.text", "text": "f"},
            {"index": True, "text": "g"},
            {"index": 2**31, "text": "h"},
            {"index": 2**31, "text": "i"},
            {"index": 2**31 - 1, "text": "jl"},
            {"index": 1 - 2**31, "text": "k"},
            7,
        ]

    def test_of_one_index_the_latest_eight_may_go_on(self):
        told = [{"index": 0, "id": f"{at}", "text": "a"} for at in range(9)]
        first, second, *_ = said({"reasoning_details": [*told, told[1], told[0]]}).popitem()[1]
        assert (first["text"], second["text"]) == ("a", "aa")


class TestPrefill:
    @pytest.mark.parametrize("flag", ["prefix", "partial"])
    def test_its_flags_are_no_part_of_the_answer(self, flag):
        before = message(says("Once", **{flag: True}, name="x"))
        assert json.loads(CHAT.extended(before, raw(says(" upon")))) == says("Once upon", name="x")

    @pytest.mark.parametrize(
        ("before", "reply", "whole"),
        [
            ("Once", " upon", "Once upon"),
            ("Once", "Once upon", "Once upon"),
            (" Once ", "\nOnce upon", "\nOnce upon"),
            ("Once", "", "Once"),
            ("Once", None, "Once"),
            ("", "Once", "Once"),
            (" ", "Once", " Once"),
            ("Once", "once", "Onceonce"),
        ],
    )
    def test_the_answer_goes_on_from_it_or_begins_with_it(self, before, reply, whole):
        assert json.loads(CHAT.extended(message(says(before)), raw(says(reply)))) == says(whole)


class TestRequests:
    @pytest.mark.parametrize(
        ("fields", "most", "choices"),
        [
            ({"max_tokens": 5}, 5, 1),
            ({"max_completion_tokens": 6}, 6, 1),
            ({"max_tokens": 5, "max_completion_tokens": 6}, 6, 1),
            ({"max_tokens": 5, "max_completion_tokens": 0}, 5, 1),
            ({"max_tokens": -1, "n": 2}, None, 2),
            ({"max_tokens": True, "n": True}, None, 1),
            ({"max_tokens": "5", "n": "2"}, None, 1),
            ({"max_tokens": 1, "n": 1}, 1, 1),
            ({"n": 0}, None, 1),
            ({"n": -1}, None, 1),
        ],
    )
    def test_a_limit_or_a_number_is_one_above_0(self, fields, most, choices):
        asked = parse(raw({"messages": [user("a")], **fields}), CHAIN)
        assert (asked.max_tokens, asked.choices) == (most, choices)

    def test_what_it_does_not_say_is_not_so(self):
        asked = parse(b'{"messages":[]}', CHAIN)
        assert (asked.start, asked.end, asked.prefill, asked.tail, asked.is_large) == (0, 0, None, (), False)
        assert (asked.behind, asked.conversation, asked.is_private, asked.user) == (None, None, False, None)


def said(*deltas):
    stream = b"".join(b"data: %b\n\n" % raw({"choices": [{"delta": each}]}) for each in deltas)
    (reply,) = from_stream(stream).replies
    told = json.loads(reply.message)
    return {name: value for name, value in told.items() if name not in ("role", "content")}


def content(*parts):
    stream = b"".join(b"data: %b\n\n" % raw({"choices": [{"delta": {"content": [each]}}]}) for each in parts)
    (reply,) = from_stream(stream).replies
    return json.loads(reply.message)["content"]
