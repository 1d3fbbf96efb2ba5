"""Why an exchange was slow: whose its time was, in parts and in a sentence."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail
from sidecar.inspector.slow import Split, split_of
from tests.inspector.conftest import Visitor
from tests.inspector.test_client_view import ids
from tests.inspector.test_conversation_page import opened
from tests.proxy.mock_upstream import Upstream, event, streams
from tests.store.trees import exchange

ALL = Detail(received_ms=5, sent_ms=8, head_ms=300, first_token_ms=700, cached_tokens=90)


def made(detail: Detail = ALL, took: int | None = 2700, **about):
    usual = {"duration_ms": took, "input_tokens": 1200, "output_tokens": 400, "detail": detail}
    return exchange("conv_1", None, **(usual | about))


def parts(split: Split):
    return [(each.name, each.whose, each.ms) for each in split.parts]


def test_each_part_is_somebodys_and_all_of_them_are_the_whole_time():
    split = split_of(made(), kept_ms=12)
    assert parts(split) == [
        ("client", "client", 5),
        ("sidecar", "sidecar", 3),
        ("head", "upstream", 292),
        ("first", "upstream", 400),
        ("answer", "upstream", 2000),
        ("kept", "sidecar", 12),
    ]
    assert (split.own, split.upstream) == (15, 2692)
    assert sum(each.ms for each in split.parts) == 2712
    assert split.said == (
        "Most of it, 2.00 s of 2.71 s, the upstream took to write 400 tokens: 200.0 a second."
    )


def test_waiting_and_the_store_have_numbers_of_their_own_where_there_was_any():
    detail = replace(ALL, sent_ms=108, waited_ms=60, reading_ms=30, no_room_ms=100)
    assert parts(split_of(made(detail)))[:5] == [
        ("client", "client", 5),
        ("line", "sidecar", 60),
        ("store", "sidecar", 30),
        ("sidecar", "sidecar", 13),
        ("room", "sidecar", 100),
    ]
    assert split_of(made(detail)).own == 203


@pytest.mark.parametrize(
    ("detail", "took", "kept", "about", "said"),
    [
        ({"received_ms": 3000, "sent_ms": 3001}, 3100, None, {}, "before the client's request had come"),
        ({"sent_ms": 3000}, 3100, None, {}, "passed in the sidecar, before the request went upstream"),
        ({"sent_ms": 3000}, 3100, None, {"outcome": "append"}, "passed in the sidecar, before the request"),
        (
            {"sent_ms": 3000, "waited_ms": 2900},
            3100,
            None,
            {},
            "2.90 s of 3.10 s, it stood in line: a request",
        ),
        (
            {"sent_ms": 3000, "reading_ms": 2900},
            3100,
            None,
            {},
            "its chat was looked up in the store: is its",
        ),
        (
            {"no_room_ms": 2900, "head_ms": 3000, "first_token_ms": None},
            3100,
            None,
            {},
            "it waited for room: each",
        ),
        (
            {"head_ms": 2000, "first_token_ms": None},
            2100,
            None,
            {},
            "answer: it waited, or read the prompt of 1,200 tokens, 90 of them from its cache.",
        ),
        (
            {"head_ms": 2000, "first_token_ms": None, "cached_tokens": 0},
            *(2100, None, {}, "answer: it waited, loaded the model, or read the prompt of 1,200 tokens."),
        ),
        (
            {"head_ms": 19_000, "first_token_ms": None, "cached_tokens": 1100},
            *(19_100, None, {}, "answer: it waited, such as for other requests. It had 1,100 of the"),
        ),
        (
            {"head_ms": 10_008, "first_token_ms": None, "cached_tokens": 1100},
            *(10_100, None, {}, "answer: it waited, or read the prompt of 1,200 tokens, 1,100 of them from"),
        ),
        (
            {"head_ms": 2000, "first_token_ms": None, "overflow_retries": 1, "form_retries": 1},
            *(2100, None, {}, "asked 3 times, since it refused what went before"),
        ),
        (
            {},
            1000,
            None,
            {},
            "The longest part, 400 ms of 1.00 s, the upstream took from",
        ),
        (
            {"first_token_ms": 2000},
            2100,
            None,
            {},
            "prompt of 1,200 tokens, 90 of them from its cache.",
        ),
        ({"first_token_ms": 2000}, 2100, None, {"input_tokens": None}, "or read the prompt."),
        ({}, 2700, None, {"output_tokens": None}, "the upstream took to write its answer."),
        ({"first_token_ms": None}, 2700, None, {}, "the upstream took for its answer, once it had begun"),
        ({}, 1000, 5000, {}, "the store took to keep the answer"),
        ({"head_ms": 9, "first_token_ms": 20}, 250, 1, {}, "Nothing was slow"),
    ],
)
def test_the_longest_part_is_said_with_what_it_may_come_from(detail, took, kept, about, said):
    assert said in split_of(made(replace(ALL, **detail), took, **about), kept).said


def test_of_what_an_older_version_recorded_the_sidecars_own_part_is_not_guessed():
    split = split_of(made(Detail(head_ms=2000), 2100))
    assert parts(split) == [("head", "sidecar and upstream", 2000), ("rest", "upstream", 100)]
    assert (split.own, split.upstream) == (None, None)
    assert "is not kept" in split.said


@pytest.mark.parametrize(("detail", "took"), [(ALL, None), (Detail(), 500)])
def test_of_what_never_went_upstream_there_is_nothing_to_tell(detail, took):
    assert split_of(made(detail, took)) == Split()


def test_no_part_is_shorter_than_nothing():
    """Clocks are rounded, and a prompt that is sent again has its head after the first piece of nothing."""
    split = split_of(made(replace(ALL, head_ms=2, first_token_ms=1)))
    assert min(each.ms for each in split.parts) == 0
    assert split.parts[-1].end == 2700


async def test_the_page_tells_it_of_a_real_one(visitor: Visitor, upstream: Upstream):
    upstream.will(streams(event({"role": "assistant", "content": "a"}), event({}, finish="stop")))
    await visitor.sidecar.ask("hi", id="a", stream=True)
    (name,) = await ids(visitor)
    way = f"{await opened(visitor, 'a')}x/{name}"
    time = (await visitor.value(way))["time"]
    names = [each["name"] for each in time["parts"]]
    assert [each for each in names if each != "store"] == [  # which may have taken less than a millisecond
        *("client", "sidecar", "head", "first", "answer", "kept")
    ]
    assert time["own"] + time["upstream"] + time["parts"][0]["end"] == time["parts"][-1]["end"]
    shown = await visitor.get(way)
    assert "of it were the sidecar's own, " in shown.text
    assert '<svg class="split"' in shown.text
