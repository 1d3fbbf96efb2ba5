"""Where a chat's slot is saved and brought back, on the path of a request.

Rules: a chat that leaves no trace on a disk leaves none here; it takes a slot like any other. A task, or a
request whose client has chosen the slot itself, is none of ours. Of the request's headers only the credential
goes along that the target takes.
"""

from __future__ import annotations

from collections.abc import Mapping

from sidecar.background.slot_files import Answered
from sidecar.exchange.call import ChatCall
from sidecar.proxy.services import Services
from sidecar.proxy.upstream_request import UpstreamRequest
from sidecar.upstream.slot_api import left_in_slot
from sidecar.upstream.target import Target

__all__ = ["bring_back", "save_later"]


async def bring_back(services: Services, call: ChatCall, composed: UpstreamRequest) -> None:
    """Before the request goes upstream; waits no longer than for a while, and raises nothing."""
    files, slot = services.background.slot_files, _slot(services, call, composed)
    if files is None or slot is None:
        return
    target = _target(services, composed)
    await files.before(target, slot, composed.session, _credential(target, composed))


def save_later(
    services: Services,
    call: ChatCall,
    composed: UpstreamRequest,
    conversation: str,
    end: bytes,
    has_grown: bool,
) -> None:
    """A reply that ended so is stored; returns at once. `has_grown`: nothing in its prompt has changed."""
    files, slot = services.background.slot_files, _slot(services, call, composed)
    left = left_in_slot(end)
    if files is None or slot is None or left is None or composed.session is None:
        return
    target = _target(services, composed)
    answered = Answered(slot, composed.session, conversation, *left, has_grown)
    files.answered(target, answered, _credential(target, composed))


def _slot(services: Services, call: ChatCall, composed: UpstreamRequest) -> int | None:
    """The slot that the request names, if that is the sidecar's choice."""
    form, member = composed.revision.form, composed.revision.member
    session = composed.session or call.conversation_id
    if session is None or form.as_sent or "id_slot" in form.without or b'"id_slot"' in call.chat.body:
        return None
    return (member or services.requests).slots.of(session)


def _target(services: Services, composed: UpstreamRequest) -> Target:
    return composed.target or services.targets.default


def _credential(target: Target, composed: UpstreamRequest) -> Mapping[str, str]:
    return {name: value for name, value in composed.headers.items() if name.lower() in target.takes}
