"""Which words are said of an exchange."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from sidecar.conversation.exchange_record import Detail, Sent
from sidecar.inspector.exchange_facts import Around
from sidecar.inspector.exchange_page import exchange_page_of
from sidecar.inspector.wording import CAUSES, edited, failure, form, outcome, unstored
from tests.inspector.test_exchange_page import PATH
from tests.store.trees import exchange


def made(detail=None, **about):
    return exchange("conv_1", None, detail=detail or Detail(), **about)


def test_what_was_cut_is_not_said_to_have_gone():
    assert form(Detail(sent=Sent("client")), PATH) == "The client's own bytes went upstream."
    cut = Detail(sent=Sent("client"), dropped=8, overflow_retries=1)
    assert form(cut, PATH) == (
        "Not all of it went upstream, after the upstream had refused it as too long: 8 messages were left"
        " out. The rest went as the client's own bytes."
    )
    both = Detail(sent=Sent("whole"), dropped=1, shortened=2)
    assert form(both, PATH).startswith(
        "Not all of it went upstream: 1 message was left out and 2 messages were shortened. The rest"
    )
    assert form(Detail(sent=Sent("new")), PATH) == ""


@pytest.mark.parametrize("word", ["continue", "unanchored"])
def test_a_client_that_leaves_its_beginning_out_is_not_said_to_have_sent_it(word):
    each = made(Detail(sent=Sent("client"), brought=3), outcome=word)
    said = outcome(each, PATH)
    assert "sent its history" not in said
    assert "of the client's history is not stored" not in said
    assert "sent its history" in outcome(made(outcome="continue"), PATH)


def test_who_ended_an_exchange_that_failed_is_said():
    assert failure(made()) == ""
    assert failure(made(Detail(head_ms=1), status=429, error="rate_limit_exceeded")) == (
        "The upstream refused it (rate_limit_exceeded), with status 429, 1 ms after it arrived."
    )
    assert failure(made(status=400, error="invalid_request")).startswith("The sidecar refused it (invalid_")
    assert failure(made(status=502, error="upstream_unreachable")).startswith("The upstream could not be")
    assert failure(made(Detail(head_ms=1), status=500)).startswith("The upstream refused it, with status 500")
    assert "no limit of length" in failure(made(Detail(head_ms=1), error="client_left"))
    assert failure(made(Detail(head_ms=1), error="odd")).startswith("It broke off (odd), after the upstream")


def test_a_question_that_failed_is_said_to_be_missing_where_that_is_sure():
    failed = made(status=429, error="x")
    assert "is not stored" in unstored(failed, PATH[:2])
    assert "is not stored" in unstored(failed, [])
    assert unstored(failed, PATH[:1]) == ""
    assert unstored(made(), PATH[:2]) == ""
    assert unstored(made(status=429, outcome="extend"), PATH[:2]) == ""
    assert unstored(made(Detail(replies=(b"r",)), error="client_left"), PATH[:2]) == ""


def test_a_count_that_repeats_tells_of_a_silent_cut():
    def told(*before, cut=True):
        each = made(Detail(silent_cut=cut), input_tokens=2048)
        earlier = [made(input_tokens=tokens) for tokens in before]
        return exchange_page_of(each, None, [], [], {}, None, Around(earlier)).silent_cut

    assert told(2048, 2048, 1900, 2048).startswith("It counted 2,048 tokens at each of the last 3 exchanges,")
    assert told(1900).startswith("It counted 2,048 tokens, far fewer than were sent:")
    assert told(cut=False) == ""


def test_who_went_back_to_another_branch_is_not_said_to_have_changed_a_message():
    asked = Detail(replies=(b"r",))
    before = replace(made(asked), parent=b"elsewhere")
    assert edited(made(outcome="continue"), before, PATH) == "another branch"
    assert edited(made(outcome="branch"), before, PATH) == "edited", "it did"
    assert edited(made(outcome="continue"), replace(before, parent=PATH[2].id), PATH) == "edited"
    assert edited(made(outcome="continue"), replace(before, detail=Detail()), PATH) == "edited", "not kept"
    assert edited(made(outcome="continue"), None, PATH) == "edited"
    assert edited(made(outcome="append"), before, PATH) == "unstored"
    assert {"another branch", "unstored"} <= CAUSES.keys()
