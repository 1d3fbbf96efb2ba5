"""OpenAI's Responses, in front of an upstream that speaks Chat Completions.

    refusal      what cannot be translated, as the client is told
    tools        tools of all kinds <-> functions, and the choice among them
    parts        the parts of a content
    compaction   a history in fewer words
    items        items -> messages
    ids          the ids of a response and its items; where a response is kept
    metadata     what a client attaches for itself
    call_ids     the ids of calls, as they are told and kept
    references   references to items, and the items in their place
    asked        what a request says beside its messages, and what of it an answer repeats
    body         the body of a request -> one of Chat Completions
    request      a request that was read so
    tasks        is this a background task of the client?
    drafts       one item of an answer, while it is being told
    answer       deltas of a message -> the items of an answer and the events that tell them
    response     the response as an object
    as_items     a message as items
    taken_out    messages without items that a client has taken out
    kept         a response that is kept, and told again
    errors       what an upstream refused: a body of its own, or the end of what has begun
    translation  bytes of a chat completion -> bytes of a response
    in_background a response that is made in the background: its beginning, events and end
    frames       what is said over a WebSocket, and what a connection remembers
    dialect      all of it, as the path of a request uses it

A request becomes one of Chat Completions before anything else reads it, and a reply is kept as the upstream
told it: so restoring, trimming, healing and all else that is done to a chat knows of no second API, and what
was begun over one goes on over the other. Only what goes to the client is translated back.
"""

from __future__ import annotations

__all__ = ["AGENT_HEADERS", "PATH"]

#: How the path of a request of this API ends.
PATH = "/responses"
#: By which headers its clients name their chats without being told to: Codex its thread, and its session.
AGENT_HEADERS = ("thread-id", "session-id")
