"""What the sidecar costs, next to nginx, to an aiohttp proxy that does nothing, and to other gateways.

The map, each module above those that use it:

    nothing       the proxy that does nothing
    upstream.c    the backend of all of them
    generator.c   who asks; it counts what comes back and takes the times
    native        the two of C, compiled and run
    bodies        what is asked
    works         the works: how many at once, how often, how fast
    clocks        CPU time and memory of a process with all that it started
    otlp          who takes traces
    rows          the programs that are measured, started and ended
    measure       one work on one of them
    table         the table
    run           `./dev bench speed`
"""
