"""A background task on its way: to which upstream and model, with which headers, how long.

Rules: where nothing is set a task is forwarded as it came, without the conversation's id, lest an agent take
it for a turn of the conversation. To an upstream of their own tasks take nothing along that says who asked:
of the client's headers only those go that are about the content, and of its URL nothing.
"""

from __future__ import annotations

from aiohttp import web
from multidict import CIMultiDict

from sidecar.conversation.message import encode
from sidecar.exchange.call import TaskCall
from sidecar.exchange.prompt import Prompt
from sidecar.prompt.weights import estimate
from sidecar.proxy.services import Services
from sidecar.proxy.session import rename, renamed
from sidecar.proxy.upstream_request import UpstreamRequest
from sidecar.settings import Settings
from sidecar.upstream.headers import to_upstream
from sidecar.upstream.target import Target

__all__ = ["task"]

_ABOUT_THE_CONTENT = frozenset(("accept", "accept-encoding", "content-type", "user-agent"))


def task(services: Services, call: TaskCall, request: web.BaseRequest) -> UpstreamRequest:
    """Put together what goes upstream."""
    settings = services.settings
    changed: dict[str, bytes] = {}
    most = settings.tasks.max_input_tokens
    shorter = call.dialect.shorter_task(call.chat, most, estimate) if most is not None else None
    if shorter is not None:
        changed["messages"] = b"[" + b",".join(shorter) + b"]"
    if settings.tasks.model:
        changed["model"] = encode(settings.tasks.model)
    body = renamed(services, call.chat, call.conversation_id, call.chat.with_values(changed))
    prompt = Prompt(shortened=int(shorter is not None))
    target = services.targets.tasks
    if target is None:
        return UpstreamRequest(body, _headers(services, call, request), prompt)
    return UpstreamRequest(body, _headers_elsewhere(services, call, request, target), prompt, target=target)


def _ids(settings: Settings) -> list[str]:
    """The headers that name a conversation, in lower case."""
    identity = settings.identity
    names = (*identity.headers, *identity.agent_headers, *settings.session.own_headers)
    return [name.lower() for name in names]


def _headers(services: Services, call: TaskCall, request: web.BaseRequest) -> CIMultiDict[str]:
    settings = services.settings
    ids = () if settings.tasks.forward_id else _ids(settings)
    headers = to_upstream(request.headers, without=services.requests.kept_back_of_chats.union(ids))
    if settings.tasks.forward_id:
        rename(services, request, headers, call.conversation_id)
    return headers


def _headers_elsewhere(
    services: Services, call: TaskCall, request: web.BaseRequest, target: Target
) -> CIMultiDict[str]:
    settings = services.settings
    wanted = {*_ABOUT_THE_CONTENT, *target.takes}
    if settings.tasks.forward_id:
        wanted.update(_ids(settings))
    left = {name.lower() for name in request.headers} - wanted
    headers = to_upstream(request.headers, without=services.requests.kept_back_of_chats | left)
    if settings.tasks.forward_id:
        rename(services, request, headers, call.conversation_id)
    return headers
