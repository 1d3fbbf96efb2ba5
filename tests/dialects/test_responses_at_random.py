"""What holds of every answer over the Responses API, whatever the upstream tells and however it arrives."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sidecar.dialects.chat.assembly import from_stream
from sidecar.dialects.responses.translation import Events, Whole
from tests.dialects.responses import about, chunk, events_in, messages, piece, streamed
from tests.dialects.test_responses_answer import output_of

TOOLS = [
    {"type": "function", "name": "look"},
    {"type": "custom", "name": "patch"},
    {"type": "namespace", "name": "agents", "tools": [{"type": "function", "name": "spawn"}]},
    {"type": "tool_search", "execution": "client"},
]
NAMES = ["look", "patch", "agents__spawn", "tool_search", "unknown"]
_texts = st.sampled_from(["a", " ", "é", "\U0001f600", "\n\n", "]}", '"', "data: [DONE]", "event: x"])
_ids = st.sampled_from(["1", "2", "3", "", None])
_pieces = st.builds(
    piece,
    st.sampled_from([0, 1, 2, None]),
    _ids,
    st.sampled_from([*NAMES, None, None]),
    st.sampled_from(["", "{}", '{"input":', '"x"}', "null", '{"a": 1}', None]),
)
_deltas = st.one_of(
    st.builds(lambda text: {"content": text}, _texts),
    st.builds(lambda text: {"reasoning_content": text}, _texts),
    st.builds(lambda text: {"refusal": text}, _texts),
    st.just({"content": "a", "annotations": [{"type": "url_citation", "url_citation": {"url": "x"}}]}),
    _pieces,
)
_finish = st.sampled_from(["stop", "tool_calls", "length", "content_filter", "error", None])


@st.composite
def _answers(draw):
    payloads = [chunk(each) for each in draw(st.lists(_deltas, max_size=12))]
    if (finish := draw(_finish)) is not None:
        payloads.append(chunk(finish=finish))
    if draw(st.booleans()):
        payloads.append(b'{"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}')
    if draw(st.integers(0, 5)) == 0:
        payloads.insert(draw(st.integers(0, len(payloads))), b'{"error":{"message":"no"}}')
    return streamed(*payloads, done=draw(st.booleans()))


def told(pieces):
    """All bytes that a client gets for an answer that comes in these pieces."""
    events = Events(about(stream=True, tools=TOOLS))
    ready = b"".join(map(events.feed, pieces))
    return ready + events.close() + events.held


def object_told(data):
    whole = Whole(about(tools=TOOLS))
    whole.feed(data)
    whole.close()
    return json.loads(whole.held)


@given(_answers(), st.data())
def test_the_same_events_come_of_the_same_bytes_however_they_are_split(data, choose):
    cuts = sorted(choose.draw(st.lists(st.integers(0, len(data)), max_size=6)))
    pieces = [data[start:end] for start, end in zip([0, *cuts], [*cuts, len(data)], strict=True)]
    assert told(pieces) == told([data])


@given(_answers())
def test_every_place_that_tells_an_answer_tells_the_same(data):
    events = events_in(told([data]))
    items = output_of(events)
    ids = [each["id"] for each in items]
    assert len(set(ids)) == len(ids)
    assert [each["status"] for each in items if each.get("status") == "incomplete"] in ([], ["incomplete"])
    assert events[0]["type"] == "response.created"
    assert events[-1]["type"] == f"response.{events[-1]['response']['status']}"
    assert object_told(data)["output"] == items


@given(_answers())
def test_nothing_is_told_of_what_was_not_announced_or_has_ended(data):
    items, parts = set(), set()
    for event in events_in(told([data])):
        kind = event["type"].removeprefix("response.")
        if kind == "output_item.added":
            items.add(event["item"]["id"])
        elif kind == "output_item.done":
            items.remove(event["item"]["id"])
        elif "item_id" in event:
            assert event["item_id"] in items
            where = event["item_id"], event.get("content_index", event.get("summary_index"))
            if kind.endswith("part.added"):
                parts.add(where)
            elif kind.endswith("part.done"):
                parts.remove(where)
            elif where[1] is not None:
                assert where in parts
    assert items == parts == set()


@st.composite
def _plain_answers(draw):
    """Those of well-behaved upstreams: thoughts, text, calls, each call whole before the next."""
    deltas = [{"role": "assistant"}]
    for name in ("reasoning_content", "content"):
        deltas += [{name: text} for text in draw(st.lists(_texts, max_size=3))]
    for at in range(draw(st.integers(0, 3))):
        deltas.append(piece(at, f"call_{at}", "look", ""))
        deltas += [piece(at, arguments=text) for text in ('{"a":', draw(st.sampled_from(["1", '"x"'])), "}")]
    return streamed(*map(chunk, deltas), chunk(finish="stop"))


@given(_plain_answers())
def test_what_a_client_sends_back_is_the_message_that_is_kept(data):
    (reply,) = from_stream(data).replies
    kept = json.loads(reply.message)
    if not kept.get("tool_calls") and not kept.get("content"):
        return
    sent = messages(*object_told(data)["output"])[0]
    assert sent["role"] == "assistant"
    assert (sent["content"] or "").strip() == (kept.get("content") or "").strip()
    assert sent.get("tool_calls", []) == kept.get("tool_calls", [])
    assert sent.get("reasoning_content", "") == kept.get("reasoning_content", "")
