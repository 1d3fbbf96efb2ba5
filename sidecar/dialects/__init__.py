"""An API on the wire: its requests and its replies. Pure: no I/O in this package.

sse         server-sent events, split in any way
last_piece  the end of a body of which nothing else is known
base        what a request's path asks of an API: the seam for another one
chat        Chat Completions
responses   Responses, in front of an upstream that speaks Chat Completions
served      which API a path belongs to
"""
