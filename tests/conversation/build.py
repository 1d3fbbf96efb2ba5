"""Messages, requests and trees to talk about, and a front end that keeps its own copy of a chat."""

from __future__ import annotations

import itertools
import json

from sidecar.conversation.reconcile import places, settled, walk
from sidecar.conversation.tree import Chain, Node, Tree
from sidecar.dialects.chat.request import parse

TENANT = b"tenant".ljust(16, b".")
CHAIN = Chain(TENANT)
NOBODY: frozenset[str] = frozenset()


def user(content, **more):
    return {"role": "user", "content": content, **more}


def says(content, **more):
    return {"role": "assistant", "content": content, **more}


def calls(*ids, content=None, arguments='{"a": 2}', name="look"):
    """An assistant message that calls a tool once for each id."""
    made = [{"id": id, "type": "function", "function": {"name": name, "arguments": arguments}} for id in ids]
    return says(content, tool_calls=made)


def result(id, content="found"):
    return {"role": "tool", "tool_call_id": id, "content": content}


def raw(fields):
    return json.dumps(fields, ensure_ascii=False).encode()


def message(fields):
    """A message as one of a request; also makes one of the fields of a stored node."""
    return CHAIN.message(raw(fields))


def request(*messages, **more):
    return parse(raw({"messages": list(messages), **more}), CHAIN)


def node(fields, under=None, *, nonce=None, **about):
    """A stored message: a reply if it has a nonce (an integer), else the client's."""
    told = message(fields)
    return Node(
        id=CHAIN.message_id(under, told.digest)
        if nonce is None
        else CHAIN.reply_id(under, told.digest, nonce.to_bytes(8, "big")),
        parent=under.id if under else None,
        digest=told.digest,
        exact=CHAIN.exact(under.exact if under else b"", told),
        role=told.role,
        body=told.raw,
        source="client" if nonce is None else "upstream",
        state=about.pop("state", "complete"),
        created_at=0.0,
        **about,
    )


def line(*messages):
    """A stored path; what the assistant says are replies."""
    nodes: list[Node] = []
    for number, fields in enumerate(messages):
        nonce = number if fields["role"] == "assistant" else None
        nodes.append(node(fields, nodes[-1] if nodes else None, nonce=nonce))
    return nodes


def walked(nodes, *messages, named=NOBODY):
    return walk(Tree(nodes), request(*messages).path, frozenset(named))


class Recorded:
    """A conversation as the store would hold it: nodes by id, and the hashes that echoes were called by."""

    def __init__(self):
        self.nodes = {}
        self.echoes = {}
        self._nonces = itertools.count(1)

    @property
    def tree(self):
        return Tree(list(self.nodes.values()))

    def place(self, asked, named=NOBODY):
        """Where the request continues: by one look-up, else by a walk."""
        place = settled(asked.path, self.found(asked), named)
        return place if place is not None else walk(self.tree, asked.path, named).place

    def found(self, asked):
        """What one look-up finds: the nodes at the deepest stored hash."""
        for position in places(asked.path):
            hash = asked.path.hashes[position - 1]
            nodes = [each for each in self.nodes.values() if each.hash == hash]
            if not nodes and hash in self.echoes:
                nodes = [self.nodes[self.echoes[hash]]]
            if nodes:
                return {hash: nodes}
        return {}

    def tell(self, asked, *replies, named=NOBODY, **about):
        """Record a request and the replies to it; returns the nodes of the replies, or its last node."""
        place = self.place(asked, named)
        at = place.node
        for new in asked.path.messages[place.position :]:
            at = self._add(node(dict(new.fields), at))
        if at is not None and asked.path.hashes and asked.path.hashes[-1] != at.hash:
            self.echoes[asked.path.hashes[-1]] = at.id
        told = [self._add(node(each, at, nonce=next(self._nonces), **about)) for each in replies]
        return told or [at]

    def _add(self, new):
        return self.nodes.setdefault(new.id, new)


def path_to(tree, node):
    """The nodes from the root to `node`, both included."""
    by_id = {each.id: each for each in tree.nodes}
    line = [node]
    while line[-1].parent is not None:
        line.append(by_id[line[-1].parent])
    return tuple(reversed(line))
