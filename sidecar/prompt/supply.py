"""What an upstream demands back and the client has dropped, put in from what is stored of the same path.

Rules: a call is the stored call if id, name and arguments (as JSON) are equal; an answer without calls, if
its normal form is. Reasoning goes back only to the model that made it, under the name that is demanded. Where
there is none to give, a placeholder stands for it, made from the message: it differs from one to the next
(one filler on many makes models answer nothing: lingtai-kernel#9), and is the same in every request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

from sidecar.conversation.message import Fields, call_forms, encode, normal_form, text_of
from sidecar.conversation.reasoning import REASONING_FIELDS
from sidecar.conversation.tree import Node
from sidecar.prompt.form import CALL, EVERY_ANSWER, SIGNATURE, SYSTEM_FIRST, VALID_SIGNATURE
from sidecar.prompt.rebuild import Outgoing

__all__ = ["NOTHING_HELD", "Held", "held", "needs_what_is_held", "supplied", "system_first"]

#: Documented for a call without one: https://ai.google.dev/gemini-api/docs/thought-signatures
_NO_SIGNATURE = "skip_thought_signature_validator"
# Before what the application says, where it has to come from the user.
_BY_THE_APPLICATION = "[A message of the system]\n\n"
_SYSTEM = ("system", "developer")
# Fields that hold nothing but text, and may stand for each other; the others are signed, or structured.
_AS_TEXT = ("reasoning_content", "reasoning", "reasoning_text")


@dataclass(slots=True, frozen=True)
class Held:
    """Stored answers: by each of their calls, by the ids of those, and those without calls by normal form."""

    by_call: dict[bytes, Node] = field(default_factory=dict)
    by_id: dict[str, Node] = field(default_factory=dict)
    by_form: dict[bytes, Node] = field(default_factory=dict)


NOTHING_HELD = Held()


def held(path: Iterable[Node], *, calls_only: bool = False) -> Held:
    """What there is to give back on a stored path. `calls_only`: of answers with calls alone."""
    known = Held()
    for node in path:
        if node.role != "assistant" or node.state != "complete":
            continue
        fields = node.fields
        calls = _calls(fields)
        for call in calls:
            known.by_call[_identity(call)] = node
            known.by_id[str(call.get("id"))] = node
        if not calls and not calls_only:
            known.by_form[normal_form(fields)] = node
    return known


def supplied(
    line: Sequence[Outgoing], wanted: frozenset[str], known: Held, model: str | None
) -> list[Outgoing]:
    """The messages with all that is wanted (words of `form.SUPPLIED`), as far as there is any to give."""
    told = _with_calls(line, known) if CALL in wanted else list(line)
    names = wanted & REASONING_FIELDS
    if not names and not wanted & {SIGNATURE, VALID_SIGNATURE}:
        return told
    return [_completed(each, wanted, names, known, model) for each in told]


def needs_what_is_held(wanted: frozenset[str]) -> bool:
    """Is anything of what is stored wanted (words of `form.SUPPLIED`)?"""
    return bool(wanted - {SYSTEM_FIRST})


def system_first(line: Iterable[Outgoing]) -> list[Outgoing]:
    """The messages behind the leading ones, none of which is a system message: those are marked, and the
    user's."""
    return [_by_the_user(each) if each.role in _SYSTEM else each for each in line]


def _by_the_user(each: Outgoing) -> Outgoing:
    content = _BY_THE_APPLICATION + text_of(each.fields)
    return Outgoing("user", encode({"role": "user", "content": content}), restored=True, node=each.node)


def _completed(
    each: Outgoing, wanted: frozenset[str], names: frozenset[str], known: Held, model: str | None
) -> Outgoing:
    """One message, with what its model is to read of its own."""
    if each.role != "assistant":
        return each
    fields = each.fields
    calls = _calls(fields)
    if not calls and EVERY_ANSWER not in wanted:
        return each
    node = _stored(fields, calls, known)
    own = node.fields if node is not None and node.model == model else {}
    changed = {name: value for name in sorted(names) if (value := _reasoning(fields, own, name)) is not None}
    if calls and wanted & {SIGNATURE, VALID_SIGNATURE}:
        signed = _signed(calls, _calls(own), replace_unknown=VALID_SIGNATURE in wanted)
        if signed != calls:
            changed["tool_calls"] = signed
    if not changed:
        return each
    raw = encode({**fields, **changed})
    at = each.node or (node.id if node else None)
    return Outgoing(each.role, raw, restored=True, node=at, told=each.told)


def _stored(fields: Fields, calls: list[dict[str, Any]], known: Held) -> Node | None:
    """The stored answer that this one is."""
    return known.by_call.get(_identity(calls[0])) if calls else known.by_form.get(normal_form(fields))


def _reasoning(fields: Fields, own: Fields, name: str) -> Any:
    """This reasoning field's value for a message that lacks it; None where it has one, or none can be."""
    if fields.get(name):
        return None
    if own.get(name):
        return own[name]
    if name not in _AS_TEXT:
        return None
    for other in _AS_TEXT:
        if told := own.get(other) or fields.get(other):
            return told
    return f"(The reasoning of this step was not kept: {_mark(fields)}.)"


def _mark(fields: Fields) -> str:
    return blake2b(normal_form(fields), digest_size=4).hexdigest()


def _signed(
    calls: list[dict[str, Any]], stored: list[dict[str, Any]], *, replace_unknown: bool
) -> list[dict[str, Any]]:
    """The calls with the extras that they were made with; the first with a signature in any case."""
    extras = {_identity(call): call.get("extra_content") for call in stored}
    signed = []
    for at, call in enumerate(calls):
        extra = extras.get(_identity(call))
        if extra and (replace_unknown or not _signature(call)):
            signed.append({**call, "extra_content": extra})
        elif at == 0 and (replace_unknown or not _signature(call)):
            signed.append({**call, "extra_content": {"google": {"thought_signature": _NO_SIGNATURE}}})
        else:
            signed.append(call)
    return signed


def _signature(call: dict[str, Any]) -> Any:
    extra = call.get("extra_content")
    google = extra.get("google") if isinstance(extra, dict) else None
    return google.get("thought_signature") if isinstance(google, dict) else None


def _with_calls(line: Sequence[Outgoing], known: Held) -> list[Outgoing]:
    """The line with the call in front of each result that comes without one."""
    told: list[Outgoing] = []
    open_calls: set[str] = set()
    for at, each in enumerate(line):
        if each.role != "tool":
            open_calls = {str(call.get("id")) for call in _calls(each.fields)}
        elif _of_result(each) not in open_calls:
            results = _results(line, at)
            node = known.by_id.get(_of_result(each))
            if node is not None:
                told.append(_asking(told, node, results))
                open_calls |= results
        told.append(each)
    return told


def _results(line: Sequence[Outgoing], at: int) -> set[str]:
    """The ids of the results that stand here, one behind another."""
    ids = set()
    for each in line[at:]:
        if each.role != "tool":
            break
        ids.add(_of_result(each))
    return ids


def _of_result(each: Outgoing) -> str:
    return str(each.fields.get("tool_call_id"))


def _asking(told: list[Outgoing], node: Node, results: set[str]) -> Outgoing:
    """The message that makes those of the node's calls that these results answer.

    An answer of the client's in front of it is that message, without its calls: then it stands in its place.
    """
    fields = node.fields
    calls = [call for call in _calls(fields) if str(call.get("id")) in results]
    before = told.pop().fields if told and told[-1].role == "assistant" else fields
    kept = {name: before[name] for name in ("role", "content") if name in before}
    return Outgoing("assistant", encode({**kept, "tool_calls": calls}), restored=True, node=node.id)


def _identity(call: dict[str, Any]) -> bytes:
    """What is equal for two calls exactly when they are the same one, whatever other fields they have."""
    function = call.get("function")
    told = (
        {name: function.get(name) for name in ("name", "arguments")} if isinstance(function, dict) else None
    )
    (form,) = call_forms({"tool_calls": [{"id": call.get("id"), "function": told}]})
    return form


def _calls(fields: Fields) -> list[dict[str, Any]]:
    made = fields.get("tool_calls")
    return [call for call in made if isinstance(call, dict)] if isinstance(made, list) else []
