"""What was said is recorded; what a request may hold is less, and another model reads less still."""

from __future__ import annotations

from typing import Any

import pytest

from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.prompt.sendable import Recipient, has_words, is_finished, neutral_id, sendable, sendable_call
from tests.conversation.build import calls, says

MAKER = Recipient()
OTHER = Recipient(is_maker=False)
WHOLE = Recipient(thoughts="whole")
TEXT = Recipient(is_maker=False, thoughts="text")
NOTHING: tuple[Any, ...] = (None, "", [], {})
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "look", "arguments": '{"a": 2}'}}
THINKING = {"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}
YES = {"type": "text", "text": "yes"}
PICTURE = {"type": "image_url", "image_url": {"url": "https://host/a.png"}}


class TestFields:
    @pytest.mark.parametrize(
        "told", [says("yes"), says("yes", name="bob"), calls("c"), calls("c", content="Look."), says([YES])]
    )
    def test_what_a_request_may_hold_is_the_very_same(self, told):
        assert sendable(told, MAKER) is told

    @pytest.mark.parametrize(
        "extra",
        [
            *(
                {name: [1]}
                for name in ("annotations", "citations", "executed_tools", "images", "tool_calls2")
            ),
            *({name: {"a": 1}} for name in ("context", "provider_specific_fields", "usage")),
            {"end_turn": True},
            {"index": 0},
            {"prefix": True},
            {"partial": True},
            {"tool_calls": []},
            {"tool_calls": "odd"},
            {"tool_calls": ["odd"]},
            {"function_call": {}},
            {"function_call": {"name": "", "arguments": ""}},
            {"function_call": None},
            {"refusal": None},
            {"name": None},
            {"audio": None},
        ],
    )
    def test_what_answers_alone_carry_never_goes(self, extra):
        assert sendable(says("yes", **extra), MAKER) == says("yes")

    def test_a_refusal_goes_to_another_model_as_its_words(self):
        refused = says(None, refusal="I cannot")
        assert sendable(refused, MAKER) is refused
        assert sendable(refused, OTHER) == says("I cannot")

    def test_parts_go_to_the_model_that_made_them_and_their_text_to_another(self):
        told = says([YES, PICTURE])
        assert sendable(told, MAKER) is told
        assert sendable(told, OTHER) == says("yes")

    def test_the_old_form_of_a_call_goes_with_its_arguments_as_text(self):
        told = says(None, function_call={"name": "look", "arguments": {"a": 2}, "id": "f"})
        sent = sendable(told, MAKER)
        assert sent == says(None, function_call={"name": "look", "arguments": '{"a":2}'})

    def test_what_says_nothing_does_not_go(self):
        for name in ("name", "refusal", "audio", "extra_content", "function_call"):
            for nothing in NOTHING:
                assert sendable(says("yes", **{name: nothing}), WHOLE) == says("yes")
        assert sendable({"content": "yes", "annotations": []}, MAKER) == {"content": "yes"}

    def test_what_it_says_goes_beside_what_it_refused_or_spoke(self):
        told = says("yes", refusal="no", audio={"id": "a1", "transcript": "aye"})
        assert sendable(told, OTHER) == says("yes")
        assert sendable(says("", **{name: told[name] for name in ("refusal", "audio")}), OTHER) == says("aye")
        assert sendable(says(None, refusal="no", audio={"id": "a1"}), OTHER) == says("no")
        assert sendable(says(None, refusal=["no"]), OTHER) == says(None)
        assert sendable(says(None, audio={"id": "a1", "transcript": ["aye"]}), OTHER) == says(None)


class TestAudio:
    def heard(self, to, **about):
        return sendable(says(None, audio={"id": "a1", "data": "AAAA", "transcript": "yes", **about}), to)

    def test_it_goes_by_its_id(self):
        assert self.heard(MAKER) == says(None, audio={"id": "a1"})
        assert self.heard(Recipient(now=99.0), expires_at=100) == says(None, audio={"id": "a1"})

    def test_it_goes_as_its_transcript_when_it_has_expired_and_to_another_model(self):
        assert self.heard(Recipient(now=100.0), expires_at=100) == says("yes")
        assert self.heard(OTHER) == says("yes")
        assert self.heard(MAKER, id=None) == says("yes")

    def test_a_time_that_is_none_is_not_past(self):
        assert self.heard(Recipient(now=9.0), expires_at="1") == says(None, audio={"id": "a1"})
        assert self.heard(Recipient(now=9.0), expires_at=9.5) == says(None, audio={"id": "a1"})
        assert self.heard(Recipient(now=9.5), expires_at=9.5) == says("yes")

    def test_it_may_hold_nothing(self):
        assert sendable(says(None, audio="odd"), MAKER) == says(None)


class TestReasoning:
    def test_it_does_not_go_unless_it_is_to(self):
        told = says("<think>so</think>yes", reasoning="so", thinking_blocks=[{"signature": "s"}])
        assert sendable(told, MAKER) == says("yes")
        assert sendable(says("<think>so</think>yes"), MAKER) == says("yes")
        assert sendable(says([THINKING, YES]), MAKER) == says("yes")

    @pytest.mark.parametrize(
        "told",
        [
            says("<think>so</think>yes"),
            says([THINKING, YES]),
            says("yes", reasoning_content=""),
            says("yes", reasoning_details=[{"type": "reasoning.encrypted", "data": "s"}]),
            says("yes", thinking_blocks=[{"type": "thinking", "thinking": "so", "signature": "s"}]),
            says("yes", extra_content={"google": {"thought_signature": "s"}}),
        ],
    )
    def test_it_goes_as_it_came_to_the_model_that_made_it(self, told):
        assert sendable(told, WHOLE) is told

    def test_another_model_reads_its_text_and_no_signature(self):
        told = says("yes", reasoning_content="so", reasoning_opaque="s", thinking_blocks=[{"signature": "s"}])
        assert sendable(told, TEXT) == says("yes", reasoning_content="so")
        assert sendable(says("yes", reasoning_content="", extra_content={"a": 1}), TEXT) == says("yes")

    @pytest.mark.parametrize("name", sorted(REASONING_FIELDS))
    def test_its_maker_gets_all_of_it_under_every_name(self, name):
        for thought in ("so", [{"signature": "s"}], {"a": 1}):
            told = says("yes", **{name: thought})
            assert sendable(told, WHOLE) is told
            assert sendable(told, MAKER) == sendable(told, OTHER) == says("yes")
        assert sendable(says("yes", **{name: None}), WHOLE) == says("yes")

    @pytest.mark.parametrize("name", sorted(REASONING_FIELDS))
    def test_another_gets_what_is_a_text_by_the_names_of_texts(self, name):
        is_plain = name in ("reasoning_content", "reasoning", "reasoning_text", "thinking")
        for to in (TEXT, Recipient(thoughts="text"), Recipient(is_maker=False, thoughts="whole")):
            assert sendable(says("yes", **{name: "so"}), to) == says(
                "yes", **({name: "so"} if is_plain else {})
            )
            for odd in ("", ["so"], {"a": 1}, None):
                assert sendable(says("yes", **{name: odd}), to) == says("yes")

    def test_a_signature_goes_with_all_of_it_to_its_maker_alone(self):
        signed = says("yes", extra_content={"google": {"thought_signature": "s"}})
        assert sendable(signed, WHOLE) is signed
        for to in (
            MAKER,
            OTHER,
            TEXT,
            Recipient(thoughts="text"),
            Recipient(is_maker=False, thoughts="whole"),
        ):
            assert sendable(signed, to) == says("yes")

    def test_thoughts_in_a_content_go_as_they_are_to(self):
        assert sendable(says("<think>so</think>yes"), TEXT) == says("<think>so</think>yes")
        assert sendable(says([THINKING, YES]), Recipient(thoughts="text")) == says("yes")
        assert sendable(says("<think>so</think>yes", name="bob"), MAKER) == says("yes", name="bob")
        assert sendable(says("<think>so</think>yes", name="bob"), TEXT) == says(
            "<think>so</think>yes", name="bob"
        )


class TestCalls:
    @pytest.mark.parametrize(
        ("made", "sent"),
        [
            ({"id": "c"}, {"id": "c", "type": "function"}),
            (
                {"function": {"arguments": "{}"}},
                {"type": "function", "function": {"name": "", "arguments": "{}"}},
            ),
            (
                {"function": {"name": None, "arguments": 0}, "custom": {"name": "run"}},
                {"type": "function", "function": {"name": "", "arguments": "0"}, "custom": {"name": "run"}},
            ),
            ({"function": "odd"}, {"type": "function", "function": "odd"}),
            (
                {"type": "odd", "function": {"name": "f", "arguments": [1]}},
                {"type": "odd", "function": {"name": "f", "arguments": "[1]"}},
            ),
            ({"id": "", "type": "", "function": {}, "custom": {}, "index": 3}, {"type": "function"}),
        ],
    )
    def test_what_is_missing_in_a_call_is_put_in(self, made, sent):
        assert sendable_call(made, is_maker=True) == sent
        assert sendable_call(made, is_maker=False) == sent

    @pytest.mark.parametrize("nothing", [None, "", [], {}])
    def test_what_else_it_carries_goes_unless_it_is_empty(self, nothing):
        made = {**CALL, "x": nothing, "y": 0, "function": {**CALL["function"], "x": nothing, "y": False}}
        sent = {**CALL, "y": 0, "function": {**CALL["function"], "y": False}}
        assert sendable_call(made, is_maker=True) == sent

    @pytest.mark.parametrize(
        ("made", "sent"),
        [
            ({"id": "c", "function": {"name": "look"}}, "{}"),
            ({"id": "c", "function": {"name": "look", "arguments": ""}}, "{}"),
            ({"id": "c", "function": {"name": "look", "arguments": None}}, "{}"),
            ({"id": "c", "function": {"name": "look", "arguments": {"a": 2}}, "index": 0}, '{"a":2}'),
        ],
    )
    def test_a_call_gets_its_type_and_its_arguments_as_text(self, made, sent):
        function = {"name": "look", "arguments": sent}
        assert sendable_call(made, is_maker=True) == {"id": "c", "type": "function", "function": function}

    def test_its_extras_go_to_its_maker_alone_and_empty_ones_to_nobody(self):
        function = {"name": "look", "arguments": '{"a": 2}', "strict": True}
        made = {
            **CALL,
            "function": function,
            "extra_content": {"google": {"thought_signature": "s"}},
            "x": None,
        }
        signed = {**CALL, "function": function, "extra_content": made["extra_content"]}
        assert sendable_call(made, is_maker=True) == signed
        assert sendable_call(made, is_maker=False) == CALL

    def test_a_call_of_another_kind_keeps_its_kind(self):
        made = {"id": "c", "type": "custom", "custom": {"name": "run", "input": "ls"}}
        assert sendable_call(made, is_maker=True) == made
        untyped = {"id": "c", "custom": {"name": "run", "input": "ls"}}
        assert sendable_call(untyped, is_maker=True) == untyped

    @pytest.mark.parametrize(
        ("arguments", "whole"),
        [
            ('{"a": 2}', True),
            ("", True),
            (None, True),
            ({"a": 2}, True),
            ('{"a": ', False),
            ('{"a": 2', False),
            (" ", True),
            ("[" * 100_000, False),
        ],
    )
    def test_arguments_that_broke_off_are_no_json(self, arguments, whole):
        assert is_finished({"function": {"name": "look", "arguments": arguments}}) is whole
        assert is_finished({"id": "c"})

    def test_an_id_for_every_upstream_is_of_nine_letters_and_digits_and_used_once(self):
        ids = {neutral_id(id, maker) for id in ("call_1", "functions.look:0", "é") for maker in (b"1", b"2")}
        assert len(ids) == 6
        assert neutral_id("\ud800", b"1") != neutral_id("", b"1")
        assert neutral_id("call_1", b"1") == "fb2c052da"  # what was sent so once is cached so
        assert all(len(id) == 9 and id.isascii() and id.isalnum() for id in ids)


class TestWords:
    @pytest.mark.parametrize(
        "told",
        [
            says(""),
            says(None),
            says(" \n"),
            says([]),
            says([{"type": "text", "text": ""}]),
            {"role": "assistant"},
        ],
    )
    def test_an_empty_answer_has_none(self, told):
        assert not has_words(told)

    @pytest.mark.parametrize(
        "told",
        [
            says("yes"),
            says([YES]),
            calls("c"),
            says(None, refusal="no"),
            says(None, audio={"id": "a"}),
            says(None, function_call={"name": "f"}),
            says(["odd"]),
            says([{"type": "text", "text": ""}, YES]),
            says([{"type": "text", "text": ""}, "odd"]),
            says([PICTURE]),
        ],
    )
    def test_any_other_has(self, told):
        assert has_words(told)
