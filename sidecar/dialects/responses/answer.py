"""The deltas of one message as the items of an answer, and the events that tell them.

Rules:

- Reasoning, text and calls are items of their own, in the order in which they begin; what comes after another
  kind, or is said in another phase, is a new item. Calls stay open to the end, since their pieces may come in
  turns.
- Which call a piece belongs to says its id, if that is known; else its index, unless it brings another id and
  a name; else it begins one if it has a name, and goes on with the last one if it has none.
- Some give two calls one id: a piece with a name begins another one where the call of its id is whole, and it
  has an index of its own, or calls another function or with other arguments. Clients tell calls apart by
  their ids, so such a one gets an id of ours, as does one that came without.
- Blank text is no message while something else may follow.
- Half a character waits for its other half: every event is valid by itself.
"""

from __future__ import annotations

from typing import Any

from sidecar.conversation.exchange_record import code_of
from sidecar.dialects.responses.asked import Asked
from sidecar.dialects.responses.drafts import CallDraft, Ended, Event, MessageDraft, ReasoningDraft

__all__ = ["REASONING_FIELDS", "Answer"]

#: Under which names upstreams tell what a model thinks.
REASONING_FIELDS = ("reasoning_content", "reasoning", "reasoning_text")
_HALVES = ("\ud800", "\udbff")  # the first half of a character that UTF-16 writes as two


class Answer:
    """Takes deltas, gives the events that tell them."""

    def __init__(self, asked: Asked, exchange: bytes) -> None:
        self._asked, self._exchange = asked, exchange
        self._events: list[Event] = []
        self._items: dict[int, dict[str, Any]] = {}
        self._places = 0
        self._said: MessageDraft | ReasoningDraft | None = None  # what is open of these two
        self._phase = ""
        self._blank = ""
        self._half = ""
        self._calls: list[CallDraft] = []
        self._at: dict[int, CallDraft] = {}
        self._named: dict[str, CallDraft] = {}  # the newest of each id
        #: So many characters are held.
        self.size = 0

    @property
    def output(self) -> list[dict[str, Any]]:
        """The items that were told to their end, in their order."""
        return [self._items[at] for at in sorted(self._items)]

    def take(self, delta: dict[str, Any], logprobs: Any = None) -> list[Event]:
        """A delta, or a message that came whole."""
        if isinstance(told := delta.get("phase"), str) and (phase := code_of(told)):
            self._phase = phase
        self._think(next((text for name in REASONING_FIELDS if isinstance(text := delta.get(name), str)), ""))
        for is_thought, text in _texts(delta.get("content")):
            if is_thought:
                self._think(text)
            else:
                self._say(text, logprobs)
        if isinstance(refusal := delta.get("refusal"), str) and refusal:
            self.size += len(refusal)
            self._events += self._message().refuse(refusal)
        for annotation in _objects(delta.get("annotations")):
            self._events += self._message().annotate(_flat(annotation))
        calls = delta.get("tool_calls")
        if not calls and isinstance(delta.get("function_call"), dict):
            calls = [{"index": 0, "function": delta["function_call"]}]
        begun = len(self._calls)
        for piece in _objects(calls):
            self._call(piece, begun)
        return self._taken()

    def end(self, ended: Ended) -> list[Event]:
        """The events of its end. Only the last item can be incomplete."""
        if not self._calls and (self._blank or self._half):
            self._events += self._message().say(self._blank + _whole(self._half), [])
        for call in self._calls:
            if not call.is_open and call.name:
                self._open_call(call)
        calls = [call for call in self._calls if call.is_open]
        self._close_said("completed" if calls else ended)
        for call in calls:
            told, self._items[call.at] = call.close(ended if call is calls[-1] else "completed")
            self._events += told
        return self._taken()

    def _taken(self) -> list[Event]:
        events, self._events = self._events, []
        return events

    def _place(self) -> int:
        self._places += 1
        return self._places - 1

    def _mended(self, text: str) -> str:
        """The text in whole characters; what begins one at its end is kept."""
        self.size += len(text)
        text, self._half = self._half + text, ""
        if text and _HALVES[0] <= text[-1] <= _HALVES[1]:
            text, self._half = text[:-1], text[-1]
        return text if text.isascii() else _whole(text)

    def _think(self, text: str) -> None:
        if not text or not (text := self._mended(text)):
            return
        if not isinstance(self._said, ReasoningDraft):
            self._close_said("completed")
            self._blank = ""
            wanted = self._asked.wants_reasoning
            self._said = ReasoningDraft(self._exchange, self._place(), is_wanted_back=wanted)
            self._events += self._said.open()
        self._events += self._said.think(text)

    def _say(self, text: str, logprobs: Any) -> None:
        if not text or not (text := self._mended(text)):
            return
        if not isinstance(self._said, MessageDraft):
            text, self._blank = self._blank + text, ""
            if not text.strip():
                self._blank = text
                return
        content = logprobs.get("content") if isinstance(logprobs, dict) else None
        self._events += self._message().say(text, _objects(content))

    def _message(self) -> MessageDraft:
        """The message that is open; a new one where none is."""
        if not isinstance(self._said, MessageDraft) or self._said.phase != self._phase:
            self._close_said("completed")
            self._said = MessageDraft(self._exchange, self._place(), self._phase)
            self._events += self._said.open()
        return self._said

    def _close_said(self, ended: Ended) -> None:
        if self._said is not None:
            told, self._items[self._said.at] = self._said.close(ended)
            self._events += told
            self._said = None

    def _call(self, piece: dict[str, Any], begun: int) -> None:
        """`begun`: so many calls had when the list came that it is in."""
        function = piece.get("function")
        if not isinstance(function, dict):
            function = {}
        call = self._call_of(piece, function, begun)
        if call is None:
            return
        self.size += call.take(piece.get("id"), function.get("name"), function.get("arguments"))
        if call.given and self._named.setdefault(call.given, call).number < call.number:
            self._named[call.given] = call
        if not call.is_open and call.is_ready:
            self._open_call(call)
        if call.is_open:
            self._events += call.tell()

    def _call_of(self, piece: dict[str, Any], function: dict[str, Any], begun: int) -> CallDraft | None:
        """The call that a piece belongs to; None if there is none, or it only repeats one."""
        id, index, is_named = piece.get("id"), piece.get("index"), bool(function.get("name"))
        there = self._at.get(index) if isinstance(index, int) else None
        same = self._named.get(id) if isinstance(id, str) else None
        known = there if there is not None and same is not None and there.given == id else same
        if known is not None:
            if is_named and known.is_whole:
                is_apart = known.number >= begun or (isinstance(index, int) and there is None)
                if not is_apart and known.is_repeated_by(function):
                    return None
                if is_apart or known.is_another(function):
                    known = None
        elif isinstance(index, int):
            known = None if there is not None and id and is_named and there.given else there
        elif not is_named and self._calls:
            known = self._calls[-1]
        if known is None and (is_named or id or isinstance(index, int)):
            known = CallDraft(
                self._exchange, len(self._calls), self._asked.tools, is_doubled=same is not None
            )
            self._calls.append(known)
        if known is not None and isinstance(index, int):
            self._at[index] = known
        return known

    def _open_call(self, call: CallDraft) -> None:
        self._close_said("completed")
        self._blank = ""
        self._events += call.open(self._place())


def _objects(told: Any) -> list[dict[str, Any]]:
    return [each for each in told if isinstance(each, dict)] if isinstance(told, list) else []


def _texts(content: Any) -> list[tuple[bool, str]]:
    """The texts of a content, and whether each is a thought: some think in parts of it (Mistral)."""
    if isinstance(content, str):
        return [(False, content)]
    texts = []
    for part in _objects(content):
        if part.get("type") == "thinking":
            texts += [(True, text) for _, text in _texts(part.get("thinking"))]
        elif isinstance(part.get("text"), str):
            texts.append((False, part["text"]))
    return texts


def _flat(annotation: dict[str, Any]) -> dict[str, Any]:
    """An annotation as this API writes it: without another object within."""
    within = annotation.get("url_citation")
    return {"type": "url_citation", **within} if isinstance(within, dict) else annotation


def _whole(text: str) -> str:
    """With its halves of characters put together, and a mark for one that is alone."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
