"""One program for each library: it has the conversation that it is told to, and prints what its user got.

They run with the library's own interpreter, so they import nothing of the sidecar, nor of the tests but `talk`.
"""
