"""A reply that is stored is sent again with each later request: whatever it is, that must not fail."""

from __future__ import annotations

from sidecar.conversation.message import visible_text
from sidecar.prompt.compact import shortened
from sidecar.prompt.rebuild import Reader, Restore, rebuilt
from sidecar.prompt.thin_history import remembered
from tests.conversation.build import CHAIN, line, message, node, says, user

__all__ = ["sent_again"]

_RULES = (Restore(), Restore(reasoning="always"), Restore(reasoning="off", answers=False))
_TOOLS = b'[{"type":"function","function":{"name":"weather"}}]'
_READERS = (Reader("m", _TOOLS), Reader("m"), Reader("other", _TOOLS))


def sent_again(raw: bytes) -> None:
    """Send this reply (JSON) with next requests: of thin clients and of whole ones, to its own model and to
    another, as it is and shortened."""
    try:
        reply = CHAIN.new_message(raw)
    except ValueError:  # it is relayed, and kept nowhere
        return
    (asked,) = line(user("hi"))
    answer = node(dict(reply.fields), asked, nonce=1, model="m")
    again = message(user("and?"))
    echo = [message(user("hi")), message(says(visible_text(reply.fields))), again]
    for rules in _RULES:
        for reader in _READERS:
            goes = remembered([asked, answer], [again], rules, reader)
            goes += rebuilt(echo, [(asked,), (answer,)], rules, reader)
            for each in goes:
                assert shortened(each).measure
