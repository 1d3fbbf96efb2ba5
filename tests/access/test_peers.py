"""Which peers may say who the user is."""

from __future__ import annotations

import pytest
from multidict import CIMultiDict

from sidecar.access.peers import Peers
from sidecar.errors import Forbidden
from sidecar.settings import Settings

USER = "X-User-ID"


def look(peer: str | None, *headers: tuple[str, str], trusted: tuple[str, ...], **tenant: str) -> None:
    settings = Settings.model_validate({"identity": {"trusted": trusted}, "tenant": tenant})
    Peers(settings).look(CIMultiDict(headers), peer)


@pytest.mark.parametrize(
    ("peer", "trusted", "is_let_in"),
    [
        ("10.1.2.3", ("10.0.0.0/8",), True),
        ("11.1.2.3", ("10.0.0.0/8",), False),
        ("::ffff:10.1.2.3", ("10.0.0.0/8",), True),
        ("::ffff:10.1.2.3", ("::/0",), False),
        ("10.1.2.3", ("127.0.0.1", "10.1.2.3"), True),
        ("fe80::1%eth0", ("fe80::/10",), True),
        ("::1", ("127.0.0.0/8",), False),
        ("::1", ("::1",), True),
        ("not an address", ("0.0.0.0/0", "::/0"), False),
        (None, ("0.0.0.0/0", "::/0"), False),
        ("11.1.2.3", (), True),
        (None, (), True),
    ],
)
def test_those_of_the_networks_may(peer: str | None, trusted: tuple[str, ...], is_let_in: bool):
    look(peer, ("Accept", "a"), trusted=trusted)
    if is_let_in:
        look(peer, (USER, "ada"), trusted=trusted)
        return
    for name in (USER, "x-user-id", "X_User_Id", "X-OpenWebUI-User-Id"):
        with pytest.raises(Forbidden, match=r"identity\.trusted") as caught:
            look(peer, (name, "ada"), trusted=trusted)
        assert (caught.value.code, caught.value.param) == ("untrusted_peer", name)


def test_what_names_no_user_may_come_from_anywhere():
    look("11.1.1.1", (USER, ""), ("X-Conversation-ID", "a"), trusted=("10.0.0.0/8",))


@pytest.mark.parametrize(
    "tenant",
    [
        {"mode": "credential"},
        {"mode": "fixed"},
        {"user_jwt_secret": "a key that is long enough for HS256, so it is"},
    ],
)
def test_where_such_headers_tell_no_tenants_apart_they_may_come_from_anywhere(tenant: dict[str, str]):
    look("11.1.1.1", (USER, "ada"), trusted=("10.0.0.0/8",), **tenant)
