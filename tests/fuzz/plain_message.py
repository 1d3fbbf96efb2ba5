"""The message that deltas make, put together slowly and plainly (see `plain`)."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

__all__ = ["calls_of", "clean", "joined"]

IN_PIECES = {"text", "output_text", "thinking", "reasoning", "reasoning_text", "summary_text"}
ONCE = {"role", "id", "type", "signature", "thought_signature"}


def joined(deltas: list[dict[str, Any]], *, finished: bool) -> dict[str, Any]:
    """The message that these deltas make."""
    message: dict[str, Any] = {}
    lists: list[list[Any]] = []
    functions: list[dict[str, Any]] = []
    for delta in deltas:
        for key, value in delta.items():
            if key == "content" and value is None:
                message.setdefault(key, None)
            if value is None:
                continue
            if key == "tool_calls":
                lists.append(value if isinstance(value, list) else [value])
                message[key] = []
            elif key == "function_call":
                if isinstance(value, dict) and value:
                    functions.append({"index": 0, "function": value})
                message[key] = {}
            else:
                message[key] = _join(key, message.get(key), value, at_top=True)
    if lists:
        message["tool_calls"] = calls_of(lists, finished=finished)
    if functions:
        message["function_call"] = _written(_one_call(functions), finished)["function"]
    said = {key: value for key, value in message.items() if value or not isinstance(value, (list, dict))}
    said["role"] = "assistant"
    if said.get("content") is None and set(said) <= {"role", "content"}:
        said["content"] = ""
    return said


def _join(key: str, held: Any, value: Any, *, at_top: bool = False) -> Any:
    if value is None:
        return held
    if key in ONCE or (key == "reasoning_opaque" and at_top):
        return held or value
    if at_top and key == "content":
        return _content(held, value)
    if at_top and key == "thinking_blocks" and isinstance(held, list) and isinstance(value, list):
        for block in value:
            held = _parts(held, [block]) if held else [block]
        return held
    if at_top and key == "reasoning_details":
        if not isinstance(value, list):
            return held if _is_details(held) else _plain(held, value)
        held = held if _is_details(held) else _Details()
        for piece in value:
            index = piece.get("index") if isinstance(piece, dict) else None
            usable = type(index) is int and abs(index) < 2**31
            recent = [each for each in held if usable and _has_index(each, index)][-8:]
            same = [each for each in recent if all(_alike(each, piece, name) for name in ("type", "id"))]
            if same:
                _merge(same[-1], piece, once={*ONCE, "format"})
            else:
                held.append(dict(piece) if isinstance(piece, dict) else piece)
        return held
    return _plain(held, value)


class _Details(list):
    """Details, as opposed to a list that came in another way."""


def _is_details(held: Any) -> bool:
    return isinstance(held, _Details)


def _has_index(each: Any, index: Any) -> bool:
    return isinstance(each, dict) and type(each.get("index")) is int and each["index"] == index


def _alike(one: dict[str, Any], other: dict[str, Any], name: str) -> bool:
    return not (one.get(name) and other.get(name) and one[name] != other[name])


def _plain(held: Any, value: Any) -> Any:
    if held is None or (isinstance(held, str) and held == ""):
        return value
    if isinstance(value, str) and value == "":
        return held
    if isinstance(held, str) and isinstance(value, str):
        return held + value
    if isinstance(held, dict) and isinstance(value, dict):
        return _merge(dict(held), value)
    if isinstance(held, list) and isinstance(value, list):
        return type(held)([*held, *value])
    return value


def _merge(held: dict[str, Any], delta: dict[str, Any], once: set[str] = ONCE, parts: bool = False) -> Any:
    for key, value in delta.items():
        if value is None:
            continue
        if key in once:
            held[key] = held.get(key) or value
        elif parts and key in ("thinking", "reasoning", "summary", "content"):
            held[key] = _parts(held.get(key), value)
        else:
            held[key] = _plain(held.get(key), value)
    return held


def _content(held: Any, value: Any) -> Any:
    if isinstance(value, dict):
        value = [value]
    if isinstance(held, list) and held and isinstance(value, str):
        value = [{"type": "text", "text": value}] if value else []
    if isinstance(held, str) and held and isinstance(value, list):
        held = [{"type": "text", "text": held}]
    return _parts(held, value)


def _parts(held: Any, value: Any) -> Any:
    if isinstance(value, list) and not value:
        return value if held is None else held
    if not (isinstance(held, list) and held and isinstance(value, list)):
        return _plain(held, value)
    last, first = held[-1], value[0]
    if (
        isinstance(last, dict)
        and isinstance(first, dict)
        and isinstance(first.get("type"), str)
        and first["type"] in IN_PIECES
        and last.get("type") == first["type"]
        and last.get("index") == first.get("index")
        and not last.get("signature")
    ):
        return [*held[:-1], _merge(dict(last), first, parts=True), *value[1:]]
    return [*held, *value]


def calls_of(lists: list[list[Any]], *, finished: bool) -> list[dict[str, Any]]:
    """The calls that these lists of pieces make."""
    calls: list[dict[str, Any]] = []
    at: dict[Any, dict[str, Any]] = {}
    latest, indexed, last_order = None, False, 0
    for pieces in lists:
        known = list(calls)
        for position, piece in enumerate(pieces):
            if not isinstance(piece, dict):
                continue
            index, id, name = _index(piece), _id(piece), _function(piece).get("name")
            name = name if isinstance(name, str) else ""
            nameless = index is None and not id and not name
            if nameless and len(pieces) == 1 and indexed and latest is not None:
                latest["pieces"].append(piece)
                continue
            if index is None:
                place = ("position", position)
                there = at.get(place) or at.get(("index", position))
            else:
                place, indexed = ("index", index), True
                there = at.get(place)
                if there is None and not id and not name and latest and _is_open(latest):
                    arguments = _function(piece).get("arguments")
                    if isinstance(arguments, str) and arguments:
                        latest["pieces"].append(piece)
                        continue
            named = [call for call in calls if id in call["known_as"]]
            call = named[-1] if named else there
            is_new = there is None or (call is there and not id and not any(each is call for each in known))
            if call is None or _opens_another(call, piece, index, id, name, new_place=is_new):
                order = position if index is None else index
                call = {"order": order if there is None else last_order, "pieces": [], "known_as": set()}
                last_order = max(last_order, call["order"])
                calls.append(call)
            at[place] = latest = call
            call["pieces"].append(piece)
            if id and str(_told(call)["fields"].get("id")) == id:
                call["known_as"].add(id)
    said = [call for call in calls if _says_something(call)]
    return [_written(call, finished) for call in sorted(said, key=lambda call: call["order"])]


def _is_open(call: dict[str, Any]) -> bool:
    told = _told(call)
    return bool(told["name"]) and told["object"] is None and not _is_balanced(told["pieces"])


def _says_something(call: dict[str, Any]) -> bool:
    told = _told(call)
    if told["rest"] is None:
        return bool(told["fields"])
    begun = told["pieces"] or told["object"] is not None
    return bool(told["name"] or begun or told["rest"] or set(told["fields"]) - {"type"})


def _one_call(pieces: list[dict[str, Any]]) -> dict[str, Any]:
    return {"pieces": pieces}


def _index(piece: dict[str, Any]) -> int | None:
    index = piece.get("index")
    if type(index) is str and len(index) < 10 and index.isdecimal():
        return int(index)
    if type(index) is float and index.is_integer():
        index = int(index)
    return index if type(index) is int and abs(index) < 2**31 else None


def _id(piece: dict[str, Any]) -> str:
    id = piece.get("id")
    return str(id) if id != "" and type(id) in (str, int, float) else ""


def _function(piece: dict[str, Any]) -> dict[str, Any]:
    function = piece.get("function")
    if function is None and "custom" not in piece:
        return {key: piece[key] for key in ("name", "arguments") if key in piece}
    return function if isinstance(function, dict) else {}


def _opens_another(
    call: dict[str, Any], piece: dict[str, Any], index: int | None, id: str, name: str, *, new_place: bool
) -> bool:
    told = _told(call)
    held_id = "" if told["fields"].get("id") is None else str(told["fields"]["id"])
    complete = bool(told["name"]) and (told["object"] is not None or _is_balanced(told["pieces"]))
    if id and held_id and id != held_id:
        if index is None:
            return True
        return bool(name) and (complete or (bool(told["name"]) and told["name"] != name))
    if not name or not complete:
        return False
    if (index is not None and new_place) or (index is None and not id):
        return True
    return not (told["name"] == name and _is_repeated(told, _function(piece).get("arguments")))


def _is_repeated(told: dict[str, Any], arguments: Any) -> bool:
    text = "".join(told["pieces"])
    says_nothing = (
        not told["object"] if told["object"] is not None else len(text) < 8 and text.strip() in NOTHING
    )
    if not isinstance(arguments, str):
        return arguments is None or arguments == told["object"] or says_nothing
    so_far = (text, _told_again(told["pieces"]))
    again = arguments in told["pieces"][-1:] or (text != "" and arguments.startswith(so_far))
    return not arguments.strip() or says_nothing or again


NOTHING = ("{}", "null", '""')


def _is_balanced(pieces: list[str]) -> bool:
    depth, in_text, escaped = 0, False, False
    for piece in pieces:
        for letter in piece:
            if escaped:
                escaped = False
            elif letter == "\\":
                escaped = True
            elif letter == '"':
                in_text = not in_text
            elif not in_text:
                depth += (letter in "{[") - (letter in "}]")
        escaped = escaped and in_text  # outside of a text it is no JSON, and means nothing
    return any(pieces) and depth == 0 and not in_text


def _told(call: dict[str, Any]) -> dict[str, Any]:
    """What the pieces of one call say."""
    told: dict[str, Any] = {"name": "", "pieces": [], "object": None, "fields": {}, "rest": None}
    for piece in call["pieces"]:
        function = piece.get("function")
        is_flat = function is None and "custom" not in piece and ("name" in piece or "arguments" in piece)
        skipped = {"index", "function", *(("name", "arguments") if is_flat else ())}
        fields = {key: value for key, value in piece.items() if key not in skipped}
        if isinstance(fields.get("id"), bool) or not isinstance(fields.get("id", ""), (str, int, float)):
            del fields["id"]
        _merge(told["fields"], fields)
        if not isinstance(function, dict) and not is_flat:
            continue
        function = _function(piece)
        name, arguments = function.get("name"), function.get("arguments")
        begun = bool(told["pieces"]) or told["object"] is not None
        if isinstance(name, str) and name and not (told["name"] and begun):
            told["name"] = name if name.startswith(told["name"]) else told["name"] + name
        if isinstance(arguments, str):
            if arguments and (told["object"] is None or arguments.strip()):
                told["object"] = None
                told["pieces"].append(arguments)
        elif isinstance(arguments, (dict, list)) and (arguments or not begun):
            told["object"] = arguments
        rest = {key: value for key, value in function.items() if key not in ("name", "arguments")}
        told["rest"] = _merge(told["rest"] or {}, rest)
    return told


def _written(call: dict[str, Any], finished: bool) -> dict[str, Any]:
    told = _told(call)
    fields = told["fields"]
    if told["rest"] is None:
        return fields
    kind = fields.get("type")
    arguments = _arguments(told) or ("{}" if finished else "")
    name = {"name": told["name"]} if told["name"] else {}
    return {
        **fields,
        "type": kind if isinstance(kind, str) and kind else "function",
        "function": {**name, "arguments": arguments, **told["rest"]},
    }


def _arguments(told: dict[str, Any]) -> str:
    if told["object"] is not None:
        return msgspec.json.encode(clean(told["object"])).decode()
    text = "".join(told["pieces"])
    if len(told["pieces"]) < 2 or _is_json(text):
        return text
    *before, newest = told["pieces"]
    readings = (_told_again(told["pieces"]), newest if _is_balanced(before) else text)
    return next((each for each in readings if _is_json(each)), text)


def _told_again(pieces: list[str]) -> str:
    again = ""
    for piece in pieces:
        is_new = piece.startswith(again) or (len(again) < 8 and again.strip() in NOTHING)
        again = piece if is_new else again + piece
    return again


def _is_json(text: str) -> bool:
    def refuse(_: str) -> None:
        raise ValueError

    try:
        text.encode()
        json.loads(text, parse_constant=refuse)
    except (ValueError, RecursionError):
        return False
    return True


def clean(value: Any) -> Any:
    """The value as JSON can hold it: halves of characters put together or replaced, no infinity."""
    text = json.dumps(value, ensure_ascii=False)
    text = re.sub(r"(?<![\w\"])-?Infinity(?![\w\"])", "null", text)
    return json.loads(text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
