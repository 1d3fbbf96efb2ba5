"""Replies of any kind, read at random: `streams.one` says what must hold; no socket, no other process."""

from __future__ import annotations

import json
import time
from collections.abc import Callable

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import seed as seeded
from hypothesis import strategies as st

from tests.fuzz.process import Findings
from tests.fuzz.streams import ANY, CHUNKS, STREAMS, one

__all__ = ["run"]

_EXAMPLES = 200  # between two looks at the clock

#: Most are streams; some a body of one value, some events of whole values and nothing else.
_REPLIES = (
    STREAMS
    | st.lists(CHUNKS, max_size=4).map(
        lambda chunks: b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in chunks)
    )
    | (CHUNKS | ANY).map(lambda value: json.dumps(value).encode())
)


def run(seconds: float, seed: int, check: Callable[[bytes], None] = one) -> Findings:
    """Check replies for so long, and some at least; end with the first that fails, made small."""
    found = Findings()
    end = time.monotonic() + seconds
    while not found.tried or time.monotonic() < end:
        seed += 1
        try:
            _some(seed, check, found)
        except Exception as error:  # whatever it is, it is a finding
            notes = "\n".join(getattr(error, "__notes__", ()))
            found.faults.append(f"--seed {seed - 1}: {error!r}\n{notes}"[:4000])
            break
    return found


def _some(seed: int, check: Callable[[bytes], None], found: Findings) -> None:
    @seeded(seed)
    @settings(
        max_examples=_EXAMPLES,
        deadline=None,
        database=None,
        print_blob=False,  # the seed repeats it
        phases=(Phase.generate, Phase.shrink),
        suppress_health_check=list(HealthCheck),
    )
    @given(_REPLIES)
    def replies(data: bytes) -> None:
        found.tried += 1
        check(data)

    replies()
