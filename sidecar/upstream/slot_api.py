"""What llama.cpp's server does with its slots: tells of them, writes one to a file, reads it, empties it.

Rule: nothing here raises. What cannot be done is None, or `Refused` where the engine says that it does no
such thing; what the engine says beside is read with bounds.

Source: llama.cpp, tools/server/README.md, `GET /slots` and `POST /slots/{id_slot}?action=…`.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, NamedTuple

import msgspec
from multidict import CIMultiDict

from sidecar.conversation.exchange_record import count_of
from sidecar.errors import SidecarError
from sidecar.upstream.target import Fetched, Target

__all__ = ["NEEDS_FOLDER", "Engine", "Refused", "Slot", "left_in_slot"]

log = logging.getLogger("sidecar.proxy")

#: What to do about a server that does not save slots.
NEEDS_FOLDER = "start llama-server with --slot-save-path and a folder, and without --no-slots"
_MAX_ANSWER = 4 << 20  # bytes
_NO_SUCH_THING = frozenset((404, 405, 501))
_TIMED = (b"cache_n", b"prompt_n", b"predicted_n")
_TIMING = re.compile(rb'"(cache_n|prompt_n|predicted_n)" ?: ?(\d{1,9})')
_decode = msgspec.json.Decoder().decode


class Refused(NamedTuple):
    """The engine does not do that."""

    status: int


class Slot(NamedTuple):
    """What the engine tells of a slot: whether it is at work, the number of its last work, and how many
    tokens are in it; None: it had no work yet, or the engine does not say."""

    is_busy: bool
    task: int | None
    tokens: int | None


class Engine:
    """A server and the headers (a credential among them) that it is asked with."""

    def __init__(self, target: Target, headers: Mapping[str, str]) -> None:
        self._target = target
        self._headers = headers

    async def look(self, timeout: float) -> dict[int, Slot] | Refused | None:
        """Its slots by their numbers."""
        told = await self._ask("GET", "/slots", None, timeout)
        if isinstance(told, Refused):
            return told
        if type(told) is not list:
            return None
        return {
            each["id"]: _slot(each) for each in told if type(each) is dict and type(each.get("id")) is int
        }

    async def saves_slots(self, timeout: float) -> bool | None:
        """Does it save them? Asked with a name that no file can have, so nothing is written."""
        answer = await self._fetched("POST", "/slots/0?action=save", b'{"filename":"/"}', timeout)
        if answer is None or answer.status not in (400, *_NO_SUCH_THING):
            return None
        return answer.status == 400

    async def save(self, slot: int, name: str, timeout: float) -> int | Refused | None:
        """Write it to this file; gives the number of tokens."""
        return await self._act(slot, "save", name, "n_saved", timeout)

    async def restore(self, slot: int, name: str, timeout: float) -> int | Refused | None:
        """Read it from this file; gives the number of tokens. Where that fails the slot is empty."""
        return await self._act(slot, "restore", name, "n_restored", timeout)

    async def erase(self, slot: int, timeout: float) -> bool:
        """Empty it."""
        return type(await self._act(slot, "erase", "", "n_erased", timeout)) is int

    async def model(self, timeout: float) -> str | None:
        """What it is that it runs, as far as it tells: what another one has written means nothing to it."""
        properties = await self._ask("GET", "/props", None, timeout)
        if type(properties) is not dict:
            return None
        listed = await self._ask("GET", "/v1/models", None, timeout)
        lora = await self._ask("GET", "/lora-adapters", None, timeout)
        data = listed.get("data") if type(listed) is dict else None
        meta = [each.get("meta") for each in data if type(each) is dict] if type(data) is list else None
        told = [properties.get(name) for name in ("model_path", "model_alias", "model_ftype", "build_info")]
        known = msgspec.json.encode([told, meta, lora if type(lora) is list else None], order="sorted")
        return blake2b(known, digest_size=16).hexdigest()

    async def _act(
        self, slot: int, action: str, name: str, count: str, timeout: float
    ) -> int | Refused | None:
        body = msgspec.json.encode({"filename": name} if name else {})
        told = await self._ask("POST", f"/slots/{slot}?action={action}", body, timeout)
        if isinstance(told, Refused):
            return told
        return count_of(told.get(count)) if type(told) is dict else None

    async def _ask(self, method: str, path: str, body: bytes | None, timeout: float) -> Any:
        answer = await self._fetched(method, path, body, timeout)
        if answer is not None and answer.status in _NO_SUCH_THING:
            return Refused(answer.status)
        if answer is None or answer.status != 200 or answer.is_cut:
            return None
        try:
            return _decode(answer.body)
        except (ValueError, RecursionError):
            return None

    async def _fetched(self, method: str, path: str, body: bytes | None, timeout: float) -> Fetched | None:
        headers = CIMultiDict(self._headers)
        headers["Accept"], headers["Accept-Encoding"] = "application/json", "identity"
        if body is not None:
            headers["Content-Type"] = "application/json"
        try:
            return await self._target.fetch(
                method, path, headers, body, timeout=timeout, limit=_MAX_ANSWER, attempts=1
            )
        except SidecarError as error:
            log.debug("an engine did not answer about its slots", extra={"error": error.message})
            return None


def left_in_slot(reply: bytes) -> tuple[int, int] | None:
    """How many tokens a reply and its prompt are, and how many of those the engine had, by the `timings` that
    stand at the reply's end (JSON or a stream); None if it has none that can be read."""
    _, name, timings = reply.rpartition(b'"timings"')
    found = dict(_TIMING.findall(timings))
    if not name or len(found) < len(_TIMED):
        return None
    cached, fresh, said = (int(found[name]) for name in _TIMED)
    return cached + fresh + said, cached


def _slot(told: Mapping[str, Any]) -> Slot:
    task = told.get("id_task")
    return Slot(
        told.get("is_processing") is not False,
        task if type(task) is int and task >= 0 else None,
        count_of(told.get("n_prompt_tokens")),
    )
