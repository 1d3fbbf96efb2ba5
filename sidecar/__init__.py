"""The conversation sidecar: a reverse proxy that gives stateless chat requests a memory.

The map of the house. Imports run one way, from the bottom of this list to its top:

    errors            one tree of errors, one OpenAI-shaped body
    printable         text of others, made harmless for a terminal
    conversation/     PURE: what was said. Messages, identity, the tree, reconcile, rebuild, trim
    streaming/        PURE: bytes of a reply -> the message that they carry
    exchange/         PURE: one request and its reply, as values; what is told of them, and kept
    store/            I/O: where conversations are kept; the only speaker of SQL
    settings/         every setting, declared once; the only reader of the environment
    aiohttp_internals/ what stands on private names of aiohttp
    logs, metrics     what is said and what is counted
    doctor/           what the clients really send, what that means, what to change
    demo              a small OpenAI-compatible upstream, to see the thing work without a model
    upstream/         I/O: calling the backend; the only user of aiohttp's client
    proxy/            I/O: `proxy/turn.py` is the path of one request
    opened            the store that the settings mean
    retention         which conversations are kept no longer
    export            conversations as JSON Lines and as Markdown
    commands/         what people do with a store: look, delete, prune, verify, back up, move, bring in
    cli               the command line

One request travels

    identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record

and `proxy/turn.py` says so in about as many lines. The words (tenant, conversation, message, tip,
turn, reply, echo) are defined in the README and mean the same in code, schema, logs and tests.
"""

__version__ = "0.1.0"
