"""How much the sidecar does for a request, counted and not timed, so that it is the same every time.

The map, each module above those that use it:

    counted    a sidecar that counts the bytecodes that it executes
    wire       a client and an upstream that take turns, piece by piece
    works      what is asked
    exchange   what is kept and counted of one request, by itself
    count      the counts, and those that were put on record (`baseline.json`)

`./dev bench guard` prints the counts, `./dev bench guard --write` puts them on record.
"""
