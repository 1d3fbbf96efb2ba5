"""One program for each library: it has the conversation that it is told to, and prints what its user got.

They run with the library's own interpreter, so of all this they import `talk` alone.
"""
