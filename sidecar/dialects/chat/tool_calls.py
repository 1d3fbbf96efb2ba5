"""The tool calls of one message, put together from their pieces.

Rules, in this order:

1. An id that is known names its call. Else the `index` does; else the position in the list. Among pieces
   with an index, one that has neither goes on with the call before it; so do arguments alone at an index that
   is new while that call is still open, for some count pieces in it.
2. Another call begins where the piece has a name and the call that it would go on with is finished, unless it
   only repeats that call, which no list does by itself; and where it has another id, but no index that would
   tell.
3. The name is settled when the arguments have begun; before that its pieces are put together.
4. The arguments are the pieces in a row, if that is JSON. Else each piece may have told all that went before
   once more, or the last one may be the whole, behind what is finished: behind anything else it is the end of
   arguments that broke off.

Every rule takes time that grows with the pieces, never with what they add up to. The table of the dialects
behind them is in `deltas`.
"""

from __future__ import annotations

from operator import attrgetter
from typing import Any

import msgspec

from sidecar.dialects.chat.brackets import Brackets
from sidecar.dialects.chat.joining import OBJECT, Growing, encode, merge

__all__ = ["Calls", "FunctionCall"]

_FARTHEST = (
    2**31
)  # an index beyond it is none; nor are there so many that differ in no bit that a table looks at
_NOTHING = frozenset(("{}", "null", '""'))  # arguments that some servers begin with, before the real ones
_SHORT = 8  # characters, of which those may take up some
_is_json = msgspec.json.Decoder(msgspec.Raw).decode


class Calls(Growing):
    """All calls of a message. `finished`: will nothing more come?"""

    __slots__ = ("_at", "_calls", "_indexed", "_last_order", "_latest", "_named", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._indexed = False
        self._calls: list[_Call] = []
        self._at: dict[int, _Call] = {}
        self._named: dict[str, _Call] = {}
        self._last_order = 0
        self._latest: _Call | None = None

    def add(self, pieces: list[Any]) -> None:
        """Take the list of one delta."""
        known = len(self._calls)
        for position, told in enumerate(pieces):
            if isinstance(told, dict):
                piece = _Piece(told)
                call = self._call_of(piece, position, known, alone=len(pieces) == 1)
                call.add(piece)
                self._latest = call
                if piece.id is not None and call.key == str(piece.id):
                    self._named[call.key] = call

    def value(self) -> list[dict[str, Any]]:
        calls = sorted(filter(attrgetter("says_something"), self._calls), key=attrgetter("order"))
        return [call.value(self.finished) for call in calls]

    def _call_of(self, piece: _Piece, position: int, known: int, *, alone: bool) -> _Call:
        """The call that a piece belongs to. `known`: how many had begun before the list that it is in."""
        if piece.place is None:
            if alone and self._indexed and self._latest is not None and piece.is_nameless:
                return self._latest
            place, order = ~position - _FARTHEST, position  # apart from what an index names
            there = self._at.get(place) or self._at.get(position)
        else:
            place = order = piece.place
            there = self._at.get(place)
            self._indexed = True
            if piece.id is None and not piece.name:  # as nearly every piece
                if there is not None:
                    return there
                if piece.has_arguments and self._latest is not None and self._latest.is_open:
                    return self._latest
        held = there if piece.id is None else self._named.get(str(piece.id), there)
        is_new = there is None or (held is there and piece.id is None and there.number >= known)
        if held is None or piece.opens_another(held, is_new):
            held = _Call(order if there is None else self._last_order, len(self._calls))
            self._calls.append(held)
            self._last_order = max(self._last_order, held.order)
        self._at[place] = held
        return held


class FunctionCall(Growing):
    """The one call of a message in the deprecated form `function_call`."""

    __slots__ = ("_call", "finished")

    def __init__(self) -> None:
        self.finished = False
        self._call = _Call(0)

    def add(self, told: Any) -> None:
        """Take the value of one delta."""
        if isinstance(told, dict) and told:
            self._call.add(_Piece({"function": told}))

    def value(self) -> dict[str, Any]:
        function: dict[str, Any] = self._call.value(self.finished).get("function", {})
        return function


class _Piece:
    """One element of a delta's `tool_calls`. Of another type than it should be is as good as missing."""

    __slots__ = ("arguments", "function", "id", "name", "place", "rest")

    def __init__(self, told: dict[str, Any]) -> None:
        self.rest = dict(told)
        self.place = _place(self.rest.pop("index", None))
        function = self.rest.pop("function", None)
        if function is None and "custom" not in told and not {"name", "arguments"}.isdisjoint(told):
            function = {key: self.rest.pop(key) for key in ("name", "arguments") if key in told}
        self.function = dict(function) if isinstance(function, dict) else None
        name, self.arguments = None, None
        if self.function is not None:
            name, self.arguments = self.function.pop("name", None), self.function.pop("arguments", None)
        self.name = name if isinstance(name, str) else ""
        id = self.rest.pop("id", None)
        self.id = None
        if type(id) in (str, int, float):
            self.rest["id"] = id
            self.id = id if id != "" else None

    @property
    def is_nameless(self) -> bool:
        """Does it not say which call it belongs to?"""
        return self.place is None and self.id is None and not self.name

    @property
    def has_arguments(self) -> bool:
        """Does it say how a text of arguments goes on?"""
        return type(self.arguments) is str and self.arguments != ""

    def opens_another(self, call: _Call, new_place: bool) -> bool:
        """Whether this begins a call of its own, although it names `call` or stands in its place.

        `new_place`: nothing stood there before, or only what came in the same list.
        """
        indexed = self.place is not None
        if self.id is not None and call.key and call.key != str(self.id):
            if not indexed:
                return True
            # vLLM has sent a new id with each piece of one call, so an id alone proves nothing.
            return bool(self.name) and (call.is_finished or (bool(call.name) and call.name != self.name))
        if not self.name or not call.is_finished:
            return False
        if (indexed and new_place) or (not indexed and self.id is None):
            return True
        return not (call.name == self.name and call.arguments.is_repeated_by(self.arguments))


class _Call:
    """One call, as far as it is told. `number`: how many began before it."""

    __slots__ = ("_fields", "_function", "_name", "arguments", "number", "order")

    def __init__(self, order: int, number: int = 0) -> None:
        self.order = order
        self.number = number
        self.arguments = _Arguments()
        self._name = _Name()
        self._fields: dict[str, Any] = {}
        self._function: dict[str, Any] | None = None

    @property
    def key(self) -> str:
        """Its id, as text; empty if it has none."""
        id = self._fields.get("id")
        return "" if id is None else str(id)  # a 0 is one

    @property
    def name(self) -> str:
        return self._name.value()

    @property
    def says_something(self) -> bool:
        """Did anything of it come but a function without a name and its arguments?"""
        if self._function is None:
            return bool(self._fields)
        begun = self._name.pieces or self.arguments.begun or self._function
        return bool(begun or self._fields.keys() - {"type"})

    @property
    def is_finished(self) -> bool:
        """Does it say what to call, and with what?"""
        return bool(self._name.pieces) and self.arguments.are_whole()

    @property
    def is_open(self) -> bool:
        """Does it say what to call, and are its arguments still to come or to end?"""
        return bool(self._name.pieces) and not self.arguments.are_whole()

    def add(self, piece: _Piece) -> None:
        if piece.rest:
            merge(self._fields, piece.rest, OBJECT)
        if piece.function is None:
            return
        if piece.name and not (self._name.pieces and self.arguments.begun):
            self._name.add(piece.name)
        self.arguments.add(piece.arguments)
        if piece.function or self._function is None:
            self._function = merge(self._function or {}, piece.function, OBJECT)

    def value(self, finished: bool) -> dict[str, Any]:
        fields = dict(self._fields)
        if self._function is None:
            return fields
        id = {"id": fields.pop("id")} if "id" in fields else {}
        type = fields.pop("type", None)
        name = {"name": self.name} if self._name.pieces else {}
        arguments = self.arguments.value() or ("{}" if finished else "")
        return {
            **id,
            "type": type if isinstance(type, str) and type else "function",
            "function": {**name, "arguments": arguments, **self._function},
            **fields,
        }


class _Name(Growing):
    """A name: in pieces, or so far once more with each of them."""

    __slots__ = ("_length", "pieces")

    def __init__(self) -> None:
        self.pieces: list[str] = []
        self._length = 0

    def add(self, piece: str) -> None:
        # OpenAI's SDKs differ here: Python's puts the fragments together, Node's keeps the last one. Python's
        # way loses nothing when a name comes in pieces. But upstreams that repeat it are common.
        if self.pieces and len(piece) >= self._length and piece.startswith(self.value()):
            self.pieces, self._length = [], 0
        self.pieces.append(piece)
        self._length += len(piece)

    def value(self) -> str:
        return "".join(self.pieces)


class _Arguments:
    """The arguments of a call: text in pieces, or an object that some servers send in place of a text."""

    __slots__ = ("_brackets", "_length", "_object", "_pieces")

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._length = 0
        self._object: Any = None
        self._brackets = Brackets()

    @property
    def begun(self) -> bool:
        return bool(self._pieces) or self._object is not None

    def add(self, told: Any) -> None:
        if isinstance(told, str):
            if told and (self._object is None or told.strip()):
                self._object = None
                self._pieces.append(told)
                self._length += len(told)
        elif isinstance(told, (dict, list)) and (told or not self.begun):
            self._object = told

    def value(self) -> str:
        if self._object is not None:
            return encode(self._object).decode()
        text = "".join(self._pieces)
        if len(self._pieces) < 2 or _reads(text):
            return text
        *before, newest = self._pieces
        readings = (_as_told_again(self._pieces), newest if Brackets().are_closed(before) else text)
        return next((each for each in readings if _reads(each)), text)

    def are_whole(self) -> bool:
        """Is every bracket closed that was opened? Looks only at what it has not seen before."""
        if self._object is not None:
            return True
        return self._brackets.are_closed(self._pieces) and self._length > 0

    def is_repeated_by(self, told: Any) -> bool:
        """Does `told` say nothing else than what is here, or say it for the first time?"""
        if not isinstance(told, str):
            return told is None or told == self._object or self._says_nothing
        if not told.strip() or self._says_nothing:
            return True
        if self._pieces and told == self._pieces[-1]:
            return True
        readings = ("".join(self._pieces), _as_told_again(self._pieces))
        return self._length > 0 and told.startswith(readings)

    @property
    def _says_nothing(self) -> bool:
        if self._object is not None:
            return not self._object
        return self._length < _SHORT and "".join(self._pieces).strip() in _NOTHING


def _as_told_again(pieces: list[str]) -> str:
    """The text, if a piece that begins with all that went before tells it once more."""
    told: list[str] = []
    length = 0
    for piece in pieces:
        is_told_again = length <= len(piece) and piece.startswith("".join(told))
        if is_told_again or (length < _SHORT and "".join(told).strip() in _NOTHING):
            told, length = [], 0
        told.append(piece)
        length += len(piece)
    return "".join(told)


def _place(index: Any) -> int | None:
    if type(index) is str and len(index) < 10 and index.isdecimal():
        return int(index)
    if type(index) is float and index.is_integer():
        index = int(index)
    return index if type(index) is int and abs(index) < _FARTHEST else None


def _reads(text: str) -> bool:
    try:
        _is_json(text)
    except (ValueError, RecursionError):
        return False
    return True
