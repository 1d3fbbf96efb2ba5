"""Refusals of which it is known what they say, packed and wrapped in any way, and bytes changed in them.

What must hold: packing changes nothing of what is read, and nothing raises. A window is told only if it
stands in the error.
"""

from __future__ import annotations

import json
import random
import re
import time
from typing import Any

from sidecar.dialects.base import Overflow
from sidecar.dialects.chat.form_refusal import form_refusal
from sidecar.dialects.chat.overflow import recognised
from tests.dialects import wordings
from tests.dialects.test_form_refusal import DEMANDS
from tests.fuzz.guided import changed
from tests.fuzz.process import Findings

__all__ = ["one", "run"]

_ERRORS = (400, 402, 413, 422, 500, 503)
_LENGTHS = {text: Overflow(*numbers) for text, numbers in wordings.REFUSALS.items()}
_OTHERS = dict.fromkeys(wordings.NO_REFUSALS)
_KEYS = ("error", "message", "detail", "errors", "msg", "raw", "result", "fault")
_MORE: tuple[tuple[str, Any], ...] = (
    *(("param", None), ("code", 400), ("type", "invalid_request_error"), ("object", "error")),
    *(("request_id", "req_1"), ("success", False), ("loc", ["body", 0]), ("code", None)),
)


def run(seconds: float, seed: int, most: int = 0) -> Findings:
    """Read refusals for so long, or `most` of them; end with the first that is read wrongly."""
    found, chance = Findings(), random.Random(seed)
    end = time.monotonic() + seconds
    while not found.tried or (found.tried < most if most else time.monotonic() < end):
        found.tried += 1
        try:
            one(chance)
        except Exception as error:  # whatever it is, it is a finding
            found.faults.append(f"--seed {seed}: {error!r}"[:4000])
            break
    return found


def one(chance: random.Random) -> None:
    """Check one refusal of each kind, and what becomes of its bytes."""
    text, expected = chance.choice(list((_LENGTHS if chance.random() < 0.5 else _OTHERS).items()))
    body = _packed(chance, text)
    read = recognised(chance.choice(_ERRORS), body)
    assert read == expected, (body, read)
    said, demanded = chance.choice(DEMANDS)
    refused = _packed(chance, said)
    form = form_refusal(chance.choice((400, 422)), refused)
    assert form is not None, refused
    assert form.demanded == demanded, (refused, form)
    odd = changed(chance, body, [refused])
    form_refusal(chance.choice((200, 400, 500)), odd)
    told = recognised(chance.choice((200, 400)), odd, chance.choice((b"", odd, body)))
    assert told is None or told.limit is None or told.limit in _numbers(odd), (odd, told)


def _packed(chance: random.Random, text: str) -> bytes:
    """The text as an error, in as many layers as gateways put around it."""
    value: Any = text
    for _ in range(chance.randrange(5)):
        value = chance.choice((_in_an_object, _in_an_object, _in_a_list, _in_a_text))(chance, value)
    if isinstance(value, str) and chance.random() < 0.5:
        return value.encode()
    return json.dumps(value, ensure_ascii=chance.random() < 0.5, indent=chance.choice((None, 2))).encode()


def _in_an_object(chance: random.Random, value: Any) -> Any:
    members = [chance.choice(_MORE) for _ in range(chance.randrange(3))]
    members.insert(chance.randrange(len(members) + 1), (chance.choice(_KEYS), value))
    return dict(members)


def _in_a_list(chance: random.Random, value: Any) -> Any:
    return [value, *([{}] if chance.random() < 0.3 else [])]


def _in_a_text(_chance: random.Random, value: Any) -> Any:
    """As proxies repeat the error of the server behind them."""
    return value if isinstance(value, str) else f"Error code: 400 - {json.dumps(value)}"


def _numbers(body: bytes) -> set[int]:
    return {int(each.replace(b",", b"")) for each in re.findall(rb"\d[\d,]*", body)}
