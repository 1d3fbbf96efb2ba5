"""Reasoning goes under all its names and tags; what an answer only speaks about stays."""

from __future__ import annotations

import json
import time

import pytest

from sidecar.conversation.message import normal_form, visible_text, without_reasoning
from sidecar.conversation.reasoning import (
    has_reasoning,
    is_thinking,
    may_reason,
    said,
    seen,
    without_fields,
)
from tests.conversation.build import raw, says, user

TAGS = ["think", "thinking", "reason", "reasoning", "thought", "Thought"]
BLOCKS = [
    *(f"<{tag}>so\n< it is</{tag}>" for tag in TAGS),
    "<|begin_of_thought|>so < it|><|end_of_thought|>",
    "◁think▷so ◁ it is◁/think▷",
    '<details type="reasoning" done="true">\n<summary>Thought</summary>\n> so\n</details>',
]
CLOSING = ["</think>", "  </thinking> ", "<|end_of_thought|>", "◁/think▷"]


class TestTags:
    @pytest.mark.parametrize("block", BLOCKS)
    def test_a_block_at_the_start_is_neither_seen_nor_sent(self, block):
        assert (seen(f" {block}\n yes "), said(f"{block}\n yes ")) == ("yes", "yes")
        assert may_reason(raw(says(block)))

    @pytest.mark.parametrize("block", BLOCKS)
    def test_a_block_that_never_closes_is_all_reasoning(self, block):
        begun = block[: block.rindex("so") + 2]
        assert (seen(begun), said(begun)) == ("", "")

    def test_several_blocks_at_the_start_go(self):
        assert said("<think>a</think>\n\n<reason>b</reason>yes") == "yes"

    @pytest.mark.parametrize("block", BLOCKS[:-1])
    def test_an_answer_that_speaks_of_a_tag_keeps_it(self, block):
        told = f"Write it like this:\n{block}\nand go on"
        assert said(told) == told
        assert seen(told) == "Write it like this:\n\nand go on"

    def test_a_folded_block_of_a_front_end_goes_wherever_it_stands(self):
        assert said(f"one {BLOCKS[-1]} two") == seen(f"one {BLOCKS[-1]} two") == "one  two"

    @pytest.mark.parametrize("told", [" 1 < 2 ", "no tag", "the tag <think> opens it", "<thin>x</thin>"])
    def test_any_other_text_stays_to_the_letter(self, told):
        assert said(told) is told

    @pytest.mark.parametrize("tag", ["<b>", "\u25c1b\u25b7"])
    def test_where_there_may_be_a_tag_the_json_shows_it(self, tag):
        assert may_reason(raw(says(tag)))
        assert may_reason(json.dumps(says(tag)).encode())
        assert may_reason(json.dumps(says(tag)).encode().replace(b"<", b"\\u003c"))
        assert not may_reason(raw(says("b > \u25b7")))

    @pytest.mark.parametrize("tag", CLOSING)
    def test_a_closing_tag_alone_on_its_line_ends_reasoning(self, tag):
        assert said(f"so it is\n{tag}\n\nyes ") == "yes"
        assert said(f"{tag}\nyes") == "yes"

    @pytest.mark.parametrize(
        "told",
        [
            "it ends with </think> here\nyes",
            "```xml\n</think>\n```\nyes",
            "it opens with <think> and ends with\n</think>\nyes",
            "nothing </b>",
        ],
    )
    def test_a_closing_tag_that_is_spoken_about_stays(self, told):
        assert said(told) == told

    def test_a_closing_tag_is_text_where_the_reasoning_came_in_a_field(self):
        assert said("so\n</think>\nyes", has_field=True) == "so\n</think>\nyes"

    @pytest.mark.parametrize("piece", ["<think>", "<", "</think>\n", "<think></think>", "◁think▷", "```\n"])
    def test_a_long_text_takes_no_more_than_its_length(self, piece):
        spent = []
        for count in (20_000, 80_000):
            begun = time.process_time()
            seen(piece * count)
            said(piece * count)
            spent.append(time.process_time() - begun)
        assert spent[1] < 12 * spent[0] + 0.1


class TestFields:
    @pytest.mark.parametrize(
        "name", ["reasoning_content", "reasoning_text", "reasoning_opaque", "thinking", "thinking_blocks"]
    )
    def test_a_field_goes_under_each_of_its_names(self, name):
        told = says("yes", **{name: "so"}, name="bob")
        assert has_reasoning(told)
        assert without_fields(told) == says("yes", name="bob")
        assert may_reason(raw(told))

    @pytest.mark.parametrize(
        ("others", "left"),
        [
            ([{"type": "text", "text": "yes"}], "yes"),
            ([{"type": "text", "text": "yes"}, {"type": "text", "text": "no"}], "yes\nno"),
            ([{"type": "text", "text": "yes"}, "odd"], [{"type": "text", "text": "yes"}, "odd"]),
            ([{"type": "text", "text": 7}], [{"type": "text", "text": 7}]),
            ([{"type": "refusal", "refusal": "no"}], [{"type": "refusal", "refusal": "no"}]),
            ([], ""),
        ],
    )
    def test_parts_of_thinking_go_and_text_alone_is_one_text(self, others, left):
        told = says([{"type": "thinking", "thinking": [{"type": "text", "text": "so"}]}, *others])
        assert without_fields(told) == says(left)
        assert not is_thinking("odd")
        assert not is_thinking({"type": ["thinking"], "text": "yes"})

    @pytest.mark.parametrize("kind", ["thinking", "redacted_thinking", "reasoning"])
    def test_parts_of_every_kind_of_reasoning_go(self, kind):
        part, text = {"type": kind, "data": "so"}, {"type": "text", "text": "yes"}
        assert is_thinking(part)
        assert not is_thinking({**part, "type": f"{kind}s"})
        assert without_fields(says([part, text])) == without_fields(says([text, part])) == says("yes")
        assert has_reasoning(says([part]))
        assert may_reason(raw(says([part])))
        assert not has_reasoning({**says([part]), "role": "user"})
        assert without_fields({"role": "user", "content": "<think>so</think>", "thinking": "x"}) == (
            user("<think>so</think>")
        )

    @pytest.mark.parametrize("told", [says("yes"), says(None), says([{"type": "text", "text": "yes"}])])
    def test_a_message_without_reasoning_is_the_very_same(self, told):
        assert without_fields(told) is told
        assert not has_reasoning(told)

    def test_what_a_user_writes_is_no_reasoning(self):
        assert not has_reasoning(user("<think>so</think>yes"))

    def test_no_content_stays_none(self):
        assert without_fields({"role": "assistant", "thinking": "so"}) == {"role": "assistant"}
        assert not may_reason(b'{"role":"assistant","content":"yes"}')


class TestOfMessages:
    def test_a_closing_tag_alone_hides_nothing_beside_a_field_for_reasoning(self):
        assert visible_text(says("so\n</think>\nyes")) == "yes"
        assert visible_text(says("so\n</think>\nyes", reasoning="so")) == "so\n</think>\nyes"
        assert visible_text(user(" <think>so</think>yes ")) == "<think>so</think>yes"

    @pytest.mark.parametrize("block", BLOCKS)
    def test_a_message_says_the_same_with_and_without_it(self, block):
        assert normal_form(says(f"{block}\n yes")) == normal_form(says("yes"))
        assert json.loads(without_reasoning(raw(says(f"{block}\n yes")))) == says("yes")
