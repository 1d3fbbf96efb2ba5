"""An API on the wire: its requests and its replies. Pure: no I/O in this package.

sse     server-sent events, split in any way
chat    Chat Completions
"""
