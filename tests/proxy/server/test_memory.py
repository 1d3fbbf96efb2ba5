"""Memory that is free goes back to the system."""

from __future__ import annotations

import asyncio
import platform
import subprocess
import sys

from sidecar.background import memory
from tests.proxy.client import eventually

# The first large block that is freed raises the size from which blocks are given back; the others stay.
_BURST = """
import ctypes, sys
from sidecar.background.memory import give_back_large_blocks
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


def _given_back(script: str, is_asked_for: str) -> int:
    command = [sys.executable, "-c", script, is_asked_for]
    return int(subprocess.run(command, capture_output=True, check=True).stdout)


def test_a_large_block_is_given_back_as_soon_as_it_is_free():
    if platform.libc_ver()[0] != "glibc":
        assert not memory.give_back_large_blocks()
        return
    given_back = [_given_back(_BURST, each) for each in ("yes", "no")]
    assert given_back[0] > 60_000_000 > given_back[1]


# Small blocks, with one that stays on every hundredth page: the heap does not end where they do.
_SMALL_BLOCKS = """
import sys
from sidecar.background.memory import give_back_free_pages
resident = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096
blocks = [bytearray(2000) for _ in range(30_000)]
kept = blocks[::200] + [bytearray(2000)]
before = resident()
del blocks
if sys.argv[1] == "yes":
    give_back_free_pages()
print(before - resident())
"""


def test_small_blocks_are_given_back_when_that_is_asked_for():
    if platform.libc_ver()[0] != "glibc":
        memory.give_back_free_pages()
        return
    given_back = [_given_back(_SMALL_BLOCKS, each) for each in ("yes", "no")]
    assert given_back[0] > 45_000_000 > given_back[1]


async def test_what_is_silent_is_forgotten_again_and_again_until_the_end():
    looks = 0

    def forget() -> None:
        nonlocal looks
        looks += 1

    idle = memory.IdleMemory(forget, interval=0.001)
    idle.start()
    await eventually(lambda: looks > 2)
    idle.stop()
    seen = looks
    await asyncio.sleep(0.02)
    assert looks == seen


def test_without_glibc_nothing_is_asked_for(monkeypatch):
    monkeypatch.setattr("ctypes.CDLL", lambda _name: object())
    assert not memory.give_back_large_blocks()
    memory.give_back_free_pages()
