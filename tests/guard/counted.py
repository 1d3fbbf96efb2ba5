"""`python -m tests.guard.counted`: a sidecar that counts the bytecodes that it executes, libraries included.

It prints its address. Then each line on standard input is answered with the count so far, once nothing is
under way any more. What a single call into C does counts as one, however much it is.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import threading
import time
from types import FrameType
from typing import Any

import uvloop

from sidecar.background import loop_witness
from sidecar.server.serve import running
from sidecar.settings import load

_LOOKS = 3
_BETWEEN = 0.005  # seconds

_executed = itertools.count()  # its steps are atomic, whatever thread takes them
_looked = itertools.count()  # to look is a step as well


def _enter(frame: FrameType, _event: str, _argument: Any) -> Any:
    frame.f_trace_opcodes = True
    frame.f_trace_lines = False
    return _step


def _step(_frame: FrameType, event: str, _argument: Any) -> Any:
    if event == "opcode":
        next(_executed)
    return _step


def _so_far() -> int:
    return next(_executed) - next(_looked)


def _answer() -> None:
    """In a thread of its own, which does not count."""
    for _ in sys.stdin:
        seen, same = _so_far(), 0
        while same < _LOOKS:
            time.sleep(_BETWEEN)
            same, seen = (same + 1, seen) if _so_far() == seen else (0, _so_far())
        print(seen, flush=True)


async def _serve() -> None:
    loop_witness.INTERVAL = 3600.0  # what a timer does meanwhile is no request's
    threading.Thread(target=_answer, daemon=True).start()
    threading.settrace(_enter)
    async with running(load({})) as address:
        sys.settrace(_enter)
        print(address, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve())
