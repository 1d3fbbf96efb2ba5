"""The conversation sidecar: a reverse proxy that gives stateless chat requests a memory.

The map of the house. Each imports only what stands above it; so do the modules of each package, in the
order in which its own map names them.

    errors, printable, random_ids   errors in OpenAI's shape; harmless text; ids that nobody can guess
    aiohttp_internals/ what stands on private names of aiohttp
    conversation/     PURE: what was said. Messages, identity, the tree, reconcile
    prompt/           PURE: what fits into a context window. Rebuild, compact, trim, token estimates
    dialects/         PURE: an API on the wire. Its requests, and bytes of a reply -> the message
    exchange/         PURE: one request and its reply, as values; what is told of them, and kept
    store/            I/O: where conversations are kept; the only speaker of SQL
    settings/         every setting, declared once; the only reader of the environment
    logs, histograms, metrics, traces       what is said, counted and traced
    store_factory     the store that the settings mean
    retention         which conversations are kept no longer
    export            conversations as JSON Lines and as Markdown
    doctor/           what the clients really send, what that means, what to change
    access/           who asks, and who may
    upstream/         I/O: calling the backend; the only user of aiohttp's client
    background/       I/O: work that no request waits for
    proxy/            I/O: the path of one request, `proxy/handle.py`
    state/            I/O: responses and conversations as a client asks for them by their ids
    admin/            I/O: health, metrics, doctor
    inspector/        I/O: pages that show what happened in a chat
    server/           I/O: the life of the process
    commands/         what people do with a store: look, delete, prune, verify, back up, move, import
    cli               the command line

One request travels

    identify -> load -> reconcile -> rebuild -> trim -> forward -> relay and assemble -> record

and `proxy/handle.py` says so in about as many lines. The words (tenant, conversation, message, tip,
turn, reply, echo) are defined in the README and mean the same in code, schema, logs and tests.
`config/behaviour.md` says rule by rule what becomes of a request, and which test shows it.
"""

__version__ = "0.2.0"
