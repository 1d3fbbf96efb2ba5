"""Estimates without a tokenizer: rather too many than too few, and never by the weight of a picture."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation.measure import NOTHING, Measure, measure, measure_of_tools, measured, total
from sidecar.conversation.tree import Chain
from sidecar.prompt.rebuild import Outgoing
from sidecar.prompt.weights import DEFAULT_WEIGHTS, NEUTRAL, PER_IMAGE, PER_MESSAGE, Weights, estimate
from tests.conversation.build import raw, user

IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"at":"x"}'}}


def text(words):
    return estimate(raw(user(words)))


def of(content, **more):
    return measure(raw(user(content, **more)))


class TestMeasure:
    def test_characters_are_counted_by_class(self):
        assert of("Ab1 c\n\t{}    é ж … 。 ไ 語 한 😀") == Measure(
            messages=1,
            lower=2,
            upper=1,
            digits=1,
            spaces=8,
            pairs=2,
            breaks=2,
            symbols=2,
            latin=1,
            alphabets=1,
            marks=1,
            indic=1,
            ideographs=3,
            pictograms=1,
        )

    def test_a_call_counts_as_templates_write_it(self):
        written = '{"name": "look", "arguments": {"at":"x"}}\n'
        assert of("", tool_calls=[CALL]) == of(written)

    @given(st.text(max_size=60))
    def test_each_character_is_in_one_class(self, words):
        found = of(words)
        assert sum(found) + found.pairs - found.messages == len(words)

    @given(st.text(max_size=60))
    def test_a_longer_text_is_counted_as_its_characters_are(self, words):
        short, long = of(words), of(words + "a" * 60)
        assert long == short._replace(lower=short.lower + 60)

    @given(st.text(max_size=60))
    def test_how_the_client_spells_a_character_in_json_does_not_matter(self, words):
        spellings = [json.dumps(user(words), ensure_ascii=each) for each in (True, False)]
        assert len({measure(each.encode()) for each in spellings}) == 1

    @given(st.text(max_size=40), st.text(max_size=40))
    def test_plain_text_and_its_parts_measure_alike(self, one, other):
        parts = [{"type": "text", "text": each} for each in (one, other)]
        assert of(parts) == of(one + other)

    @pytest.mark.parametrize(
        "part",
        [
            IMAGE,
            {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}},
            {"type": "input_audio", "input_audio": {"data": "A" * 9000, "format": "wav"}},
            {"type": "file", "file": {"file_data": "A" * 9000}},
            7,
        ],
    )
    def test_what_is_no_text_counts_once_whatever_its_size(self, part):
        assert of([part]) == Measure(messages=1, images=1)
        assert of(["ab", part, part]) == Measure(messages=1, lower=2, images=2)

    def test_a_part_may_hold_parts(self):
        result = {"type": "tool_result", "content": [{"type": "text", "text": "ab"}, IMAGE]}
        assert of([result]) == Measure(messages=1, lower=2, images=1)

    @pytest.mark.parametrize("kind", ["text", "refusal", "thinking"])
    def test_the_text_of_a_part_is_read_wherever_it_stands(self, kind):
        assert of([{"type": kind, kind: "ab"}]) == of("ab")

    def test_a_content_that_is_an_object_is_one_part(self):
        assert of({"type": "text", "text": "ab"}) == of("ab")

    def test_calls_count_by_name_and_arguments_and_not_by_their_ids(self):
        called = of(None, tool_calls=[CALL])
        assert called == of(None, tool_calls=[{**CALL, "id": "another, longer id"}])
        assert called == of(None, function_call=CALL["function"])
        assert called == of(
            None, tool_calls=[{**CALL, "function": {"name": "look", "arguments": {"at": "x"}}}]
        )
        assert called.lower > len("lookatx")

    @pytest.mark.parametrize("call", ["ab", {"type": "custom", "custom": {"name": "n", "input": "ab"}}])
    def test_a_call_of_another_shape_counts_as_it_is(self, call):
        assert of(None, tool_calls=[call]).lower >= 2

    def test_a_message_counts_by_what_a_model_reads_of_it(self):
        assert of("ab", reasoning_content="cd", name="e", refusal="f") == of("abcdef")
        assert of("ab", tool_call_id="call_1", annotations=[{"a": "b"}], tool_calls=None) == of("ab")
        assert of("ab", reasoning_details=[{"text": "cd"}]).lower > 4

    def test_the_list_of_tools_counts_by_its_characters(self):
        assert measure(b'[{"name": "\\u8a9e"}]') == Measure(tools=len('[{"name":"語"}]'))

    @pytest.mark.parametrize("text", [b"", b"ab", b"[ab", b"\xff\xff"])
    def test_what_is_no_json_counts_as_text(self, text):
        assert measure(text) == of(text.decode("utf-8", "replace"))

    def test_measures_add_up(self):
        assert total([]) == NOTHING
        assert total([Measure(messages=1, lower=2), Measure(messages=1, tools=3)]) == Measure(2, 2, tools=3)

    @given(st.text(max_size=200))
    def test_the_class_of_a_character_is_that_of_its_script(self, words):
        found = of(words)
        said = words.encode("utf-8", "surrogatepass").decode("utf-8", "surrogatepass")
        ascii = [each for each in said if each.isascii()]
        beyond = [each for each in said if not each.isascii()]
        assert found.lower == sum("a" <= each <= "z" for each in ascii)
        assert found.upper == sum("A" <= each <= "Z" for each in ascii)
        assert found.digits == sum(each in "0123456789" for each in ascii)
        assert found.breaks == sum(each in "\n\r\t" for each in ascii)
        assert found.pairs == said.count("  ")
        assert found.spaces + 2 * found.pairs == said.count(" ")
        kinds = {"latin": 0, "alphabets": 0, "marks": 0, "indic": 0, "ideographs": 0, "pictograms": 0}
        for each in map(ord, beyond):
            if each >= 0x10000:
                kinds["pictograms"] += 1
            elif each >= 0x800:
                block = each >> 12
                kinds[
                    {0: "indic", 1: "indic", 2: "marks", 14: "marks", 15: "marks"}.get(block, "ideographs")
                ] += 1
            else:
                kinds["marks" if each < 0xC0 else "latin" if each < 0x280 else "alphabets"] += 1
        assert found._asdict() == {**found._asdict(), **kinds}

    @pytest.mark.parametrize("character", "aA1 \n\u00e9\u0436\u2026\u0e44\u8a9e\U0001f600")
    @pytest.mark.parametrize("size", [1, 4, 5, 9, 16, 17, 40])
    def test_short_texts_and_long_ones_are_counted_alike(self, character, size):
        (kind,) = (name for name, count in of(character)._asdict().items() if count and name != "messages")
        assert of(f"{character}." * size) == Measure(messages=1, symbols=size)._replace(**{kind: size})

    def test_half_an_emoji_is_measured(self):
        assert measured(user("a\ud83d")) == Measure(messages=1, lower=1, ideographs=1)


class TestOutgoing:
    def test_a_message_of_the_client_is_measured_once(self):
        message = Chain(b"t" * 16).message(raw(user("hello")))
        one, other = (Outgoing("user", message.raw, message=message) for _ in range(2))
        assert one.measure is other.measure is message.measure
        assert one.measure == of("hello")

    def test_a_stored_message_is_measured_as_it_is_sent(self):
        stored = Outgoing("user", raw(user("hello")), restored=True)
        assert stored.measure is stored.measure
        assert stored.measure == of("hello")


class TestWeights:
    def test_estimates_are_a_contract(self):
        assert (estimate(b""), text("word " * 100), text("語" * 100)) == (5, 117, 87)
        assert (PER_MESSAGE, PER_IMAGE) == (4, 800)

    def test_so_is_what_a_thousand_of_each_weigh_before_anything_was_learned(self):
        """What a conversation was cut by yesterday has to be what it is cut by today."""
        told = {name: NEUTRAL.tokens(Measure(**{name: 1000})) for name in Measure._fields}
        assert told == {
            "messages": 4000,
            "lower": 125,
            "upper": 200,
            "digits": 850,
            "spaces": 480,
            "pairs": 200,
            "breaks": 1200,
            "symbols": 670,
            "latin": 2000,
            "alphabets": 500,
            "marks": 1100,
            "indic": 600,
            "ideographs": 720,
            "pictograms": 2000,
            "images": 800_000,
            "tools": 300,
        }

    def test_the_weights_that_nobody_taught_lean_to_the_high_side(self):
        found = of("Words, 12 lines\n")
        assert DEFAULT_WEIGHTS.tokens(found) > NEUTRAL.tokens(found)

    def test_another_script_costs_more_than_latin_of_the_same_length(self):
        assert text("a" * 100) < text("я" * 100) < text("語" * 100)

    def test_each_picture_costs(self):
        assert text([IMAGE, IMAGE]) - text([IMAGE]) >= PER_IMAGE

    @given(st.lists(st.text(max_size=40), max_size=12))
    def test_messages_never_take_more_than_the_most_for_their_measure(self, texts):
        told = [measured({"role": "user", "content": text}) for text in texts]
        each = sum(map(DEFAULT_WEIGHTS.tokens, told))
        assert each <= DEFAULT_WEIGHTS.most(total(told)) <= each + 2 * len(told) + 1

    def test_nothing_costs_one_token(self):
        assert DEFAULT_WEIGHTS.tokens(NOTHING) == 1

    @given(st.text(max_size=50), st.text(max_size=50))
    def test_more_text_hardly_ever_costs_less(self, one, other):
        # Two spaces in a row are one token to most tokenizers, and cost less than each for itself.
        assert PER_MESSAGE <= text(one) <= text(one + other) + 1

    @given(st.lists(st.floats(0, 1e6), min_size=len(NOTHING), max_size=len(NOTHING)))
    def test_they_are_kept_to_six_digits(self, values):
        kept = Weights.decoded(Weights(tuple(values)).encoded())
        assert kept is not None
        assert kept.values == pytest.approx(values, abs=1e-6)

    @pytest.mark.parametrize(
        "kept",
        [
            b"",
            b"[]",
            b'{"v":2}',
            b'{"v":1}',
            b'{"v":1,"weights":[1]}',
            raw({"v": 1, "weights": [-1.0] * len(NOTHING)}),
            raw({"v": 1, "weights": ["1"] * len(NOTHING)}),
            raw({"v": 0, "weights": [1.0] * len(NOTHING)}),
        ],
    )
    def test_what_another_version_kept_is_none(self, kept):
        assert Weights.decoded(kept) is None


class TestLongTexts:
    """Measured in slices, with the same result."""

    @pytest.mark.parametrize("text", ["a B1 ?\n" * 300_000, "é字 " * 400_000])
    def test_a_text_is_measured_as_its_pieces_are(self, text):
        whole, part = (measured({"role": "user", "content": each}) for each in (text, text[:21]))
        assert whole.messages == 1
        assert whole[1:] == tuple(each * len(text) // 21 for each in part[1:])

    def test_a_long_list_of_tools_is_measured_as_a_short_one(self):
        tools = [{"type": "function", "function": {"name": f"t{at}"}, "x": "é" * 90_000} for at in range(9)]
        spaced = json.dumps(tools, indent=1, ensure_ascii=False).encode()
        short = json.dumps(tools, separators=(",", ":"), ensure_ascii=False)
        assert measure_of_tools(spaced).tools == len(short)
        assert measure_of_tools(b"[" + b" " * (2 << 20) + b"]").tools == len("[]")
