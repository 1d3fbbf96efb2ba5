"""Who asks, about which conversation."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.conversation.identity import (
    Identity,
    Kind,
    conversation_id,
    first_value,
    key_of,
    kind_of,
    slot_of,
    tenant_of,
)
from sidecar.errors import BadRequest

SECRET = b"secret".ljust(32, b".")
NAMES = ("X-Conversation-ID", "X-OpenWebUI-Chat-Id")
TENANT = "cf42ae70ee39695ab0b50e16ff20c283"
CONVERSATION = "conv_d9b5ed601f1f97e1c03fd3d55049cc3e"
MAYBE = st.none() | st.text(max_size=4)


NO_ID = ("new", "undefined")


def key(**headers):
    return key_of({name.replace("_", "-"): value for name, value in headers.items()}.get, NAMES, NO_ID)


def kind(name):
    return kind_of(name, temporary=("temporary:", "local:"), channel=("channel:",))


class TestTheConversation:
    def test_the_first_header_with_a_value_names_it(self):
        assert key(X_Conversation_ID="a", X_OpenWebUI_Chat_Id="b") == "a"
        assert key(X_Conversation_ID="", X_OpenWebUI_Chat_Id="b") == "b"

    def test_no_header_or_an_empty_one_names_none(self):
        assert key() is None
        assert key(X_Conversation_ID="") is None

    @pytest.mark.parametrize("value", ["{{CHAT_ID}}", "chat-{{CHAT_ID}}", "{{ }}", "undefined", "new"])
    def test_what_a_client_sends_that_has_no_id_names_none(self, value):
        assert key(X_Conversation_ID=value) is None
        assert key(X_Conversation_ID=value, X_OpenWebUI_Chat_Id="b") == "b"

    @pytest.mark.parametrize("name", ["{CHAT}", "{{CHAT", "{{a}", "New", "newest", "not undefined"])
    def test_what_only_looks_like_that_is_an_id(self, name):
        assert key(X_Conversation_ID=name) == name

    @pytest.mark.parametrize("name", ["../../x", "a b", "a_b", "A" * 256, "temporary:1", "~!@#$%^&*()"])
    def test_an_id_is_taken_as_it_is(self, name):
        assert key(X_Conversation_ID=name) == name

    @pytest.mark.parametrize("name", ["A" * 257, "a\tb", "a\x00", "a\x7f", "é", "日", "a\udcff"])
    def test_what_cannot_be_an_id_is_refused(self, name):
        with pytest.raises(BadRequest) as caught:
            key(X_OpenWebUI_Chat_Id=name)
        assert (caught.value.code, caught.value.param) == ("invalid_conversation_id", "X-OpenWebUI-Chat-Id")
        assert caught.value.message == "X-OpenWebUI-Chat-Id has to be at most 256 printable ASCII characters"

    @pytest.mark.parametrize(
        ("name", "what"),
        [
            (None, Kind.CHAT),
            ("chat", Kind.CHAT),
            ("a temporary:1", Kind.CHAT),
            ("temporary:1", Kind.TEMPORARY),
            ("local:1", Kind.TEMPORARY),
            ("channel:1", Kind.CHANNEL),
        ],
    )
    def test_a_prefix_tells_what_the_id_names(self, name, what):
        assert kind(name) is what

    def test_an_identity_is_a_chat_of_an_unknown_front_end_unless_said(self):
        assert Identity(b"t", "k") == Identity(b"t", "k", Kind.CHAT, None, None, None, sends_history=False)


class TestFirstValue:
    def test_an_empty_value_is_a_missing_one(self):
        assert first_value({"a": "", "b": "x", "c": "y"}.get, ("a", "b", "c")) == "x"
        assert first_value({"a": ""}.get, ("a", "z")) is None


class TestTheHashes:
    def test_tenants_and_conversations_are_a_contract(self):
        tenant = tenant_of(SECRET, "Bearer key", "user")
        assert tenant.hex() == TENANT
        assert conversation_id(SECRET, tenant, "chat") == CONVERSATION

    @given(st.tuples(MAYBE, MAYBE), st.tuples(MAYBE, MAYBE))
    def test_another_credential_or_user_is_another_tenant(self, one, other):
        assert (tenant_of(SECRET, *one) == tenant_of(SECRET, *other)) == (one == other)

    @given(
        st.tuples(st.binary(max_size=3), st.text(max_size=3)),
        st.tuples(st.binary(max_size=3), st.text(max_size=3)),
    )
    def test_another_tenant_or_key_is_another_conversation(self, one, other):
        assert (conversation_id(SECRET, *one) == conversation_id(SECRET, *other)) == (one == other)

    def test_another_secret_makes_other_tenants(self):
        assert tenant_of(SECRET, "key", None) != tenant_of(b"other", "key", None)

    def test_a_credential_of_any_bytes_and_a_secret_of_any_length_will_do(self):
        assert len(tenant_of(b"s" * 100, "Bearer \udcff", None)) == 16
        assert len(tenant_of(b"", None, None)) == 16


class TestTheSlot:
    def test_is_a_contract(self):
        assert [slot_of(CONVERSATION, slots) for slots in (1, 2, 8, 1000)] == [0, 0, 6, 214]

    def test_spreads_conversations_evenly(self):
        found = [slot_of(f"conv_{number}", 3) for number in range(3000)]
        assert all(900 < found.count(slot) < 1100 for slot in range(3))
