"""When two messages say the same, and when an upstream reads the same from both."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation import message as message_module
from sidecar.conversation import pieces
from sidecar.conversation.message import (
    are_respelled,
    both_forms,
    call_form,
    call_forms,
    call_ids,
    exact_form,
    is_too_deep,
    normal_form,
    read,
    text_of,
    visible_text,
    without_reasoning,
)
from sidecar.conversation.reasoning import has_reasoning
from tests.conversation.build import calls, message, raw, result, says, user


def call_of(id="c", name="look", arguments='{"a": 2}'):
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


IMAGE = base64.b64encode(bytes(range(60))).decode()
BLOCK = '<details type="reasoning" done="true" duration="1">\n<summary>Thought</summary>\n> so\n</details>'


def same(one, other):
    return normal_form(one) == normal_form(other)


def alike(one, other):
    return exact_form(one) == exact_form(other)


def picture(url, text="look"):
    return user([{"type": "text", "text": text}, {"type": "image_url", "image_url": {"url": url}}])


GOLDEN = [
    (user(" hi "), b'["user","hi"]', "d1cd73b3f790b60f444fa60af554eb25"),
    (says("<think>so</think>\nyes"), b'["assistant","yes"]', "010a814806817c33a3692a6971dde8ba"),
    (says(None), b'["assistant",""]', "6b6380bd6b454be7c02afdce661dccc7"),
    ({"content": "hi", "name": "bo"}, b'[null,"hi",null,{"name":"bo"}]', "b46de17cb224851ffe344fe51d31efe3"),
    (
        calls("c", arguments='{"b": 1.0, "a": [2]}'),
        b'["assistant",null,[{"function":{"arguments":{"a":[2],"b":1},"name":"look"},"id":"c","type":"function"}],{}]',
        "7e6960bcabadb74f014734eb3036f510",
    ),
    (result("c", " 1 "), b'["tool","1",null,{"tool_call_id":"c"}]', "ccf01a28297f99b6799f39cbef953f49"),
    (
        picture("data:image/png;base64,AAAA", " look "),
        b'["user",[{"text":"look"},{"image_url":{"url":"data:image/png;b2,7b79be5e9b370ba6d080e4e2af7b7b89"},"type":"image_url"}]]',
        "fdb7b81d983000ff2f6510d7fc654af1",
    ),
]


@pytest.mark.parametrize(("fields", "form", "digest"), GOLDEN)
def test_normal_forms_and_digests_are_a_contract(fields, form, digest):
    assert normal_form(fields) == form
    assert message(fields).digest.hex() == digest


class TestRead:
    @pytest.mark.parametrize("wrong", [b"[]", b"1", b"null", b'"text"'])
    def test_what_is_no_object_is_named_by_its_type(self, wrong):
        with pytest.raises(ValueError, match=r"^not an object but (list|int|NoneType|str)$"):
            read(wrong)

    @pytest.mark.parametrize("wrong", [b"", b"{", b'{"a":NaN}', b'"\xff"', b"[" * 100_000])
    def test_what_is_no_json_is_a_value_error(self, wrong):
        with pytest.raises(ValueError, match=r"^not valid JSON: "):
            read(wrong)


class TestText:
    def test_text_parts_stand_one_a_line(self):
        parts = [{"type": "text", "text": "a"}, {"type": "image_url"}, "odd", {"type": "text", "text": "b"}]
        assert text_of(user(parts)) == "a\nb"

    @pytest.mark.parametrize("content", [None, 3, {"type": "text", "text": "a"}])
    def test_content_that_is_no_text_has_none(self, content):
        assert text_of(user(content)) == ""

    @pytest.mark.parametrize(
        "told",
        [
            "<think>so</think>yes",
            "<Thinking>\nso\n</THINKING>\n\nyes",
            BLOCK + "\nyes",
            "yes" + BLOCK,
            " yes\n",
            "<think>a</think><reasoning>b</reasoning> yes",
        ],
    )
    def test_reasoning_and_outer_white_space_are_not_visible(self, told):
        assert visible_text(says(told)) == "yes"

    @pytest.mark.parametrize("told", ["<think>so on and", " <think>so on", '<details type="reasoning">so'])
    def test_reasoning_that_was_cut_off_is_all_reasoning(self, told):
        assert visible_text(says(told)) == ""

    @pytest.mark.parametrize("told", ["Use the <think> tag", "a <b> c", "<details>open</details>", "1 < 2"])
    def test_a_tag_that_is_only_mentioned_stays(self, told):
        assert visible_text(says(told)) == told

    def test_what_a_user_writes_is_never_reasoning(self):
        assert visible_text(user("<think>so</think>yes")) == "<think>so</think>yes"


class TestSayingTheSame:
    @pytest.mark.parametrize(
        "other",
        [
            says(" yes\n"),
            says("<think>so</think>yes"),
            says("yes", reasoning_content="so"),
            says("yes", reasoning="so", reasoning_details=[{"text": "so"}]),
            says("yes", reasoning_text="so", reasoning_opaque="c2ln"),
            says("yes", thinking="so", thinking_blocks=[{"type": "thinking", "thinking": "so"}]),
            says("yes", refusal=None, annotations=[], tool_calls=[], audio={}, name=""),
            says([{"type": "text", "text": "yes"}]),
        ],
    )
    def test_reasoning_white_space_and_empty_fields_do_not_count(self, other):
        assert same(says("yes"), other)

    @pytest.mark.parametrize(
        "other", [user("yes"), says("Yes"), says("yes", name="bo"), says("yes", refusal="no"), says("y es")]
    )
    def test_role_words_and_unknown_fields_count(self, other):
        assert not same(says("yes"), other)

    def test_an_empty_list_of_calls_beside_another_field_is_no_call(self):
        assert same(says("yes", name="bo", tool_calls=[]), says("yes", name="bo"))

    def test_no_content_is_empty_content(self):
        forms = {normal_form(each) for each in (says(None), says(""), says([]), {"role": "assistant"})}
        assert len(forms) == 1

    def test_a_name_counts_where_there_is_no_role(self):
        assert not same({"content": "x", "name": "a"}, {"content": "x", "name": "b"})

    def test_arguments_are_compared_as_json_values(self):
        other = '{"b":{"c":[1,null]},"a":2}'
        assert same(calls("c", arguments='{"a": 2.0, "b": {"c": [1.0, null]}}'), calls("c", arguments=other))

    @pytest.mark.parametrize("other", ['{"a":3}', '{"a":"2"}', '{"a":2', "[2]"])
    def test_other_arguments_are_another_call(self, other):
        assert not same(calls("c", arguments='{"a":2}'), calls("c", arguments=other))

    @pytest.mark.parametrize("nothing", ["", " ", "{ }", {}])
    def test_no_arguments_are_empty_arguments(self, nothing):
        assert same(calls("c", arguments=nothing), calls("c", arguments="{}"))

    def test_arguments_that_are_no_json_are_compared_as_text(self):
        deep = "[" * 100_000
        assert same(calls("c", arguments=f" {deep}"), calls("c", arguments=deep))
        assert not same(calls("c", arguments="{a"), calls("c", arguments="{b"))

    def test_a_place_in_the_stream_and_a_missing_type_do_not_make_another_call(self):
        made = {"id": "c", "function": {"name": "look", "arguments": '{"a":2}'}, "index": 0}
        assert same(says(None, tool_calls=[made]), calls("c"))

    def test_marks_of_a_cache_that_move_between_requests_do_not_count(self):
        mark = {"cache_control": {"type": "ephemeral"}}
        image = {"type": "image_url", "image_url": {"url": "https://x/y.png"}}
        made = calls("c")
        marked = {**made, "tool_calls": [{**each, **mark} for each in made["tool_calls"]]}
        for plain, with_mark in (
            (user("hi"), user("hi", **mark)),
            (user([{"type": "text", "text": "hi"}]), user([{"type": "text", "text": "hi", **mark}])),
            (user([image]), user([{**image, **mark}])),
            (made, marked),
            (result("c"), {**result("c"), **mark}),
        ):
            assert same(plain, with_mark)
            assert alike(plain, with_mark)

    def test_null_fields_of_the_function_do_not_count(self):
        function = {"name": "look", "arguments": '{"a":2}', "parsed_arguments": None}
        assert same(says(None, tool_calls=[{"id": "c", "function": function}]), calls("c"))

    def test_calls_of_an_odd_shape_are_compared_as_they_are(self):
        assert not same(says("", tool_calls=["x"]), says("", tool_calls=["y"]))
        assert not same(says("", tool_calls="x"), says("", tool_calls="y"))
        assert same(
            says("", tool_calls=[{"function": "f"}]),
            says("", tool_calls=[{"type": "function", "function": "f"}]),
        )
        assert not same(says("", tool_calls=[{"function": {"name": "f"}}]), says("", tool_calls=[{}]))

    def test_audio_is_known_by_its_id(self):
        heard = says(None, audio={"id": "a1", "data": "AAAA", "transcript": "hi"})
        assert same(heard, says(None, audio={"id": "a1"}))
        assert not same(heard, says(None, audio={"id": "a2"}))
        assert not same(says(None, audio={"data": "A"}), says(None, audio={"data": "B"}))


class TestPictures:
    def test_a_picture_is_known_by_its_bytes(self):
        wrapped = "\n".join(IMAGE[at : at + 16] for at in range(0, len(IMAGE), 16))
        assert same(
            picture(f"data:image/png;base64,{IMAGE}"), picture(f"data:image/png;base64,{wrapped}", "look ")
        )

    @pytest.mark.parametrize(
        "url",
        [
            "data:image/png;base64,AAAA",
            f"data:image/jpeg;base64,{IMAGE}",
            "https://host/a.png",
            "data:image/svg+xml,%3Csvg/%3E",
            "data:image/png;base64,A",
            "data:image/png;base64,é",
            None,
        ],
    )
    def test_any_other_address_is_another_picture(self, url):
        assert not same(picture(url), picture(f"data:image/png;base64,{IMAGE}"))
        assert same(picture(url), picture(url))

    def test_how_closely_to_look_counts(self):
        near = picture("https://host/a.png")
        near["content"][1]["image_url"]["detail"] = "high"
        assert not same(near, picture("https://host/a.png"))

    def test_parts_of_an_unknown_kind_are_compared_as_they_are(self):
        assert not same(user([{"type": "file", "id": 1}, "x"]), user([{"type": "file", "id": 2}, "x"]))


class TestReadingTheSame:
    def test_white_space_and_the_spelling_of_arguments_count(self):
        assert not alike(says("yes"), says("yes\n"))
        assert not alike(calls("c", arguments='{"a": 2}'), calls("c", arguments='{"a":2}'))

    def test_white_space_in_the_parts_of_a_result_counts(self):
        def shown(text):
            return {**picture("https://host/a.png", text), "role": "tool", "tool_call_id": "c"}

        assert same(shown("look"), shown("look "))
        assert not alike(shown("look"), shown("look "))

    def test_reasoning_and_empty_fields_do_not_count(self):
        assert alike(says("yes", reasoning="so", refusal=None), says("<think>so</think>\nyes"))

    def test_text_parts_read_as_their_text(self):
        assert alike(says([{"type": "text", "text": " a"}, {"type": "text", "text": "b"}]), says(" a\nb"))


class TestWithoutReasoning:
    def test_a_message_without_reasoning_keeps_its_very_bytes(self):
        told = b'{ "content": " 1 < 2 ", "role":"assistant" }'
        assert without_reasoning(told) is told
        assert not has_reasoning(read(told))

    def test_fields_and_markup_of_reasoning_go_and_all_else_stays(self):
        told = says("<think>so</think>\n yes ", reasoning_content="so", x=[1], reasoning_details=[])
        assert json.loads(without_reasoning(raw(told))) == says("yes", x=[1])

    def test_a_message_without_content_gets_none(self):
        told = {"role": "assistant", "reasoning": "so", "tool_calls": []}
        assert json.loads(without_reasoning(raw(told))) == {"role": "assistant", "tool_calls": []}
        assert json.loads(without_reasoning(raw(says(None, reasoning="so")))) == says(None)

    @given(st.text("<>/ thinkabc\n", max_size=40), st.sampled_from(["assistant", "user"]))
    def test_it_says_the_same_and_nothing_is_left_to_take(self, text, role):
        fields = {"role": role, "content": text, "reasoning": "so"}
        bare = without_reasoning(raw(fields))
        assert normal_form(read(bare)) == normal_form(fields)


class TestCalls:
    def test_the_ids_of_calls_are_those_that_are_text(self):
        told = says("", tool_calls=[{"id": "a"}, {"id": 3}, "odd", {}, {"id": "b"}])
        assert list(call_ids(told)) == ["a", "b"]
        assert list(call_ids(says("", tool_calls="odd"))) == []

    def test_a_call_is_known_by_its_id_its_name_and_its_arguments(self):
        assert call_forms(calls("a", arguments='{"a":2}')) < call_forms(calls("a", "b"))
        assert call_forms(says("hi")) == frozenset()
        (call,) = calls("a")["tool_calls"]
        assert call_form({**call, "index": 0, "extra_content": {"a": 1}}) == call_form(call)
        assert call_form({**call, "function": {"name": "look"}}) != call_form(call)
        assert call_form({**call, "id": ""}) == call_form({**call, "id": None}) != call_form(call)

    def test_so_is_one_of_another_kind_or_of_none(self):
        run, look = ({"id": "a", "custom": {"name": name, "input": "x"}} for name in ("run", "look"))
        assert call_form(run) != call_form(look)
        assert call_form("odd") != call_form({"id": "a", "function": "odd"})

    @pytest.mark.parametrize(
        ("one", "other"),
        [
            (call_of(), call_of(name="find")),
            (call_of(), call_of(arguments='{"a": 3}')),
            (call_of(), call_of("d")),
            (call_of(), call_of(None)),
            ("odd", "else"),
            (
                {"id": "c", "custom": {"name": "run", "input": "a"}},
                {"id": "c", "custom": {"name": "run", "input": "b"}},
            ),
        ],
    )
    def test_two_that_differ_in_one_of_these_are_two(self, one, other):
        assert call_form(one) != call_form(other)

    def test_arguments_that_are_not_there_are_none(self):
        bare = {"id": "c", "function": {"name": "look"}}
        assert call_form(bare) == call_form(call_of(arguments="")) == call_form(call_of(arguments=None))
        assert call_form(bare) == call_form(call_of(arguments=" {} ")) != call_form(call_of())

    @pytest.mark.parametrize(
        ("ids", "others", "are"),
        [
            (["call_1"], ["call1"], True),
            (["call_AbC"], ["abc"], True),
            (["abc"], ["call_AbC"], True),
            (["abc"], [None], True),
            ([""], ["abc"], True),
            (["abc"], ["abd"], False),
            (["a", "b"], ["a", "b"], True),
            (["a", "b"], ["b", "a"], False),
            (["a", "b"], ["a"], False),
            ([7], ["call_7"], True),
        ],
    )
    def test_the_same_calls_may_go_by_ids_that_are_spelled_otherwise_or_missing(self, ids, others, are):
        one, other = (says(None, tool_calls=[call_of(id) for id in each]) for each in (ids, others))
        assert are_respelled(one, other) is are
        assert are_respelled(other, one) is are

    @pytest.mark.parametrize("change", [{"name": "find"}, {"arguments": '{"a": 3}'}])
    def test_other_calls_are_no_other_spelling(self, change):
        assert not are_respelled(
            says(None, tool_calls=[call_of()]), says(None, tool_calls=[call_of(**change)])
        )
        assert are_respelled(calls("c"), says(None, tool_calls=[call_of(arguments='{"a":2.0}')]))

    def test_calls_of_no_list_or_of_no_object_are_the_same_where_they_are_equal(self):
        for odd in (None, "c", {"a": 1}):
            assert not are_respelled(says(None, tool_calls=odd), calls("c"))
            assert not are_respelled(calls("c"), says(None, tool_calls=odd))
        for one, other, are in ((["x"], ["x"], True), (["x"], ["y"], False), (["x"], [call_of()], False)):
            assert are_respelled(says(None, tool_calls=one), says(None, tool_calls=other)) is are


class TestDepth:
    def test_what_is_read_near_the_top_of_the_stack_can_be_read_further_down(self):
        def deeper(levels, raw):
            return deeper(levels - 1, raw) if levels else read(raw)

        for depth in range(1, 300, 3):
            body = b'{"content":' + b"[" * depth + b"]" * depth + b"}"
            if not is_too_deep(body):
                deeper(50, body)

    def test_many_lists_beside_each_other_are_not_deep(self):
        assert not is_too_deep(b'{"content":[' + b"[]," * 100_000 + b"[]]}")

    @pytest.mark.parametrize(("depth", "is_deep"), [(199, False), (200, True), (5000, True)])
    def test_how_deep_it_may_be_is_the_same_for_every_interpreter(self, depth, is_deep):
        assert is_too_deep(b'{"content":' + b"[" * depth + b"]" * depth + b"}") == is_deep

    def test_strings_and_what_is_closed_again_do_not_count(self):
        level = '{"a[":[0,"\\\\","]\\"",[],'
        assert not is_too_deep((level * 99 + '"":[]' + "]}" * 99).encode())
        assert is_too_deep((level * 100 + "[]" + "]}" * 100).encode())

    def test_what_is_closed_makes_no_room_for_more(self):
        beside = b"[]," * 50 + b"{}," * 50
        for opened, closed in ((b"[", b"]"), (b'{"a":', b"}")):
            inner = [b"[" + beside + opened * depth + b"0" + closed * depth + b"]" for depth in (199, 200)]
            assert [is_too_deep(each) for each in inner] == [False, True]

    def test_brackets_in_text_are_not_nested(self):
        for text in ("[" * 5000, '"[' * 5000, "\\[" * 5000, '\\"[' * 5000):
            assert not is_too_deep(raw(says(text)))

    def test_arguments_nested_too_deep_are_compared_as_text(self):
        def told(depth, space=""):
            return calls("a", arguments="[" * depth + space + "]" * depth)

        assert normal_form(told(200)) == normal_form(told(200, " "))
        assert normal_form(told(201)) != normal_form(told(201, " "))


class TestLongImages:
    """Decoded in slices, with the same hash as at once."""

    @pytest.mark.parametrize(
        "letters",
        [
            pytest.param(base64.b64encode(bytes(range(250)) * 5001).decode(), id="whole"),
            pytest.param(base64.b64encode(bytes(range(250)) * 5000 + b"x").decode(), id="with an end"),
            pytest.param(base64.b64encode(b"x" * 1000).decode() * 1000, id="with ends within"),
            pytest.param(base64.encodebytes(bytes(range(250)) * 5000).decode(), id="in lines"),
            pytest.param("AAAA" * 100_000 + "\n\n\n\n" + "AAAA" * 200_000, id="parted by four"),
        ],
    )
    def test_its_form_holds_the_hash_of_its_bytes(self, letters):
        url = f"data:image/png;base64,{letters}"
        said = hashlib.blake2b(binascii.a2b_base64(letters), digest_size=16).hexdigest()
        assert f";b2,{said}" in normal_form(picture(url)).decode()

    @pytest.mark.parametrize("letters", ["A" * (1 << 20) + "A", "A" * (1 << 21) + "é"])
    def test_one_that_is_no_base64_stays_as_it_is(self, letters):
        url = f"data:image/png;base64,{letters}"
        assert url in normal_form(picture(url)).decode()


@given(st.text('a "\\\n\u00e9水😀', max_size=20), st.sampled_from(("user", "assistant", None, ["odd"])))
def test_the_forms_of_a_long_text_are_made_in_slices_and_the_same(text, role):
    fields = {"role": role, "content": text}
    at_once = normal_form(fields), exact_form(fields)
    assert both_forms(fields) == at_once
    with pytest.MonkeyPatch.context() as patch:
        for module in (message_module, pieces):
            patch.setattr(module, "SLICE", 3)
        assert (normal_form(fields), exact_form(fields)) == at_once
        assert both_forms(fields) == at_once


@pytest.mark.parametrize("fields", [user(" aé水"), says("a\nb\n"), says("<think>so</think>\nyes, it is")])
def test_a_text_of_some_slices_has_the_form_of_one(fields, monkeypatch):
    at_once = normal_form(fields), exact_form(fields)
    for module in (message_module, pieces):
        monkeypatch.setattr(module, "SLICE", 2)
    assert both_forms(fields) == at_once
