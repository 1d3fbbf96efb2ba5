"""The last request of each conversation that is under way, to recognise the unchanged front of the next by,
and the last prompt that went upstream, to see what is new about the next one.

Comparing bytes is a hundred times cheaper than reading and hashing them. Bounded by the memory that the
requests take, read as they are: of tiny messages that is a hundred times their bytes. The conversation that
was longest silent goes first, and whichever was silent for ten minutes; while all of them take much, for two.
Nothing depends on it but speed and what is told of prompts: a request that is not held is read again.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from sidecar.dialects.base import Request
from sidecar.exchange.outcome import Counted
from sidecar.exchange.prompt import Prompt

__all__ = ["RequestCache"]

_SILENCE, _SHORT_SILENCE = 600.0, 120.0  # seconds
_LITTLE = 24 << 20  # bytes of memory in which conversations may be silent for long
_MAX_NAME_LENGTH = 256  # characters; a longer one is no model's
_MEMORY_PER_MESSAGE = 100  # bytes of memory for a message beside its own


class RequestCache:
    """Requests and prompts by conversation id, which holds the tenant; at most `room` bytes of memory."""

    def __init__(self, room: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._room = room
        self._taken = 0
        self._held: OrderedDict[str, _Held] = OrderedDict()  # the longest silent first
        self._clock = clock

    def last(self, conversation: str | None) -> Request | None:
        """The last request of this conversation, if it is still held."""
        held = self._held.get(conversation) if conversation else None
        return held.request if held else None

    def prompt(self, conversation: str) -> Prompt | None:
        """What went upstream the last time in this conversation, if it is still held."""
        held = self._held.get(conversation)
        return held.prompt if held else None

    def counted(self, conversation: str) -> Counted | None:
        """How that was counted, if it has been."""
        held = self._held.get(conversation)
        return held.counted if held else None

    def count(self, conversation: str, prompt: Prompt, counted: Counted | None) -> None:
        """This prompt was counted so; held if that is."""
        held = self._held.get(conversation)
        if held is not None and held.prompt is prompt:
            held.counted = counted

    def keep(self, conversation: str | None, request: Request) -> None:
        """Hold this request in place of the one before it."""
        if conversation is None:
            return
        held = self._held.get(conversation) or _Held()
        held.request = request
        self._hold(conversation, held, request.weight, held.prompt_weight, request.model)

    def went(self, conversation: str, request: Request, prompt: Prompt) -> None:
        """This prompt went upstream for that request: hold it in place of the one before it."""
        held = self._held.get(conversation) or _Held()
        held.prompt, held.counted = prompt, None
        if prompt.form is None or prompt.form.rule != "client":
            weight = sum([len(each.raw) + _MEMORY_PER_MESSAGE for each in prompt.sent])
        else:  # its messages are those of the request
            weight = 0 if held.request is request else request.weight
        if held.request is request and weight == held.prompt_weight:
            return  # it is held just now, and takes no more
        self._hold(conversation, held, held.request_weight, weight, prompt.model)

    def forget_silent(self) -> None:
        """Hold no longer what was silent for long."""
        now = self._clock()
        while self._held:
            name = next(iter(self._held))
            if now - self._held[name].at <= (_SHORT_SILENCE if self._taken > _LITTLE else _SILENCE):
                return
            self._pop(name)

    def _pop(self, conversation: str) -> None:
        held = self._held.pop(conversation, None)
        if held is not None:
            self._taken -= held.request_weight + held.prompt_weight

    def _hold(
        self, name: str, held: _Held, request_weight: int, prompt_weight: int, model: str | None
    ) -> None:
        weight = request_weight + prompt_weight
        if weight > self._room or (model is not None and len(model) > _MAX_NAME_LENGTH):
            self._pop(name)  # nobody else's has to go for what cannot be held, or no model answers
            return
        self._taken += weight - held.request_weight - held.prompt_weight
        held.request_weight, held.prompt_weight = request_weight, prompt_weight
        held.at = self._clock()
        self._held[name] = held
        self._held.move_to_end(name)
        while self._taken > self._room:
            self._pop(next(iter(self._held)))


class _Held:
    """What is held of one conversation, and the memory that each of the two takes."""

    __slots__ = ("at", "counted", "prompt", "prompt_weight", "request", "request_weight")

    def __init__(self) -> None:
        self.request: Request | None = None
        self.prompt: Prompt | None = None
        self.counted: Counted | None = None
        self.request_weight = self.prompt_weight = 0
        #: When it was last asked for, in seconds.
        self.at = 0.0
