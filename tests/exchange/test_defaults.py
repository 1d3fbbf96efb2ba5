"""What nobody has said of a request, a prompt or a reply is not so: no default claims anything but these."""

from __future__ import annotations

import dataclasses
from typing import Any

import msgspec
import pytest

from sidecar.conversation.effort import DEFAULT_LIMITS, EffortLimits
from sidecar.conversation.exchange_record import Detail, Exchange, Refusal, Sent
from sidecar.conversation.identity import Identity, Kind
from sidecar.conversation.measure import Measure
from sidecar.conversation.overview import Overview, Spent
from sidecar.conversation.reconcile import Match, Place
from sidecar.conversation.records import ConversationStats, ConversationUpdate, Found, Snapshot, Thread
from sidecar.conversation.running_response import RunningResponse
from sidecar.conversation.tree import Conversation, Message, Node
from sidecar.dialects.base import Assembled, FormRefusal, Overflow, Reply
from sidecar.dialects.chat.request import ChatRequest
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.kept import Said
from sidecar.dialects.responses.request import ResponsesRequest
from sidecar.dialects.responses.tools import Tool
from sidecar.exchange.call import ChatCall, UnrecordedCall
from sidecar.exchange.client_request import ClientRequest
from sidecar.exchange.needs import Known, Rules
from sidecar.exchange.outcome import Answered, Progress, Tracked
from sidecar.exchange.plan import Thin, Unrecorded, Whole
from sidecar.exchange.prompt import Heads, Prompt
from sidecar.exchange.usage import Tokens
from sidecar.prompt.calibration import Learning
from sidecar.prompt.call_results import Call
from sidecar.prompt.fit import Fitted, Full, Weighing
from sidecar.prompt.form import Form
from sidecar.prompt.rebuild import Outgoing, Reader, Restore
from sidecar.prompt.recall import Recalled
from sidecar.prompt.sendable import Recipient
from sidecar.prompt.silent_truncation import SilentCeiling
from sidecar.prompt.trim import Budget, Trimmed

# Those of which something is so unless somebody says otherwise.
CLAIMED: dict[type, dict[str, Any]] = {
    Budget: {"step": 0.6},
    Call: {"result": -1},
    ChatCall: {"may_be_cut": True},
    ChatRequest: {"choices": 1},
    Detail: {"target": "default", "api": "chat"},
    EffortLimits: {"messages": 50_000, "bytes": 16 << 20},
    Identity: {"kind": Kind.CHAT},
    Place: {"anchored": True},
    Progress: {"target": "default"},
    Recipient: {"is_maker": True, "thoughts": "none"},
    ResponsesRequest: {"choices": 1},
    Restore: {"answers": True, "reasoning": "off"},
    Rules: {"by_hash": True, "effort": DEFAULT_LIMITS},
    RunningResponse: {"last": -1},
    UnrecordedCall: {"mode": "off"},
}
CLAIM_NOTHING = [
    *(
        Answered,
        Asked,
        Assembled,
        ClientRequest,
        Conversation,
        ConversationStats,
        ConversationUpdate,
        Exchange,
    ),
    *(
        Fitted,
        Form,
        FormRefusal,
        Found,
        Full,
        Heads,
        Known,
        Learning,
        Match,
        Measure,
        Message,
        Node,
        Outgoing,
    ),
    *(
        Overflow,
        Overview,
        Prompt,
        Reader,
        Recalled,
        Refusal,
        Reply,
        Said,
        Sent,
        SilentCeiling,
        Snapshot,
        Spent,
    ),
    *(Thin, Thread, Tokens, Tool, Tracked, Trimmed, Unrecorded, Weighing, Whole),
]


def defaults_of(kind: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind):
        fields = [(each.name, each.default) for each in dataclasses.fields(kind)]
    elif issubclass(kind, msgspec.Struct):
        fields = [(each.name, each.default) for each in msgspec.structs.fields(kind)]
    else:
        fields = list(kind._field_defaults.items())
    return {name: default for name, default in fields if default not in _NONE}


_NONE = (dataclasses.MISSING, msgspec.NODEFAULT)


def claims(value: Any) -> bool:
    """Does a default claim something? One made of others does where one of these does."""
    if isinstance(value, tuple):
        return any(map(claims, value))
    if dataclasses.is_dataclass(value) or isinstance(value, msgspec.Struct):
        return bool(claimed(type(value)) != CLAIMED.get(type(value), {}))
    return bool(value)


def claimed(kind: type) -> dict[str, Any]:
    return {name: default for name, default in defaults_of(kind).items() if claims(default)}


@pytest.mark.parametrize("kind", [*CLAIMED, *CLAIM_NOTHING], ids=lambda kind: kind.__name__)
def test_no_default_claims_more_than_it_is_to(kind: type):
    assert defaults_of(kind)
    found = {
        name: value
        for name, value in defaults_of(kind).items()
        if claims(value) or name in CLAIMED.get(kind, {})
    }
    assert found == CLAIMED.get(kind, {})
