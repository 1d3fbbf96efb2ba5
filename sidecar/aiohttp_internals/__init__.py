"""Everything that stands on names which aiohttp keeps to itself: the place to look at when aiohttp changes.

bodies        those that end early
client        connections to upstreams, and WebSockets to them
inner         a request that came inside of another connection's talk
relayed       answers of an upstream, as they go to the client
requests      those that carry something else than they came with
server        connections of clients: what they may ask of one, and what ends it

Each override says why it is there; `tests/test_aiohttp_internals.py` shows that the name still exists and
that ours is called. No other package may use a private name of a library.
"""
