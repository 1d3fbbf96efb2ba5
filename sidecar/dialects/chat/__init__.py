"""OpenAI's Chat Completions: requests, and bytes of a reply -> the message that they carry.

    body         the JSON of a body, or what is wrong with it
    request      the body of a request: read it, write it back with other messages
    tasks        is this a background task of the front end?
    reading      one payload as clients read it, and the error in it
    overflow_numbers  the window and the prompt in a refusal for length
    overflow     refusals for length, known by what they mean
    form_refusal refusals for the form of a request, and what they demand
    content_refusal  refusals of what a request says, and of the others inside of an answer
    first_event  does an event stream begin with an error?
    done_marker  where an event stream ends: what may go to the client before the reply is stored
    coalesce     events that are alike but for a piece of text, as one
    compact      a long stream in fewer bytes, for whoever keeps it meanwhile
    joining      how two values of one key join
    parts        how lists of parts, details and blocks join
    prefill      a reply as one message with the one that it goes on from
    brackets     is a JSON text closed?
    tool_calls   how the pieces of tool calls join
    deltas       how the pieces of one message join: which key by which of these rules
    assembly     payloads, or one JSON body -> the replies, usage and error that were in them
    dialect      all of it, as the path of a request uses it

Relaying and assembling are two readings of the same bytes. `done_marker` looks at what passes and changes
nothing in it; `assembly` reads the kept bytes once, when the stream is over.
"""

from __future__ import annotations

__all__ = ["PATH"]

#: How the path of a request of this API ends.
PATH = "/chat/completions"
