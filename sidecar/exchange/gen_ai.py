"""An exchange in the words of OpenTelemetry's conventions for generative AI: the one place that knows them.

Source: `semantic-conventions-genai`, state *development*, as of 2026-11. The metrics have the names that the
dashboards of 2026 look for (`gen_ai.client.operation.duration`, `gen_ai.client.token.usage`), as Prometheus
spells them, and not yet the newer ones (`gen_ai.client.inference.*`).

Rule: whatever stands in a label has few values. So errors are statuses or words of our own, never an
upstream's code.
"""

from __future__ import annotations

from sidecar.conversation.records import Exchange
from sidecar.exchange.outcome import CLIENT_LEFT, CONTENT_FILTER, NO_REPLY, UNREAD, UPSTREAM_BROKE_OFF

__all__ = [
    "DURATIONS",
    "FIRST_CHUNKS",
    "OPERATION",
    "OTHER",
    "PROVIDER",
    "TOKENS",
    "error_type",
]

OPERATION, PROVIDER = "chat", "openai"  # as everything is that speaks OpenAI's API
#: In the place of a name that is none of the few.
OTHER = "_OTHER"
#: Upper bounds that the conventions want: seconds of a request, until the first chunk, and numbers of tokens.
DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
FIRST_CHUNKS = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)
TOKENS = tuple(float(4**power) for power in range(14))

_STATUSES = frozenset((400, 401, 402, 403, 404, 408, 409, 413, 422, 429, 500, 502, 503, 504, 529))
_ENDS = frozenset((CLIENT_LEFT, UPSTREAM_BROKE_OFF, NO_REPLY, CONTENT_FILTER, UNREAD))


def error_type(exchange: Exchange) -> str:
    """Why it failed, in one of some two dozen words; empty if it did not."""
    status, error = exchange.status, exchange.error
    if status is not None and status >= 400:
        return str(status) if status in _STATUSES else OTHER
    if error is None:
        return ""
    return error if error in _ENDS else OTHER
