"""PURE: bytes of a reply -> the message that they carry.

    sse         bytes, split anywhere -> the payload of each event
    reading     one payload as clients read it, and the error in it
    opening     does it begin with an error?
    ending      what of a stream may go to the client before the reply is stored
    runs        events that are alike but for a piece of text, as one
    compact     a long stream in fewer bytes, for whoever keeps it meanwhile
    joining     how two values of one key join
    tool_calls  how the pieces of tool calls join
    parts       how lists of parts, details and blocks join
    deltas      how the pieces of one message join: which key by which of these rules
    assembly    payloads, or one JSON body -> the replies, usage and error that were in them

Relaying and assembling are two readings of the same bytes. `ending` looks at what passes and changes
nothing in it; `assembly` reads the kept bytes once, when the stream is over.
"""
