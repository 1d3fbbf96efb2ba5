"""`python -m tests.guard.exchange`: what the exchange of a request costs beside its row, counters included.

It prints the bytecodes for one exchange, and with `--time` the microseconds of processor time.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from sidecar.conversation.identity import Identity, Kind
from sidecar.conversation.reconcile import Outcome
from sidecar.conversation.tree import Chain, Conversation
from sidecar.dialects.chat.dialect import CHAT
from sidecar.dialects.chat.request import ChatRequest, parse
from sidecar.exchange.call import ChatCall
from sidecar.exchange.outcome import Answered, Progress, exchange_of
from sidecar.exchange.plan import Whole
from sidecar.exchange.prompt import AS_IT_CAME, Prompt, difference, heads
from sidecar.exchange.usage import tokens_of
from sidecar.metrics import Metrics
from sidecar.proxy.observers import tell
from sidecar.proxy.request_cache import RequestCache

TENANT = b"t" * 16
USAGE = json.dumps(
    {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 2},
    }
).encode()


def _request(messages: int, before: ChatRequest | None = None) -> ChatRequest:
    said = [{"role": "assistant" if at % 2 else "user", "content": f"message {at}"} for at in range(messages)]
    return parse(json.dumps({"model": "m", "messages": said}).encode(), Chain(TENANT), before)


def made(messages: int = 5) -> Callable[[], None]:
    """Does what is done for the exchange of one streamed turn, and nothing else."""
    old = _request(messages - 2)
    chat, chain = _request(messages, old), Chain(TENANT)
    identity = Identity(TENANT, "a", Kind.CHAT)
    call = ChatCall(
        identity=identity,
        dialect=CHAT,
        chain=chain,
        chat=chat,
        mode="auto",
        conversation_id="conv_1",
        brings_no_history=False,
    )
    plan = Whole(Outcome.CONTINUE, Conversation("conv_1", TENANT, "a", 1.0, 1.0))
    before = Prompt("m", old.path.messages, heads=heads(chain, (), b"", None), form=AS_IT_CAME)
    metrics, recent = Metrics(), RequestCache(1 << 20)

    def exchange() -> None:
        progress = Progress(1000, 1.0, b"abcd")
        progress.received, progress.sent, progress.head, progress.first = 1.001, 1.002, 1.5, 1.6
        progress.call, progress.plan, progress.status, progress.streamed = call, plan, 200, True
        top = heads(chain, chat.system, b"", before.heads)
        progress.prompt = prompt = Prompt("m", chat.path.messages, heads=top, form=AS_IT_CAME)
        progress.difference = difference(before, prompt)
        recent.went("conv_1", chat, prompt)
        told = exchange_of(progress, 2.0, Answered(b"parent", (b"reply",), "m", "stop", tokens_of(USAGE)))
        progress.recorded = ("complete",)
        tell(metrics, progress, told, 2.1)

    return exchange


def bytecodes(work: Callable[[], None]) -> int:
    """How many a second run executes."""
    counted = 0

    def step(_frame: FrameType, event: str, _argument: Any) -> Any:
        nonlocal counted
        counted += event == "opcode"
        return step

    def enter(frame: FrameType, _event: str, _argument: Any) -> Any:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        return step

    work()
    sys.settrace(enter)
    try:
        work()
    finally:
        sys.settrace(None)
    return counted


def microseconds(work: Callable[[], None], times: int = 50) -> float:
    """Of processor time: the best of many short looks, for what else the machine does only ever adds."""
    best = float("inf")
    gc.freeze()  # as the server does
    for _ in range(1000):
        begun = time.process_time()
        for _ in range(times):
            work()
        best = min(best, (time.process_time() - begun) / times)
    return best * 1e6


if __name__ == "__main__":
    print(bytecodes(made()), *([f"{microseconds(made()):.1f}"] if "--time" in sys.argv else ()))
