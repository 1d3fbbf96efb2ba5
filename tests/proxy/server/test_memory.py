"""Memory that is free goes back to the system."""

from __future__ import annotations

import platform
import subprocess
import sys

from sidecar.server import memory

# The first large block that is freed raises the size from which blocks are given back; the others stay.
_BURST = """
import ctypes, sys
from sidecar.server.memory import give_back_large_blocks
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
if sys.argv[1] == "yes":
    assert give_back_large_blocks()
for _ in range(2):
    blocks = [piece for _ in range(30) for piece in (bytearray(b"x") * 3_000_000, bytearray(b"x") * 500_000)]
    before = resident()
    kept = blocks[1::2]
    del blocks
print(before - resident())
"""


def test_a_large_block_is_given_back_as_soon_as_it_is_free():
    if platform.libc_ver()[0] != "glibc":
        assert not memory.give_back_large_blocks()
        return
    given_back = [
        int(subprocess.run([sys.executable, "-c", _BURST, each], capture_output=True, check=True).stdout)
        for each in ("yes", "no")
    ]
    assert given_back[0] > 60_000_000 > given_back[1]


def test_without_glibc_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert not memory.give_back_large_blocks()
