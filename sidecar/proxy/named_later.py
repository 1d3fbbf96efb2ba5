"""A chat that began without an id, and whose client has named it since.

Some front ends know the id of a chat only from its second turn on (LibreChat's is `new` in the first). The
id takes over the conversation that holds the request's history, word for word, if only one without an id
does and nothing was said there since: its session upstream stays what it was. Of two ids that ask for one
at the same time the first gets it; where they ask two replicas, what the second one says is not kept there.
From then on it is found under that id alone, by an echo of the name, which is recorded with the first turn
that has it: a chat that begins alike and names nothing is another.
"""

from __future__ import annotations

from msgspec.structs import replace

from sidecar.conversation.find_by_history import key_of_branch, key_of_name
from sidecar.conversation.records import Found
from sidecar.conversation.tree import Conversation, Node
from sidecar.exchange.call import ChatCall
from sidecar.exchange.decide import hashes
from sidecar.exchange.plan import RecordedPlan
from sidecar.proxy.find_by_history import is_of_user
from sidecar.proxy.services import Services

__all__ = ["echo_of_name", "named_later"]


async def named_later(services: Services, call: ChatCall) -> Found:
    """The conversation that began without the request's id, if one did, for an id that no other one has."""
    key = call.identity.key
    if key is None or not call.is_named or call.identity.by_agent:
        return Found()
    named = await _named(services, call, key)
    if named.conversation is not None:
        return named
    if services.settings.identity.fallback != "match" or not call.chat.path.last_answer:
        return Found()
    taken = await _taken_over(services, call, key)
    # Where there is none to take over, another replica may have recorded the name since the first look.
    return taken if taken.conversation is not None else await _named(services, call, key)


async def _named(services: Services, call: ChatCall, key: str) -> Found:
    """The conversation that has got the name already."""
    tenant = call.identity.tenant
    known = await services.store.find_by_history(tenant, [key_of_name(call.chain, key)])
    if known is None:
        return Found()
    if call.brings_no_history:
        await services.requests.running.written(known)
    found = await services.store.find(tenant, [known], hashes(call))
    return found if found.conversation is not None and found.conversation.key == key else Found()


async def _taken_over(services: Services, call: ChatCall, key: str) -> Found:
    path, tenant = call.chat.path, call.identity.tenant
    end = path.hashes[path.last_answer - 1]
    told: list[tuple[Found, Conversation, Node]] = []
    for each in await services.store.candidates(tenant, [end], []):
        found = await services.store.find(tenant, [each], [end])
        conversation, nodes = found.conversation, found.nodes.get(end, ())
        if conversation is not None and conversation.key is None and nodes:
            told.append((found, conversation, nodes[-1]))
    if len(told) != 1:
        return Found()
    found, conversation, answer = told[0]
    if not found.is_tip or answer.source != "upstream":
        return Found()
    branch = key_of_branch(call.chain)
    # A chat stands in it that only began alike: this one, or one that is found without an id.
    if (await services.store.find(tenant, [conversation.id], [branch])).nodes:
        return Found()
    if not await is_of_user(services, call, conversation.id):
        return Found()
    if not services.requests.running.is_first_name(conversation.id, key):
        return Found()
    return replace(found, conversation=replace(conversation, key=key))


def echo_of_name(call: ChatCall, plan: RecordedPlan) -> list[tuple[bytes, bytes]]:
    """By what the conversation is found under the id that its client gave it later."""
    key, answer = call.identity.key, plan.parent
    is_named_later = key is not None and plan.conversation.key == key and not call.identity.by_agent
    if not is_named_later or plan.conversation.id == call.conversation_id:
        return []
    if key is None or answer is None or answer.source != "upstream":
        return []
    return [(key_of_name(call.chain, key), answer.id)]
