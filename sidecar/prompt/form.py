"""In which form goes what the sidecar adds to a request: a closed table, so that it can be learned and kept.

What is *supplied* was dropped by the client and is demanded by the upstream; what is left out is refused.
"""

from __future__ import annotations

import msgspec

from sidecar.conversation.reasoning import REASONING_FIELDS

__all__ = [
    "AS_USUAL",
    "CALL",
    "EVERY_ANSWER",
    "REMOVABLE",
    "SIGNATURE",
    "SUPPLIED",
    "VALID_SIGNATURE",
    "Form",
]

#: The call of a result that comes without one.
CALL = "call"
#: A call's signature (Gemini), and the same where those that the client sends are refused.
SIGNATURE = "signature"
VALID_SIGNATURE = "valid_signature"
#: Reasoning on every answer, not on those with calls alone.
EVERY_ANSWER = "every_answer"
#: All that can be supplied: these, and a reasoning field by its name.
SUPPLIED = REASONING_FIELDS | {CALL, SIGNATURE, VALID_SIGNATURE, EVERY_ANSWER}
#: The fields that only models' own answers carry, and that can stay out of what we add.
REMOVABLE = REASONING_FIELDS | {"extra_content", "name", "refusal", "annotations", "audio", "function_call"}


class Form(msgspec.Struct, frozen=True):
    """`supplied`: words of `SUPPLIED`. `without`: names of fields that stay out of what we add.

    `as_sent`: nothing is added at all; the history of a client that did not send one goes as plain text.
    """

    supplied: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    as_sent: bool = False

    @property
    def left_out(self) -> tuple[str, ...]:
        """What stays out of what we add, in words."""
        return ("all",) if self.as_sent else tuple(sorted(self.without))


AS_USUAL = Form()
