"""How much of a reply is looked at, held, or waited for: no more than so much, and no less."""

from __future__ import annotations

import json
from bisect import bisect_left

import pytest

from sidecar.dialects.chat.assembly import from_json, from_stream
from sidecar.dialects.chat.coalesce import shortened
from sidecar.dialects.chat.content_refusal import is_refused
from sidecar.dialects.chat.done_marker import Ending, UnnamedEnding
from sidecar.dialects.chat.first_event import Opening
from sidecar.dialects.chat.joining import encode
from sidecar.dialects.chat.tasks import MARKER, shorter_task
from sidecar.dialects.responses.tools import Tools
from sidecar.dialects.sse import Decoder, is_stream, payloads
from sidecar.errors import BadRequest
from tests.conversation.build import raw, request, says, user
from tests.dialects.responses import answered, chat, chunk, piece, said, told

ERROR = b'{"error":{"message":"no"}}'


def event(**delta):
    return raw({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})


def of_chunk(members):
    return from_stream(f"data: {{{members}}}\n\n".encode())


class TestTheFirstEvents:
    def test_an_opening_of_64_kib_that_says_nothing_is_an_answer(self):
        opening = Opening()
        assert opening.feed(b":" * (64 << 10)) == "open"
        assert opening.feed(b":") == "answer"

    def test_an_unfinished_event_is_looked_at_sixteen_times(self):
        for looks, verdict in ((15, "error"), (16, "open")):
            opening = Opening()
            assert opening.feed(b"data: {") == "open"
            for _ in range(looks):
                assert opening.feed(b'\ndata: "a":{}') == "open"
                assert opening.feed(b"\ndata: ,") == "open"
            assert opening.feed(b'\ndata: "error":{"message":"no"}}\n') == verdict
            assert opening.feed(b"\n") == "error"

    def test_a_reason_to_end_or_a_word_is_an_answer_and_who_speaks_is_not(self):
        for delta, verdict in (
            ({}, "open"),
            ({"role": "assistant"}, "open"),
            ({"role": "assistant", "content": "", "x": None, "tool_calls": []}, "open"),
            ({"role": "assistant", "x": 1}, "answer"),
        ):
            assert Opening().feed(b"data: %b\n\n" % event(**delta)) == verdict
        assert Opening().feed(b'data: {"choices":[]}\n\n') == "open"
        assert Opening().feed(
            b'data: {"choices":[{"delta":{}},{"delta":{},"finish_reason":"stop"}]}\n\n'
        ) == ("answer")
        assert Opening().feed(b'data: {"choices":[{"delta":{}},5]}\n\n') == "answer"
        assert Opening().feed(b"data: {}\n\n") == "answer"
        assert Opening().feed(b"data: \n\n") == "open"

    def test_the_first_of_two_events_in_one_piece_counts(self):
        opening = Opening()
        assert opening.feed(b"data: %b\n\ndata: %b\n\n" % (event(content="a"), ERROR)) == "answer"
        assert opening.error == b""
        assert opening.feed(b"") == "open"


class TestTheEnd:
    def test_a_body_may_begin_with_a_thousand_blanks(self):
        for blanks, is_known in ((1024, True), (1025, False)):
            ending = UnnamedEnding()
            assert ending.feed(b"\n" * blanks) == b""
            assert ending.feed(b"data: [DONE]") == b"\n" * blanks
            assert (ending.done, ending.held) == (is_known, b"data: [DONE]")

    def test_what_is_no_stream_waits_with_its_last_piece(self):
        ending = UnnamedEnding()
        assert [ending.feed(each) for each in (b"{", b'"a"', b":1}")] == [b"", b"{", b'"a"']
        assert (ending.held, ending.done) == (b":1}", False)

    def test_a_marker_within_a_line_is_none(self):
        ending = Ending()
        assert ending.feed(b"x") + ending.feed(b"data: [DONE]\n") == b"xdata: [DONE]\n"
        assert not ending.done
        assert ending.feed(b"data: [DONE]") == b""
        assert ending.done


class TestRuns:
    @pytest.mark.parametrize(("length", "is_one"), [(7, False), (8, True)])
    def test_eight_events_that_are_alike_are_one(self, length, is_one):
        before = [event(role="assistant"), event(content="\\")]
        run = [event(content=f"{at}") for at in range(length)]
        after = [event(reasoning="x" * 10)] * 5
        said = shortened([*before, *run, *after])
        assert (len(said) < len(before) + len(run) + len(after)) is is_one
        if is_one:
            assert said == [*before, event(content="".join(map(str, range(length)))), *after]

    @pytest.mark.parametrize("number", [9, 10])
    def test_of_few_events_none_is_put_together(self, number):
        alike = [event(content="a")] * number
        assert len(shortened(alike)) == (number if number < 10 else 3)


class TestStreams:
    @pytest.mark.parametrize(
        ("head", "is_one"),
        [
            *((each, True) for each in (b"data:", b"event:", b"id:", b"retry:", b"error:", b":")),
            *((b"\xef\xbb\xbf \n" + each, True) for each in (b"data: x", b": ping", b"event:x")),
            *((each, None) for each in (b"", b"d", b"data", b"e", b"er", b"i", b"re", b"\xef", b"\xef\xbb")),
            *((b"\n" + each, None) for each in (b"", b"event", b"retr", b"erro")),
            *((each, False) for each in (b"x", b"dat:", b"<html>", b"[", b"retry :", b"data x", b"events:")),
            (b'{"a":1', False),
            (b'{"choices":[{"delta', False),
            (b'{"choices":[{"delta"', True),
            (b' {"object":"chat.completion.chunk"', True),
            (b'{"object":"chat.completion"', False),
        ],
    )
    def test_one_is_known_by_its_beginning(self, head, is_one):
        assert is_stream(head) is is_one

    @pytest.mark.parametrize(
        ("stream", "events"),
        [
            (b"data: a\n\n", [b"a"]),
            (b"data:  a\n\n", [b" a"]),
            (b"data:a\n\n", [b"a"]),
            (b"data\n\n", [b""]),
            (b"data: a\ndata: b\n\n", [b"a\nb"]),
            (b"data: {}\ndata: {}\n\n", [b"{}", b"{}"]),
            (b"data: {}\ndata: [DONE]\n\n", [b"{}", b"[DONE]"]),
            (b"data: {\ndata: }\n\n", [b"{\n}"]),
            (b"data: a\ndata: {}\n\n", [b"a\n{}"]),
            (b"event: error\ndata: {}\n\ndata: {}\n\n", [b'{"error":{}}', b"{}"]),
            (b"data: {}\nevent: error\ndata: {}\n\n", [b"{}", b'{"error":{}}']),
            (b"data: {}\nevent: error\n\ndata: {}\n\n", [b'{"error":{}}', b"{}"]),
            (b"error: no\n\n", [b'{"error":"no"}']),
            (b'error: {"error":1}\n\n', [b'{"error":1}']),
            (b"error: \xff\n", [b'{"error":"\\ufffd"}']),
            (b"{}\n[1]\n\n", [b"{}", b"[1]"]),
            (b"[1]\n{}\n\n", [b"[1]\n{}"]),
            (b"{\nid: 1\n: c\nretry: 2\n}\n\n", [b"{\n}"]),
            (b"data: a\n{\n}\n\n", [b"a", b"{\n}"]),
            (b"data: a\n{}\n\n", [b"a", b"{}"]),
            (b"{\ndata: a\n\n", [b"{", b"a"]),
            (b"id: 1\nretry: 2\n: c\nfoo: x\nx\n\n", []),
            (b"\xef\xbb\xbfdata: a", [b"a"]),
            (b"data: \xef\xbb\xbf\n\n", [b"\xef\xbb\xbf"]),
            (b"data: a\r\n\r\ndata: b\r\rdata: c\n\n", [b"a", b"b", b"c"]),
            (b"\n\n\n", []),
        ],
    )
    def test_events_are_told_in_every_form(self, stream, events):
        assert payloads(stream) == events
        for size in (1, 2, 3):
            decoder, found = Decoder(), []
            for at in range(0, len(stream), size):
                found += decoder.feed(stream[at : at + size])
            assert found + decoder.close() == events

    def test_what_the_next_blank_line_would_give_is_known(self):
        decoder = Decoder()
        assert decoder.feed(b"data: a\ndata: b\ndata: c") == []
        assert decoder.pending() == b"a\nb"
        assert decoder.feed(b"\n\n{") == [b"a\nb\nc"]
        assert decoder.feed(b"\n") == []
        assert decoder.pending() == b"{"

    def test_half_a_thousand_payloads_that_nobody_can_read_are_looked_at_with_patience(self):
        patient = b'{"choices":{"delta":{"content":"a"}}}'
        for number, is_read in ((499, True), (500, False)):
            stream = b"".join(b"data: %b\n\n" % each for each in [*[b"no"] * number, patient])
            found = from_stream(stream)
            assert bool(found.replies) is is_read
            assert found.ignored == (number if is_read else number + 1)

    @pytest.mark.parametrize(("choices", "replies"), [(1, 1), (2, 2), (128, 128), (129, 128)])
    def test_as_many_replies_as_were_asked_for_are_told_apart(self, choices, replies):
        told = [{"index": at, "delta": {"content": "a"}} for at in range(choices)]
        assert len(from_stream(b"data: %b\n\n" % raw({"choices": told}), choices).replies) == replies

    def test_parts_of_a_whole_message_are_so_many_at_most(self):
        def whole(*indexes):
            told = [{"index": at, "message": {"content": f"{at};"}} for at in indexes]
            (reply,) = from_json(raw({"choices": told})).replies
            return json.loads(reply.message)["content"]

        assert whole(2, 1, 0) == "0;1;2;"
        assert whole(127, 3) == "3;127;"
        assert whole(1, 128) == "128;1;"
        assert whole(1, -1) == "-1;1;"

    @pytest.mark.parametrize(
        ("index", "place"),
        [("1", 1), (1.0, 1), ("1234567", 0), ("x", 0), (0.5, 0), (True, 0), (None, 0), (-1, 0)],
    )
    def test_an_index_may_be_written_in_other_ways(self, index, place):
        told = [{"index": index, "delta": {"content": "a"}}]
        (reply,) = from_stream(b"data: %b\n\n" % raw({"choices": told}), 2).replies
        assert reply.index == place

    @pytest.mark.parametrize("nothing", ["null", '""', "{}", "[]", "0", "false"])
    def test_an_error_or_a_usage_that_says_nothing_is_none(self, nothing):
        for name in ("error", "usage"):
            found = of_chunk(f'"choices":[{{"delta":{{"content":"a"}}}}],"{name}":{nothing}')
            assert (found.error, found.usage) == (None, None)
            assert not found.replies[0].failed
        found = of_chunk(f'"choices":[{{"delta":{{"content":"a"}},"error":{nothing}}}]')
        assert not found.replies[0].failed

    @pytest.mark.parametrize("something", ['"no"', "1", "true", "[1]", '{"a":1}', '"longer than that"'])
    def test_one_that_says_something_is_one(self, something):
        found = of_chunk(f'"choices":[{{"delta":{{"content":"a"}},"error":{something}}}]')
        assert (found.error, found.replies[0].failed) == (something.encode(), True)
        assert of_chunk(f'"choices":[],"usage":{something}').usage == something.encode()


class TestRefusals:
    def test_four_thousand_bytes_of_an_error_are_looked_through(self):
        for end, is_one in ((4000, True), (4001, False)):
            words = '{"message":"' + "x " * 2000
            words = f"{words[: end - 11]} moderation"
            assert len(words) == end
            told = of_chunk(f'"error":{words}","code":503}}')
            assert is_refused(told, b"") is is_one

    @pytest.mark.parametrize(
        "call",
        [
            {"type": "function", "function": {"name": "f", "arguments": ""}},
            {"type": "function", "function": {"name": "f", "arguments": {}}},
            {"type": "function", "function": {"name": "f"}},
            {"type": "function", "function": "f"},
            {"function": {"name": "f", "arguments": "{}"}},
            {"type": "", "custom": {}},
            {"id": 7, "type": "custom"},
            {"index": 0, "type": "function", "function": {"name": "f", "arguments": "{}"}},
            "f",
        ],
    )
    def test_a_whole_message_with_a_call_that_could_not_be_sent_again_is_mended(self, call):
        for calls in ([call], [{"id": "a", "type": "custom"}, call]):
            body = b'{"choices":[{"message": %b }]}' % raw(says("a", tool_calls=calls))
            (reply,) = from_json(body).replies
            assert reply.message != raw(says("a", tool_calls=calls))

    @pytest.mark.parametrize(
        "calls",
        [
            [],
            None,
            [{"id": "a", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
            [{"type": "custom", "custom": {}}],
        ],
    )
    def test_any_other_is_kept_as_it_came(self, calls):
        body = b'{"choices":[{"message": %b }]}' % raw(says("a", tool_calls=calls))
        assert from_json(body).replies[0].message == raw(says("a", tool_calls=calls))


class TestTasks:
    def test_as_few_lines_go_as_will_do_a_quarter_of_what_stays_is_the_oldest(self):
        def text(count, first):
            left = [*lines[:first], MARKER, *lines[first + count :]] if count else lines
            return user("Task:\n<chat_history>\n" + "\n".join(left) + "\n</chat_history>")

        lines = [f"{'long ' * (at % 4)}line {at}" for at in range(20)]
        asked = request({"role": "system", "content": "s"}, text(0, 0))
        whole = sum(len(each.raw) for each in asked.sent)
        sizes = [len(encode(text(count, int((20 - count) * 0.25)))) for count in range(20)]
        for most in range(whole + 1):
            sent = shorter_task(asked, most, len)
            if most == whole:
                assert sent is None
                continue
            assert sent is not None
            room = most - len(asked.sent[0].raw)
            count = next((at for at in range(1, 20) if sizes[at] <= room), 19)
            assert json.loads(sent[1]) == text(count, int((20 - count) * 0.25))


class TestItems:
    @pytest.mark.parametrize(
        "kind",
        [
            *("web_search_call", "file_search_call", "code_interpreter_call", "image_generation_call"),
            *("mcp_call", "mcp_list_tools"),
        ],
    )
    def test_receipts_of_the_providers_own_tools_are_left_out(self, kind):
        sent, about = chat([said("assistant", "a"), {"type": kind}, said("assistant", "b")])
        assert sent["messages"] == [says("ab")]
        assert about.tools.left_out == [kind]
        with pytest.raises(BadRequest):
            chat([{"type": f"{kind}s"}])

    @pytest.mark.parametrize("nothing", ["", "{}", "null", '""'])
    def test_arguments_that_some_servers_begin_with_are_none(self, nothing):
        pieces = [piece(0, "c", "look", nothing), piece(0, arguments='{"a":'), piece(0, arguments="1}")]
        (item,) = answered(b"".join(b"data: %b\n\n" % chunk(each) for each in pieces))["output"]
        assert item["arguments"] == '{"a":1}'
        (item,) = answered(b"data: %b\n\n" % chunk(pieces[0]))["output"]
        assert item["arguments"] == "{}"

    @pytest.mark.parametrize("kind", ["function", "custom"])
    def test_a_call_is_told_by_events_of_its_kind(self, kind):
        name = {"function": "function_call_arguments", "custom": "custom_tool_call_input"}[kind]
        value = {"function": "arguments", "custom": "input"}[kind]
        pieces = [piece(0, "c", "run", '{"input":'), piece(0, arguments='"x"}')]
        events = told(*map(chunk, pieces), chunk(finish="stop"), tools=[{"type": kind, "name": "run"}])
        of_it = [each for each in events if name in each["type"]]
        assert {each["type"] for each in of_it} == {f"response.{name}.delta", f"response.{name}.done"}
        text = "".join(each["delta"] for each in of_it[:-1])
        assert text == of_it[-1][value] == ('{"input":"x"}' if kind == "function" else "x")
        assert all((each["item_id"], each["output_index"]) == (of_it[0]["item_id"], 0) for each in of_it)

    def test_a_name_is_cut_where_upstreams_take_no_more(self):
        tools = Tools()
        names = ["n" * at for at in range(60, 70)]
        tools.add([{"type": "function", "name": name} for name in names], "tools")
        told = [each["function"]["name"] for each in tools.functions]
        assert told[: bisect_left(names, "n" * 65)] == names[:5]
        assert {len(each) for each in told[5:]} == {64}
        assert len(set(told)) == 10
        assert [tools.of(each).name for each in told] == names
