"""One message of Open WebUI, as it sends it the next time. Shapes as seen on the wire of 0.12.4."""

from __future__ import annotations

import json

import pytest

from sidecar.commands.openwebui.replay import replayed
from tests.commands.webui import said, told


def sent(message, image=lambda id: None):
    return [json.loads(raw) for raw in replayed(message, image)]


def text(text):
    return {"type": "message", "content": [{"type": "output_text", "text": text}]}


def call(id, arguments="{}", **more):
    more = {"status": "completed"} | more
    return {"type": "function_call", "call_id": id, "name": "f", "arguments": arguments, **more}


def result(id, *parts):
    return {"type": "function_call_output", "call_id": id, "output": list(parts), "status": "completed"}


def asked(id, arguments="{}"):
    return {"id": id, "type": "function", "function": {"name": "f", "arguments": arguments}}


def answer(*output, content="shown"):
    return sent({"role": "assistant", "content": content, "output": list(output)})


def test_a_question_is_its_text():
    assert sent(said("u", None, "hi")) == [{"role": "user", "content": "hi"}]
    assert sent({"role": "system", "content": "be kind"}) == [{"role": "system", "content": "be kind"}]
    assert sent({"role": "user"}) == [{"role": "user", "content": ""}]


def test_an_image_is_named_and_then_sent_by_its_bytes():
    file = {"type": "file", "id": "i-1", "url": "i-1", "content_type": "image/png", "name": "tiny.png"}
    (message,) = sent(
        said("u", None, "What is in it?", files=[file]), {"i-1": "data:image/png;base64,AA"}.get
    )

    assert message["content"] == [
        {
            "type": "text",
            "text": '<attached_files>\n<file type="file" id="i-1" url="i-1" content_type="image/png"'
            ' name="tiny.png"/>\n</attached_files>\n\n',
        },
        {"type": "text", "text": "What is in it?"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ]


@pytest.mark.parametrize(
    ("url", "seen"),
    [
        ("data:image/png;base64,AA", "data:image/png;base64,AA"),
        ("https://x/y.png", "https://x/y.png"),
        ("i", "i"),
    ],
)
def test_an_image_that_is_not_there_stays_as_it_is_called(url, seen):
    (message,) = sent(said("u", None, " ", files=[{"type": "image", "url": url}]))

    assert message["content"][-1] == {"type": "image_url", "image_url": {"url": seen}}
    assert {"type": "text", "text": " "} not in message["content"]


def test_a_document_is_named_in_front_of_the_text():
    files = [
        {"type": "file", "id": "d-1", "url": "d-1", "content_type": "text/plain", "name": "note.txt"},
        {"type": "chat", "id": "c-1"},
        {"type": "file", "url": "data:text/plain,x"},
        {"type": "collection", "id": "k-1"},
        {"type": "file", "url": "a.svg", "content_type": "image/svg+xml"},
        "odd",
    ]
    (message,) = sent(said("u", None, "What is the code?", files=files))

    assert message["content"] == (
        '<attached_files>\n<file type="file" id="d-1" url="d-1" content_type="text/plain" name="note.txt"/>\n'
        '<file type="chat" id="c-1"/>\n'
        '<file type="file" id="a.svg" url="a.svg" content_type="image/svg+xml"/>\n'
        "</attached_files>\n\nWhat is the code?"
    )


def test_a_text_in_parts_stays_as_it_is():
    parts = [{"type": "text", "text": "hi"}]
    image = {"type": "image", "url": "data:image/png;base64,AA"}

    assert sent(said("u", None, parts, files=[image])) == [{"role": "user", "content": parts}]


def test_an_answer_is_what_its_output_says():
    assert sent(told("a", "u", "Hello.")) == [{"role": "assistant", "content": "Hello."}]
    assert answer(text("one"), text(""), text("two")) == [{"role": "assistant", "content": "one\ntwo"}]


def test_an_older_answer_without_an_output_is_its_text():
    assert sent({"role": "assistant", "content": "Hello."}) == [{"role": "assistant", "content": "Hello."}]
    assert answer() == [{"role": "assistant", "content": "shown"}]
    assert answer({"type": "open_webui:other"}, "odd") == [{"role": "assistant", "content": "shown"}]


def test_an_answer_in_which_nothing_stands_is_no_message():
    assert sent(told("a", "u", "", error={"content": "cut"})) == []


def test_tool_calls_stand_before_their_results():
    told = answer(
        text("Let me look. "),
        call("c1", '{"a": 1}'),
        call("c2"),
        result("c1", {"type": "input_text", "text": "one"}),
        result("c2", {"type": "input_text", "text": "t"}, {"type": "input_text", "text": "wo"}),
        call("c3"),
        result("c3"),
        text("Done."),
    )

    assert told == [
        {
            "role": "assistant",
            "content": "Let me look. ",
            "tool_calls": [asked("c1", '{"a": 1}'), asked("c2")],
        },
        {"role": "tool", "tool_call_id": "c1", "content": "one"},
        {"role": "tool", "tool_call_id": "c2", "content": "two"},
        {"role": "assistant", "content": "", "tool_calls": [asked("c3")]},
        {"role": "tool", "tool_call_id": "c3", "content": ""},
        {"role": "assistant", "content": "Done."},
    ]


@pytest.mark.parametrize(
    "odd",
    [
        [call("c1")],
        [result("c1")],
        [call("c1", status="in_progress"), result("c1")],
        [call(""), result("")],
        [call(None), result(None)],
    ],
)
def test_calls_and_results_without_the_other_are_left_out(odd):
    assert answer(text("Well."), *odd) == [{"role": "assistant", "content": "Well."}]


def test_the_call_is_the_one_that_the_model_made():
    told = answer(call("c1", provider_function={"name": "g", "arguments": {"b": 2}}), result("c1"))

    assert told[0]["tool_calls"][0]["function"] == {"name": "g", "arguments": '{"b":2}'}


def test_images_of_tools_follow_in_a_question():
    image = {"type": "input_image", "image_url": "data:image/png;base64,AA"}
    told = answer(call("c1"), result("c1", image, "odd"), text("I see."))

    assert [each["role"] for each in told] == ["assistant", "tool", "user", "assistant"]
    assert told[2]["content"] == [
        {"type": "text", "text": "Here are the images from the tool results above. Please analyze them."},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA"}},
    ]


def test_reasoning_of_a_field_is_kept_and_that_of_tags_is_not():
    thought = {"type": "reasoning", "content": [{"type": "output_text", "text": "Hm."}]}

    assert answer({**thought, "attributes": {"type": "reasoning_content"}}, text("Yes.")) == [
        {"role": "assistant", "content": "Yes.", "reasoning_content": "Hm."}
    ]
    assert answer(thought, text("Yes.")) == [{"role": "assistant", "content": "Yes."}]


@pytest.mark.parametrize(
    ("output", "shown"),
    [
        ({"stdout": "2\n"}, "\n<code_interpreter_output>\n2\n\n</code_interpreter_output>"),
        ({"result": "2"}, "\n<code_interpreter_output>\n2\n</code_interpreter_output>"),
        ("2", "\n<code_interpreter_output>\n2\n</code_interpreter_output>"),
        (None, ""),
    ],
)
def test_code_that_was_run_is_told(output, shown):
    ran = {"type": "open_webui:code_interpreter", "code": "1+1", "output": output}

    assert answer(ran) == [
        {"role": "assistant", "content": f"<code_interpreter>\n1+1\n</code_interpreter>{shown}"}
    ]
