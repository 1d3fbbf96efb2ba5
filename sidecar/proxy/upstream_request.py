"""A request as it goes upstream, and how it was composed."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace
from multidict import CIMultiDict

from sidecar.conversation.message import encode
from sidecar.dialects.base import Request
from sidecar.exchange.prompt import Prompt
from sidecar.prompt.form import AS_USUAL, Form
from sidecar.prompt.summary import Missing
from sidecar.prompt.supply import NOTHING_HELD, Held
from sidecar.upstream.pool import Member
from sidecar.upstream.target import Target

__all__ = ["FIRST", "Revision", "UpstreamRequest", "addressed"]


class Revision(msgspec.Struct, frozen=True):
    """How a request is composed, after what was learned or refused.

    `ceiling`: what it may hold at most, in tokens as they are estimated by the weights of the day. `held`:
    what there is to supply. `member`: for whom, where there are several.
    """

    ceiling: int | None = None
    form: Form = AS_USUAL
    held: Held = NOTHING_HELD
    member: Member | None = None


FIRST = Revision()


class UpstreamRequest(msgspec.Struct, frozen=True):
    """Body and headers for the upstream, and what is in them."""

    body: bytes
    headers: CIMultiDict[str]
    prompt: Prompt
    #: Where it goes, if not to the default target.
    target: Target | None = None
    #: What has yet to be summed up.
    missing: Missing | None = None
    #: What the conversation is to keep of the weights that it was cut by, if it has not got it yet.
    weights: bytes | None = None
    revision: Revision = FIRST
    #: The id of the chat that it is a turn of, for an upstream that takes that as a hint.
    session: str | None = None


def addressed(composed: UpstreamRequest, chat: Request, member: Member, model: str | None) -> UpstreamRequest:
    """The request for this member, with the name that `model` has there."""
    there, body = member.pool.named(model), composed.body
    if there != model:
        body = chat.with_body(body).with_values({"model": encode(there)})
    revision = replace(composed.revision, member=member)
    return replace(composed, body=body, target=member.target, revision=revision)
