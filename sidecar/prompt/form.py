"""In which form goes what the sidecar adds to a request: a closed table, so that it can be learned and kept.

What is *supplied* was dropped by the client and is demanded by the upstream; what is left out is refused.
"""

from __future__ import annotations

import msgspec

from sidecar.conversation.reasoning import REASONING_FIELDS

__all__ = [
    "ALL",
    "AS_USUAL",
    "CALL",
    "EMPTY_ALONE",
    "EVERY_ANSWER",
    "OF_ANSWERS",
    "OF_LIBRARIES",
    "REMOVABLE",
    "SIGNATURE",
    "SUPPLIED",
    "SYSTEM_FIRST",
    "VALID_SIGNATURE",
    "Form",
]

#: What is left out where nothing is added at all.
ALL = "all"
#: The call of a result that comes without one.
CALL = "call"
#: A call's signature (Gemini), and the same where those that the client sends are refused.
SIGNATURE = "signature"
VALID_SIGNATURE = "valid_signature"
#: Reasoning on every answer, not on those with calls alone.
EVERY_ANSWER = "every_answer"
#: System messages nowhere but in front: those that come later are told by the user (over Responses alone).
SYSTEM_FIRST = "system_first"
#: All that can be supplied: these, and a reasoning field by its name.
SUPPLIED = REASONING_FIELDS | {CALL, SIGNATURE, VALID_SIGNATURE, EVERY_ANSWER, SYSTEM_FIRST}
#: The fields that only models' own answers carry, and that can stay out of what we add.
REMOVABLE = REASONING_FIELDS | {"extra_content", "name", "refusal", "annotations", "audio", "function_call"}
#: What clients send back of an answer though no request has it, and no model needs it: the fields of SDKs, of
#: LiteLLM, Azure, Groq and OpenRouter. Who refuses one of them refuses all.
OF_LIBRARIES = frozenset(
    (
        *("annotations", "provider_specific_fields", "index", "parsed", "citations", "context", "end_turn"),
        "executed_tools",
    )
)
#: The same for these where they are null or empty; else they are a part of what was said.
EMPTY_ALONE = frozenset(("refusal", "audio", "function_call"))
#: All that can stay out of the answers that a client itself sends back.
OF_ANSWERS = OF_LIBRARIES | EMPTY_ALONE | REASONING_FIELDS | {"extra_content"}


class Form(msgspec.Struct, frozen=True):
    """`supplied`: words of `SUPPLIED`. `without`: names of fields that stay out of what we add.

    `as_sent`: nothing is added at all; the history of a client that did not send one goes as plain text.
    `stripped`: names of fields that stay out of the answers that the client itself sends back.
    """

    supplied: frozenset[str] = frozenset()
    without: frozenset[str] = frozenset()
    as_sent: bool = False
    stripped: frozenset[str] = frozenset()

    @property
    def left_out(self) -> tuple[str, ...]:
        """What stays out of what we add, and of the client's own answers, in words."""
        if self.as_sent:
            return (ALL, *sorted(self.stripped))
        return tuple(sorted(self.without | self.stripped))


AS_USUAL = Form()
