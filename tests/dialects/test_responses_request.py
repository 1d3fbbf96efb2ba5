"""A request of the Responses API as one of Chat Completions: the items, the tools, and all the rest."""

from __future__ import annotations

import json

import pytest

from sidecar.dialects.responses.body import translated
from sidecar.dialects.responses.ids import response_id
from sidecar.dialects.responses.items import ABORTED, messages_to_keep
from sidecar.dialects.responses.references import UnknownItems, filled
from sidecar.dialects.responses.refusal import UnknownCall
from sidecar.dialects.responses.tools import Tools
from sidecar.errors import BadRequest
from tests.conversation.build import calls, result, says, user
from tests.dialects.responses import EXCHANGE, asked, call, chat, messages, output, said, thought

LOOK = {"type": "function", "name": "look", "parameters": {"type": "object"}}
PIXEL = "data:image/png;base64,AAAA"

WEATHER = {"name": "W", "description": "How it is.", "schema": {}, "strict": True}


def refused(*, code="unsupported_value", param=None, **body):
    with pytest.raises(BadRequest) as caught:
        chat(**body)
    assert caught.value.code == code
    if param is not None:
        assert caught.value.param == param
    return caught.value.message


class TestMessages:
    def test_a_string_is_the_users_question(self):
        assert chat("hi")[0] == {"model": "m", "messages": [user("hi")]}

    def test_instructions_and_leading_system_items_are_one_message(self):
        """litellm #39282"""
        asks = [said("developer", "Be brief.", "Be kind."), said("system"), said("user", "hi")]
        sent = messages(*asks, instructions="You are a poet.")
        assert sent == [
            {"role": "system", "content": "You are a poet.\n\nBe brief.\n\nBe kind."},
            user("hi"),
        ]

    def test_leading_system_items_are_known(self):
        asks = [said("developer", "Be brief."), said("system"), {"role": "system", "content": "x"}]
        later = [said("user", "hi"), said("system", "y")]
        assert asked(input=[*asks, *later]).leading == (("developer", "Be brief."), ("system", "x"))
        assert asked(input=asks[:1]).leading == (("developer", "Be brief."),)
        assert asked(input=[{"type": None, "role": "system", "content": "x"}]).leading == (("system", "x"),)
        assert asked(input="hi", instructions="z").leading == ()

    def test_a_later_system_item_stays_where_it_stands(self):
        sent = messages(said("user", "a"), said("developer", "Now in French."), said("user", "b"))
        assert sent == [user("a"), {"role": "system", "content": "Now in French."}, user("b")]

    @pytest.mark.parametrize("role", ["user", "assistant", "system"])
    def test_a_message_may_be_a_role_and_a_string(self, role):
        """vllm #33089"""
        assert messages({"role": role, "content": "x"}) == [{"role": role, "content": "x"}]

    def test_several_texts_of_the_user_stay_apart(self):
        (sent,) = messages(said("user", "a", "b"))
        assert sent["content"] == [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]

    @pytest.mark.parametrize(
        ("part", "translated"),
        [
            (
                {"type": "input_image", "image_url": PIXEL},
                {"type": "image_url", "image_url": {"url": PIXEL}},
            ),
            (
                {"type": "input_image", "image_url": PIXEL, "detail": "low"},
                {"type": "image_url", "image_url": {"url": PIXEL, "detail": "low"}},
            ),
            (
                {"type": "input_file", "file_data": "AA==", "filename": "a.pdf"},
                {"type": "file", "file": {"file_data": "AA==", "filename": "a.pdf"}},
            ),
            ({"type": "input_file", "file_id": "file-1"}, {"type": "file", "file": {"file_id": "file-1"}}),
            (
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
                {"type": "input_audio", "input_audio": {"data": "AA==", "format": "wav"}},
            ),
        ],
    )
    def test_images_files_and_sounds_have_a_form_there(self, part, translated):
        assert messages({"role": "user", "content": [part]}) == [user([translated])]

    @pytest.mark.parametrize(
        "part",
        [
            {"type": "input_image", "file_id": "file-1"},
            {"type": "input_file", "file_url": "http://127.0.0.1/a.pdf"},
            {"type": "input_file"},
            {"type": "input_file", "file_id": "", "file_data": None, "filename": "a.pdf"},
            {"type": "computer_screenshot"},
        ],
    )
    def test_what_has_none_is_refused_and_never_dropped(self, part):
        refused(input=[{"role": "user", "content": [part]}])

    @pytest.mark.parametrize(
        ("item", "param"),
        [
            ({"role": "tool", "content": "x"}, "input[0].role"),
            ({"type": "message", "content": "x"}, "input[0].role"),
            ({"role": "user", "content": 5}, "input[0].content"),
            ({"role": "user", "content": ["x"]}, "input[0].content"),
            ({"role": "user", "content": [{"type": "input_text"}]}, "input[0].content[0].text"),
            (
                {"role": "user", "content": [{"type": "input_file", "file_data": "AA==", "file_id": 5}]},
                "input[0].content[0].file_id",
            ),
            (
                {"role": "system", "content": [{"type": "input_image", "image_url": PIXEL}]},
                "input[0].content",
            ),
            ({"type": "compaction", "encrypted_content": "x"}, "input[0].encrypted_content"),
            ({"type": "compaction"}, "input[0].encrypted_content"),
            ({"type": "computer_call", "call_id": "c"}, "input[0].type"),
            ({"type": "acme:note"}, "input[0].type"),
            ({"type": "function_call", "name": "f", "arguments": "{}"}, "input[0].call_id"),
        ],
    )
    def test_an_item_that_cannot_be_told_is_named(self, item, param):
        with pytest.raises(BadRequest) as caught:
            messages(item)
        assert caught.value.param == param

    def test_one_item_is_referred_to_once(self):
        items = [said("user", "a"), {"id": "msg_1"}, {"type": "item_reference", "id": "msg_1"}]
        told = refused(input=items, code="invalid_value", param="input")
        assert told == "Duplicate item found with id 'msg_1'."

    @pytest.mark.parametrize("item", [{"type": "item_reference", "id": "msg_1"}, {"id": "msg_1"}])
    def test_what_is_referred_to_has_to_be_looked_up(self, item):
        with pytest.raises(UnknownItems) as caught:
            chat([said("user", "a"), item], conversation="conv_1")
        unknown = caught.value
        assert (unknown.ids, unknown.behind, unknown.of_conversation) == (["msg_1"], None, "conv_1")
        assert "'msg_1' not found" in unknown.message
        body = {"input": [said("user", "a"), item, {"id": "msg_2"}], "model": "m"}
        whole = filled(json.dumps(body).encode(), {"msg_1": said("assistant", "b")})
        assert json.loads(whole)["input"] == [said("user", "a"), said("assistant", "b"), {"id": "msg_2"}]
        assert caught.value.code == "item_not_found"

    @pytest.mark.parametrize(
        ("item", "code"), [({"type": "item_reference"}, "invalid_type"), ({"id": ""}, "invalid_value")]
    )
    def test_a_reference_to_nothing_is_refused(self, item, code):
        refused(input=[item], code=code, param="input[0].id")

    def test_what_the_providers_tools_did_is_left_out_and_said(self):
        items = [said("user", "a"), {"type": "web_search_call", "id": "ws_1"}, {"type": "web_search_call"}]
        sent, about = chat([*items, said("assistant", "b"), said("user", "c")])
        assert sent["messages"] == [user("a"), says("b"), user("c")]
        assert about.tools.left_out == ["web_search_call"]

    def test_that_a_text_was_no_answer_yet_stands_beside_the_messages(self):
        """An upstream may refuse a message that says so."""
        told = [{**said("assistant", "Let me see."), "phase": "commentary"}, call("c1"), output("c1")]
        done = {**said("assistant", "Done."), "phase": "final_answer"}
        items = [said("user", "a"), *told, done, said("user", "b")]
        sent, about = chat(items, instructions="Be brief.")
        see, called = says("Let me see."), calls("c1")
        said_first = {**called, "content": see["content"]}
        assert sent["messages"][1:] == [
            user("a"),
            said_first,
            result("c1", "found"),
            says("Done."),
            user("b"),
        ]
        assert about.phases == {2: "commentary", 4: "final_answer"}
        assert about.tools.left_out == []

    @pytest.mark.parametrize(
        "phases", [("commentary", "final_answer"), ("commentary", None), ("a sentence",), (5,), ([],)]
    )
    def test_what_is_no_phase_of_one_message_is_left_out_and_said(self, phases):
        told = [{**said("assistant", "a"), "phase": each} for each in phases]
        _, about = chat([said("user", "a"), *told, said("user", "b")])
        assert (about.phases, about.tools.left_out) == ({}, ["phase"])

    def test_a_text_that_says_nothing_leaves_no_phase(self):
        told = [said("user", "a"), {**said("assistant", ""), "phase": "commentary"}, said("user", "b")]
        sent, about = chat(told)
        assert (sent["messages"], about.phases) == ([user("a"), user("b")], {})


class TestTurnsOfTheAssistant:
    def test_text_and_calls_are_one_message(self):
        """litellm #21154, #25618, #28978, #33931; vllm #37167"""
        sent = messages(said("user", "a"), said("assistant", "I look."), call("1"), call("2"))
        assert sent == [user("a"), calls("1", "2", content="I look."), result("1", "aborted"), sent[3]]
        assert sent[3] == result("2", "aborted")

    def test_a_message_between_call_and_result_belongs_to_them(self):
        sent = messages(said("user", "a"), call("1"), said("assistant", "I look."), output("1"))
        assert sent == [user("a"), calls("1", content="I look."), result("1")]

    def test_texts_around_a_call_are_one_text_and_those_side_by_side_paragraphs(self):
        around = messages(said("assistant", "a "), call("1"), said("assistant", "b"), output("1"))
        assert around[0]["content"] == "a b"
        assert messages(said("assistant", "a"), said("assistant", "b")) == [says("a\n\nb")]
        receipt = {"type": "web_search_call"}
        assert messages(said("assistant", "a"), receipt, said("assistant", "b")) == [says("ab")]

    def test_what_comes_after_all_results_is_a_step_of_its_own(self):
        for item, told in (
            (said("assistant", "b"), says("b")),
            (call("2"), calls("2")),
        ):
            sent = messages(call("1"), output("1"), item)
            assert sent[:3] == [calls("1"), result("1"), told]
        sent = messages(call("1"), output("1"), thought("So."), said("assistant", "b"))
        assert sent[2] == says("b", reasoning_content="So.")

    def test_results_follow_their_calls_whatever_their_order(self):
        sent = messages(call("1"), call("2"), output("2", "b"), output("1", "a"))
        assert sent == [calls("1", "2"), result("1", "a"), result("2", "b")]

    def test_a_call_that_is_repeated_with_its_result_is_one(self):
        """open-webui #27096, #29630"""
        assert messages(call("1"), call("1"), output("1")) == [calls("1"), result("1")]

    @pytest.mark.parametrize("items", [[output("9")], [call("1"), output("1"), output("1")]])
    def test_a_result_without_a_call_is_an_error(self, items):
        told = refused(input=items, code="invalid_request", param="input")
        assert told.startswith("No tool call found for function call output with call_id ")

    def test_a_result_stays_a_string(self):
        """litellm #18226, #34978; llama.cpp #23465"""
        parts = [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]
        assert messages(call("1"), output("1", parts))[1] == result("1", "a\nb")

    def test_images_of_results_come_behind_all_results_of_the_step(self):
        parts = [{"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": PIXEL}]
        sent = messages(call("1"), call("2"), output("1", parts), output("2"))
        picture = {"type": "image_url", "image_url": {"url": PIXEL}}
        assert sent == [calls("1", "2"), result("1", "a"), result("2"), user([picture])]

    def test_reasoning_goes_with_what_it_led_to(self):
        items = [said("user", "a"), thought("One.", "Two.", content=None), call("1"), output("1")]
        assert messages(*items)[1] == {**calls("1"), "reasoning_content": "One.\n\nTwo."}

    def test_reasoning_itself_counts_more_than_its_summary(self):
        content = [{"type": "reasoning_text", "text": "All of it."}]
        sent = messages(thought("In short.", content=content), said("assistant", "b"))
        assert sent == [says("b", reasoning_content="All of it.")]

    def test_reasoning_that_led_to_nothing_is_no_empty_message(self):
        assert messages(thought("Hm."), said("user", "a"), thought(), thought("Hm.")) == [user("a")]

    def test_nor_are_texts_of_no_words_around_it(self):
        assert messages(said("assistant", ""), thought("Hm."), said("assistant", "")) == []

    def test_a_refusal_is_what_the_assistant_said(self):
        content = [{"type": "refusal", "refusal": "No."}]
        assert messages({"role": "assistant", "content": content}) == [says("No.")]


class TestGoingOn:
    ID = "resp_" + "0" * 20 + "c" + "5" * 32

    def sent(self, *items, **body):
        return messages(*items, previous_response_id=self.ID, **body)

    @pytest.mark.parametrize(
        ("before", "may_be_stored"),
        [([], True), ([thought("Hm.")], True), ([said("system", "x")], True)]
        + [([each], False) for each in (said("user", "a"), said("assistant", "a"), call("c2"))],
    )
    def test_the_call_of_a_result_that_comes_first_may_be_stored(self, before, may_be_stored):
        data = json.dumps({"model": "m", "input": [*before, output("c1")]}).encode()
        with pytest.raises(BadRequest) as caught:
            translated(data, "max_tokens")
        assert isinstance(caught.value, UnknownCall) is may_be_stored
        assert (caught.value.code, caught.value.param) == ("invalid_request", "input")
        if may_be_stored:
            sent = json.loads(translated(data, "max_tokens", goes_on=True)[0])["messages"]
            assert sent[-1] == result("c1", "found")

    def test_results_may_be_those_of_calls_that_stand_before(self):
        """vllm #43244"""
        assert self.sent(output("1"), output("2", "b")) == [result("1"), result("2", "b")]
        assert self.sent(output("1"), said("user", "a")) == [result("1"), user("a")]
        assert self.sent(output("1"), said("assistant", "b")) == [result("1"), says("b")]
        picture = [{"type": "input_image", "image_url": PIXEL}]
        assert [each["role"] for each in self.sent(output("1", picture))] == ["tool", "user"]

    def test_but_none_that_comes_later(self):
        with pytest.raises(BadRequest):
            self.sent(said("user", "a"), said("assistant", "b"), said("user", "c"), output("1"))

    @pytest.mark.parametrize("id", ["resp_1", "", 5, "resp_" + "0" * 20])
    def test_an_id_that_leads_nowhere_is_not_found(self, id):
        refused(previous_response_id=id, code="previous_response_not_found", param="previous_response_id")

    def test_what_goes_on_is_kept_as_that_is(self):
        refused(previous_response_id=self.ID, store=False, param="store")


class TestTools:
    def test_functions_are_nested(self):
        tools = [{**LOOK, "description": "Looks.", "strict": True}, {"type": "function", "name": "now"}]
        first, second = chat(tools=tools)[0]["tools"]
        about = {"name": "look", "description": "Looks.", "strict": True, "parameters": {"type": "object"}}
        assert first == {"type": "function", "function": about}
        empty = {"type": "object", "properties": {}}
        assert second == {"type": "function", "function": {"name": "now", "parameters": empty}}

    def test_those_of_a_namespace_have_its_name_in_theirs(self):
        """omlx #3371"""
        tools = [{"type": "namespace", "name": "agents", "tools": [{**LOOK, "name": "spawn"}]}]
        sent, about = chat([call("1", "spawn", namespace="agents")], tools=tools)
        assert sent["tools"][0]["function"]["name"] == "agents__spawn"
        assert sent["messages"][0]["tool_calls"][0]["function"]["name"] == "agents__spawn"
        assert about.tools.of("agents__spawn") == ("function", "spawn", "agents")
        assert about.tools.of("elsewhere") == ("function", "elsewhere", None)

    def test_a_long_name_is_cut_to_what_upstreams_take_and_stays_one(self):
        tools = [
            {"type": "namespace", "name": "n" * 60, "tools": [{**LOOK, "name": f"{x}" * 9} for x in "ab"]}
        ]
        names = [each["function"]["name"] for each in chat(tools=tools)[0]["tools"]]
        assert [len(name) for name in names] == [64, 64]
        assert names[0][:55] == "n" * 55
        assert names[0] != names[1]

    def test_a_namespace_within_another_is_left_out_and_said(self):
        inner = {"type": "namespace", "name": "b", "tools": [LOOK]}
        sent, about = chat(tools=[{"type": "namespace", "name": "a", "tools": [inner]}])
        assert "tools" not in sent
        assert about.tools.left_out == ["namespace"]

    def test_a_tool_that_takes_free_text_is_a_function_of_one_string(self):
        """litellm #31571, ollama #17673"""
        form = {"type": "grammar", "syntax": "lark", "definition": "start: /.+/"}
        tools = [{"type": "custom", "name": "patch", "description": "Patches.", "format": form}]
        past = {"type": "custom_tool_call", "call_id": "1", "name": "patch", "input": "+a\n"}
        done = output("1", "ok", "custom_tool_call_output")
        sent, about = chat([past, done], tools=tools)
        function = sent["tools"][0]["function"]
        assert (
            function["description"] == "Patches.\n\n`input` has to follow this grammar (lark):\nstart: /.+/"
        )
        assert function["parameters"]["required"] == ["input"]
        assert sent["messages"] == [
            calls("1", name="patch", arguments='{"input":"+a\\n"}'),
            result("1", "ok"),
        ]
        assert about.tools.of("patch").kind == "custom"

    def test_such_a_tool_may_say_nothing_of_itself(self):
        (tool,) = chat(tools=[{"type": "custom", "name": "patch", "format": {"type": "text"}}])[0]["tools"]
        assert tool["function"].keys() == {"name", "parameters"}

    def test_a_client_that_looks_for_tools_is_asked_to_and_what_it_found_can_be_called(self):
        tools = [{"type": "tool_search", "execution": "client", "description": "Finds."}]
        past = {"type": "tool_search_call", "call_id": "1", "arguments": {"query": "look"}}
        found = {"type": "tool_search_output", "call_id": "1", "tools": [LOOK]}
        sent, about = chat([past, found], tools=tools)
        assert [each["function"]["name"] for each in sent["tools"]] == ["tool_search", "look"]
        assert sent["messages"][0] == calls("1", name="tool_search", arguments='{"query":"look"}')
        assert json.loads(sent["messages"][1]["content"]) == [LOOK]
        assert about.tools.of("tool_search").kind == "tool_search"
        again = chat([{**past, "arguments": "{}"}, found], tools=tools)[0]
        assert again["messages"][0] == calls("1", name="tool_search", arguments="{}")

    def test_tools_of_the_provider_are_left_out_and_said(self):
        """codex #10635, LM Studio #1810"""
        tools = [{"type": "web_search"}, LOOK, {"type": "mcp", "server_label": "x"}, {"type": "web_search"}]
        sent, about = chat(tools=[*tools, {"type": "tool_search"}])
        assert [each["function"]["name"] for each in sent["tools"]] == ["look"]
        assert about.tools.left_out == ["web_search", "mcp", "tool_search"]

    def test_the_work_grows_no_faster_than_their_number(self):
        class Kind(str):
            compared = 0
            __hash__ = str.__hash__

            def __eq__(self, other: object) -> bool:
                Kind.compared += 1
                return str.__eq__(self, other)

        kinds = [{"type": Kind(f"kind {at}")} for at in range(300)]
        tools = Tools()
        tools.add(kinds, "tools")
        allowed = [{"type": Kind(f"kind {at}")} for at in range(300)]
        assert tools.chosen({"type": "allowed_tools", "tools": allowed}) == (None, [])
        assert Kind.compared < 10 * len(kinds)

    def test_a_tool_that_is_offered_twice_is_one(self):
        assert len(chat(tools=[LOOK, LOOK])[0]["tools"]) == 1

    @pytest.mark.parametrize(
        ("choice", "sent"),
        [
            ("auto", "auto"),
            ("none", "none"),
            ("required", "required"),
            ({"type": "function", "name": "look"}, {"type": "function", "function": {"name": "look"}}),
            ({"type": "custom", "name": "patch"}, {"type": "function", "function": {"name": "patch"}}),
            (
                {"type": "function", "name": "spawn", "namespace": "agents"},
                {"type": "function", "function": {"name": "agents__spawn"}},
            ),
            ({"type": "tool_search"}, {"type": "function", "function": {"name": "tool_search"}}),
        ],
    )
    def test_the_choice_among_them_is_the_same(self, choice, sent):
        tools = [LOOK, {"type": "custom", "name": "patch"}, {"type": "tool_search", "execution": "client"}]
        body = chat(tools=tools, tool_choice=choice, parallel_tool_calls=False)[0]
        assert body["tool_choice"] == sent
        assert body["parallel_tool_calls"] is False
        assert len(body["tools"]) == 3

    def test_only_those_that_are_allowed_are_offered(self):
        allowed = [{"type": "function", "name": "look"}, {"type": "web_search"}]
        choice = {"type": "allowed_tools", "mode": "required", "tools": allowed}
        tools = [LOOK, {**LOOK, "name": "run"}, {"type": "web_search"}]
        body = chat(tools=tools, tool_choice=choice)[0]
        assert body["tool_choice"] == "required"
        assert [each["function"]["name"] for each in body["tools"]] == ["look"]

    @pytest.mark.parametrize("choice", ["required", {"type": "web_search"}, {"type": "tool_search"}])
    def test_a_request_that_insists_on_a_tool_of_the_provider_is_refused(self, choice):
        refused(tools=[{"type": "web_search"}], tool_choice=choice, param="tool_choice")

    def test_without_a_function_nothing_is_said_of_choices(self):
        body = chat(tools=[{"type": "web_search"}], tool_choice="auto", parallel_tool_calls=True)[0]
        assert body.keys() == {"model", "messages"}

    def test_an_allowed_tool_has_a_type_that_is_a_word(self):
        choice = {"type": "allowed_tools", "tools": [{"type": ["web_search"]}]}
        refused(tools=[{"type": "web_search"}], tool_choice=choice, param="tool_choice.tools")

    @pytest.mark.parametrize("tools", [5, ["x"], [{"name": "x"}], [{"type": "function"}]])
    def test_tools_that_are_none_are_refused(self, tools):
        refused(tools=tools, code="invalid_type")


class TestTheRest:
    @pytest.mark.parametrize("said", [None, "auto", "disabled"])
    def test_whether_it_may_be_cut_is_known(self, said):
        assert chat(truncation=said)[1].truncation == said

    @pytest.mark.parametrize(
        ("asked", "sent"),
        [
            ({"text": {"format": {"type": "text"}}}, {}),
            ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
            ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
            (
                {"text": {"format": {"type": "json_schema", **WEATHER}}},
                {
                    "response_format": {
                        "type": "json_schema",
                        "json_schema": WEATHER,
                    }
                },
            ),
            ({"reasoning": {"effort": "high", "summary": "auto"}}, {"reasoning_effort": "high"}),
            ({"max_output_tokens": 20}, {"max_completion_tokens": 20}),
            ({"top_logprobs": 3}, {"logprobs": True, "top_logprobs": 3}),
            ({"include": ["message.output_text.logprobs"]}, {"logprobs": True, "top_logprobs": 0}),
            ({"stream": True}, {"stream": True, "stream_options": {"include_usage": True}}),
            ({"stream": False, "top_p": None}, {}),
            ({"conversation": "conv_1", "max_tool_calls": 3, "client_metadata": {"a": "b"}}, {}),
            ({"temperature": 0.5, "user": "u", "service_tier": "flex"},) * 2,
            ({"prompt_cache_key": "k", "safety_identifier": "s", "top_k": 5},) * 2,
            (
                {
                    "metadata": {"n" * 64: "v" * 512, **{str(at): "" for at in range(15)}},
                    "store": False,
                    "truncation": "auto",
                    "include": [],
                    "background": False,
                },
                {},
            ),
        ],
    )
    def test_it_is_translated_passed_on_or_stays_here(self, asked, sent):
        body = chat(**asked)[0]
        assert {name: body[name] for name in body.keys() - {"model", "messages"}} == sent

    @pytest.mark.parametrize("told", ["conv_1", {"id": "conv_1"}])
    def test_a_conversation_is_told_and_goes_to_no_upstream(self, told):
        body, known = chat([output("c1")], conversation=told)
        assert (known.conversation, known.echo["conversation"]) == ("conv_1", {"id": "conv_1"})
        assert body.keys() == {"model", "messages"}

    def test_what_stands_in_one_may_be_asked_without_anything_new(self):
        assert chat(None, conversation="conv_1")[0]["messages"] == []
        id = response_id(EXCHANGE, "conv_" + "5" * 32)
        assert chat(None, previous_response_id=id)[0]["messages"] == []

    @pytest.mark.parametrize("told", [5, "", {}, {"id": None}])
    def test_one_that_names_nothing_is_refused(self, told):
        refused(conversation=told, code="invalid_type", param="conversation")

    def test_one_beside_a_response_to_go_on_from_is_refused(self):
        refused(conversation="conv_1", previous_response_id="resp_1", param="conversation")

    def test_the_length_of_an_answer_has_the_name_that_is_set(self):
        data, _ = translated(b'{"input": "hi", "max_output_tokens": 20}', "max_tokens")
        assert json.loads(data) == {"messages": [user("hi")], "max_tokens": 20}

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("prompt", {"id": "pmpt_1"}),
            ("context_management", [{"type": "compaction"}]),
        ],
    )
    def test_what_needs_something_that_is_not_there_is_refused(self, name, value):
        """mlx-vlm #1046: accepted and ignored"""
        assert refused(**{name: value}, param=name).startswith(f"`{name}`: ")

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"input": None}, "input"),
            ({"input": 5}, "input"),
            ({"input": ["hi"]}, "input"),
            ({"instructions": ["x"]}, "instructions"),
            ({"text": "x"}, "text"),
            ({"text": {"format": {"type": "grammar"}}}, "text.format"),
            ({"reasoning": "high"}, "reasoning"),
            ({"metadata": "x"}, "metadata"),
            ({"metadata": {"a": 5}}, "metadata.a"),
            ({"metadata": {"a": "v" * 513}}, "metadata.a"),
            ({"metadata": {"n" * 65: "v"}}, "metadata"),
            ({"metadata": {str(at): "v" for at in range(17)}}, "metadata"),
            ({"truncation": "middle"}, "truncation"),
        ],
    )
    def test_what_cannot_be_read_is_refused_by_its_name(self, body, param):
        with pytest.raises(BadRequest) as caught:
            chat(**body)
        assert caught.value.param == param

    @pytest.mark.parametrize(
        ("told", "is_compaction"),
        [
            ('{"request_kind": "compaction"}', True),
            ('{"request_kind": "turn"}', False),
            ("[]", False),
            ("{", False),
            (None, False),
        ],
    )
    def test_codex_says_when_it_sums_up(self, told, is_compaction):
        assert asked(client_metadata={"x-codex-turn-metadata": told}).is_compaction is is_compaction


class TestOddBodies:
    @pytest.mark.parametrize(
        "data",
        [
            b"",
            b"{x",
            b'"x"',
            b"[]",
            b"NaN",
            b"[" * 100_000,
            b'{"input":' * 5000,
            b'{"input": "hi", "a": ' + b"1" * 5000 + b"}",
        ],
    )
    def test_what_is_no_json_object_is_the_clients_mistake(self, data):
        with pytest.raises(BadRequest) as caught:
            translated(data, "max_tokens")
        assert caught.value.code == "invalid_json"

    @pytest.mark.parametrize(
        "body",
        [
            {"include": 5},
            {"include": True},
            {"store": "false"},
            {"store": 0},
            {"input": [{"type": ["x"]}]},
            {"input": [{"type": {}, "role": "user"}]},
        ],
    )
    def test_a_member_of_another_type_is_named(self, body):
        assert "has to be" in refused(code="invalid_type", **body)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("messages", [user("hi")]),
            ("functions", []),
            ("function_call", "auto"),
            ("response_format", {"type": "json_object"}),
            ("max_tokens", 5),
            ("max_completion_tokens", 5),
            ("logprobs", True),
            ("n", 2),
        ],
    )
    def test_a_word_of_chat_completions_is_refused_and_takes_no_ones_place(self, name, value):
        refused(code="unsupported_parameter", param=name, **{name: value})

    def test_one_answer_is_one_answer(self):
        assert chat(n=1)[0]["messages"] == [user("hi")]

    def test_two_tools_that_would_be_one_function_are_refused(self):
        def space(name, tool):
            return {"type": "namespace", "name": name, "tools": [{"type": "function", "name": tool}]}

        refused(param="tools", tools=[space("a__b", "c"), space("a", "b__c")])
        refused(param="tools", tools=[LOOK, {"type": "custom", "name": "look"}])

    def test_a_second_result_of_one_call_is_refused_and_not_lost(self):
        behind = f"resp_{'0' * 20}c{'0' * 32}"
        items = [output("1", "first"), output("1", "second")]
        refused(code="invalid_request", input=items, previous_response_id=behind)

    @pytest.mark.parametrize(
        "body", [{"previous_response_id": "x" * 9999}, {"input": [{"type": "x" * 9999}]}]
    )
    def test_an_error_repeats_little_of_what_was_sent(self, body):
        with pytest.raises(BadRequest) as caught:
            chat(**body)
        assert len(caught.value.message) < 300


class TestItemsThatAreKept:
    def test_they_are_the_same_messages_and_their_calls_stay_open(self):
        items = [said("user", "a"), call("c1"), call("c2"), output("c1")]
        roles = ["user", "assistant", "tool"]
        assert [each["role"] for each, _ in messages_to_keep(items, "items", Tools())] == roles
        assert messages(*items)[-1]["content"] == ABORTED

    def test_system_items_that_they_begin_with_stay_apart(self):
        items = [said("developer", "a"), said("system", "b", "c"), said("user", "d"), said("system", "e")]
        assert [each for each, _ in messages_to_keep(items, "items", Tools())] == [
            {"role": "developer", "content": "a"},
            {"role": "system", "content": "b\n\nc"},
            user("d"),
            {"role": "system", "content": "e"},
        ]

    def test_each_has_its_own_phase(self):
        told = [("a", "commentary"), ("b", None), ("c", "final_answer")]
        items = [said("system", "Be brief."), said("developer", "Or not."), call("c1")]
        for text, phase in told:
            items += [said("user", "?"), {**said("assistant", text), **({"phase": phase} if phase else {})}]
        tools = Tools()
        kept = [(each["content"], phase) for each, phase in messages_to_keep(items, "items", tools)]
        assert [each for each in kept if each in told] == told
        assert {each[1] for each in kept if each not in told} == {None}
        assert tools.left_out == []

    def test_a_result_may_be_that_of_a_call_that_was_made_before(self):
        assert messages_to_keep([output("c1")], "items", Tools()) == [(result("c1", "found"), None)]

    def test_a_result_whose_call_has_no_name_is_refused(self):
        item = {**output("c1"), "call_id": []}
        with pytest.raises(BadRequest) as caught:
            messages_to_keep([item], "items", Tools())
        assert caught.value.param == "items[0].call_id"
