"""Odd input without end: `./dev fuzz [MINUTES]`, and two minutes of it in continuous integration.

wire        requests and responses with anything changed in their bytes, on real sockets
cancels     clients that leave at any moment, beside others that stay
streams     replies of any kind, against a reader that is slow and plain
guided      the same, made of real ones by changes, guided by the code that they reach
relayed     such replies through a running sidecar, byte for byte, and what is stored of them
refusals    refusals for length and form, packed in any way
properties  the property tests of the suite, with other examples each time
"""
