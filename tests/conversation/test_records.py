"""The values that stores keep: an exchange, and what may become of what comes from outside."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields

from sidecar.conversation.exchange_record import (
    Detail,
    Difference,
    Exchange,
    Sent,
    code_of,
    count_of,
    detail_of,
    exchange_id,
    name_of,
    packed,
    tools_of,
)
from sidecar.conversation.records import ConversationUpdate, Thread, joined
from tests.store.record import with_everything
from tests.store.trees import chat, question, talk

ASK, ANSWER = chat("hi", "hello")


class TestExchange:
    def test_its_id_tells_when_it_began(self):
        assert exchange_id(1_700_000_000_000, b"abcd") == bytes.fromhex("018bcfe56800") + b"abcd"
        assert Exchange(exchange_id(1_700_000_000_123, b"abcd"), "conv_1").when == 1_700_000_000_123

    def test_ids_are_in_the_order_of_their_times(self):
        times = [0, 1, 255, 256, 1_700_000_000_000, (1 << 48) - 1]
        ids = [exchange_id(at, bytes([200 - place] * 4)) for place, at in enumerate(times)]
        assert ids == sorted(ids)

    def test_the_one_that_stores_and_exports_are_tried_with_has_something_in_every_field(self):
        """Who adds a field adds it there: so all that keeps exchanges or tells of them is tried with it."""
        done, bare = with_everything("conv_1", ASK, ANSWER), Exchange(b"", "")
        for full, empty in ((done, bare), (done.detail, bare.detail)):
            for each in type(full).__struct_fields__:
                if each != "encrypted":
                    assert getattr(full, each) != getattr(empty, each), each

    def test_it_names_all_messages_that_have_to_be_there(self):
        done = with_everything("conv_1", ASK, ANSWER)
        assert done.nodes == [ASK.id, ANSWER.id, ASK.hash, ANSWER.id, ASK.id, ANSWER.id]
        assert Exchange(b"id", "conv_1").nodes == []
        assert Exchange(b"id", "conv_1", detail=Detail(sent=Sent("client"))).nodes == []


class TestDetail:
    def test_it_comes_back_as_it_was(self):
        detail = with_everything("conv_1", ASK, ANSWER).detail
        assert detail_of(packed(detail)) == detail
        assert detail_of(packed(Detail())) == Detail()

    def test_what_is_as_usual_takes_no_room(self):
        assert len(packed(Detail())) <= 3
        usual = Detail((ANSWER.id,), "demo-2025-01-01", finish="stop", head_ms=80, first_token_ms=300)
        assert len(packed(usual)) < 70

    def test_its_letters_stay_what_they_are(self):
        """Rows that were written hold them."""
        letters = {each.name: each.encode_name for each in fields(Detail)}
        assert len(set(letters.values())) == len(letters)
        assert {len(letter) for letter in letters.values()} == {1}
        assert " ".join(f"{name}={letter}" for name, letter in letters.items()) == (
            "replies=r answered_by=m target=t member=M api=a finish=f received_ms=E sent_ms=G head_ms=h"
            " first_token_ms=k cached_tokens=c reasoning_tokens=g estimated_tokens=e restored=R"
            " dropped=D shortened=S recalled=q summary=s overflow_retries=o form_retries=O degraded=d"
            " silent_cut=C system=p tools=T difference=x sent=u budget=b saved=v quoted=Q"
            " recall_score=y refusal=w supplied=N left_out=l brought=n told=j client_key=K system_put_in=P"
            " system_tokens=Y tools_tokens=L phases=H waited_ms=W reading_ms=F no_room_ms=V encrypted=z"
        )

    def test_what_was_written_first_can_be_read(self):
        first = "de0003a166a473746f70a1789203a673797374656da17593a3637574c4016e9192c4016fa36f7574"
        sent = Sent("cut", b"n", ((b"o", "out"),))
        detail = Detail(finish="stop", difference=Difference(3, "system"), sent=sent)
        assert detail_of(bytes.fromhex(first)) == detail

    def test_what_a_newer_version_added_is_passed_over(self):
        newer = msgspec.msgpack.encode({"f": "stop", "new": [1], "u": ["whole", None, [], "more"]})
        assert detail_of(newer) == Detail(finish="stop", sent=Sent("whole"))

    @pytest.mark.parametrize("damaged", [b"", b"\xc1", b"[]", b"\x81\xa1f\x01", b"\x90"])
    def test_what_is_damaged_is_an_error(self, damaged):
        with pytest.raises(msgspec.DecodeError) as caught:
            detail_of(damaged)
        assert isinstance(caught.value, ValueError)


class TestFromOutside:
    @pytest.mark.parametrize("value", ["gpt-5", "org/Model-7B:free", "模型", "a name"])
    def test_a_name_stays_as_it_is(self, value):
        assert name_of(value) == value

    def test_a_name_is_bounded_and_printable(self):
        assert name_of("x" * 1000) == "x" * 200
        assert name_of("a\0b\nc\ud800d\x1be") == "a\ufffdb\ufffdc\ufffdd\ufffde"

    @pytest.mark.parametrize("value", [None, "", 7, ["gpt"], {}, True, b"gpt"])
    def test_what_is_no_name_is_none(self, value):
        assert name_of(value) is None

    @given(st.text())
    def test_any_name_can_be_kept(self, value):
        name = name_of(value)
        assert name is None or "\0" not in name
        assert name is None or len(name.encode()) <= 800

    @pytest.mark.parametrize("value", [0, 1, (1 << 31) - 1])
    def test_a_count_stays_as_it_is(self, value):
        assert count_of(value) == value

    @pytest.mark.parametrize("value", [-1, 1 << 31, 10**30, 1.0, True, "7", None, float("nan"), [1]])
    def test_what_is_no_count_is_none(self, value):
        assert count_of(value) is None

    @pytest.mark.parametrize(
        ("value", "code"),
        [("context_length_exceeded", "context_length_exceeded"), (429, "429"), ("tpm/limit", "tpm/limit")],
    )
    def test_a_code_stays_as_it_is(self, value, code):
        assert code_of(value) == code

    @pytest.mark.parametrize(
        "value",
        [
            None,
            "",
            "Your prompt 'hi' is too long",
            "x" * 65,
            "a\n",
            "\ud800",
            True,
            1.5,
            ["c"],
            10**99,
        ],
    )
    def test_a_sentence_is_no_code(self, value):
        assert code_of(value) is None


class TestTurn:
    def test_it_goes_on_from_the_message_above_its_first(self):
        more = question("and?", ANSWER)
        done = Exchange(b"id", "conv_1", parent=more.id)
        assert ConversationUpdate(talk(), (more,), exchange=done).after == ANSWER.id
        assert ConversationUpdate(talk(), (ASK,), exchange=done).after is None

    def test_without_messages_it_goes_on_from_the_parent_of_its_exchange(self):
        assert (
            ConversationUpdate(talk(), (), exchange=Exchange(b"id", "conv_1", parent=ASK.id)).after == ASK.id
        )
        assert ConversationUpdate(talk(), (), exchange=Exchange(b"id", "conv_1")).after is None
        assert ConversationUpdate(talk(), ()).after is None


class TestThread:
    OLD = Thread(b"root", b"head", b"[1]", "demo", ("a", "b"), True, True, True, 2.0)

    def test_the_first_of_a_root_is_kept_as_it_is(self):
        assert joined(None, self.OLD) == self.OLD
        assert joined(None, Thread(b"root")) == Thread(b"root")

    def test_a_later_one_replaces_it(self):
        new = Thread(b"root", b"tip", b"[2]", "other", ("c",), True, True, True, 1.0)
        assert joined(self.OLD, new) == new

    def test_what_a_later_one_does_not_name_stays_but_for_the_prompt_and_the_tools(self):
        kept = Thread(b"root", b"head", None, "demo", (), True, True, True, 3.0)
        assert joined(self.OLD, Thread(b"root", updated_at=3.0)) == kept

    def test_joined_with_itself_it_is_the_same(self):
        assert joined(self.OLD, self.OLD) == self.OLD

    def test_names_of_tools_are_at_most_so_many_and_so_long(self):
        assert tools_of(["search", "", None, 3, {"a": 1}, "read"]) == ("search", "read")
        assert tools_of(f"tool {number}" for number in range(99)) == tuple(
            f"tool {number}" for number in range(64)
        )
        assert tools_of(["x" * 65, "y" * 64, "\ud800\n"]) == ("x" * 64, "y" * 64, "\ufffd" * 2)
        assert tools_of([]) == ()
