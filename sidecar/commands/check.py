"""`sidecar check`: what the upstream is, its windows, what it demands, and how it takes a session.

Rule: nothing is asked of a model. Lists are read with the key of the settings; what is not known is said so.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Collection, Iterator, Mapping
from typing import NamedTuple

from multidict import CIMultiDict

from sidecar.background.model_windows import ModelWindows
from sidecar.doctor.backends import PROBES, Backend, demands, known_backend, known_by_probe
from sidecar.errors import SidecarError
from sidecar.metrics import Metrics
from sidecar.printable import printable
from sidecar.prompt.model_lists import Window, names
from sidecar.settings import Settings
from sidecar.settings.session_profiles import AUTO, NONE, PROFILES
from sidecar.settings.values import DEMO
from sidecar.upstream.slot_api import NEEDS_FOLDER, Engine
from sidecar.upstream.target import Fetched, Target
from sidecar.upstream.targets import targets_of

__all__ = ["Findings", "lines", "run"]

_TIMEOUT = 10.0  # seconds for one answer
_MAX_LIST_SIZE = 8 << 20  # bytes of a list
_SHOWN = 8  # models of which something is said, before the rest is a number
_NOT_HERE = (401, 403)
_SLOTS = {
    None: "it did not say whether it saves them",
    False: f"it does not save them: {NEEDS_FOLDER}",
    True: "it saves them. A model with sliding windows (Gemma, gpt-oss) needs --swa-full as well; if chats"
    " come back in vain, `sidecar doctor` says so",
}
_ONLY_DEMO = """\
No upstream is set in the settings that this command reads (flags, environment, --config), but for the
built-in demo, which needs no session and has no window. A running sidecar was not asked.
Next: give the URL that it was started with, `sidecar check --upstream URL`.
"""


class Findings(NamedTuple):
    """What was found out."""

    status: int
    backend: Backend
    models: frozenset[str]
    windows: Mapping[str, Window]
    #: Does it save slots? None: nobody has asked, or it did not say.
    saves_slots: bool | None = None


async def run(settings: Settings) -> int:
    """Print it; returns the exit code: 0 if the list of models could be read. Raises `SidecarError`."""
    if settings.upstream == DEMO:
        sys.stdout.write(_ONLY_DEMO)
        return 0
    targets = targets_of(settings, Metrics())
    try:
        found = await _found(settings, targets.default)
    finally:
        await targets.close()
    told = "".join(f"{line}\n" for line in lines(settings, found))
    sys.stdout.write(printable(told, lines=True))
    return 0 if found.status == 200 else 1


async def _found(settings: Settings, target: Target) -> Findings:
    listed = await _get(target, "/v1/models")
    models = listed.body if listed.status == 200 and not listed.is_cut else b""
    backend = known_backend(settings.upstream_base, listed.headers, models)
    if not backend.title or not backend.profile:
        backend = await _probed(target) or backend
    windows = await ModelWindows(settings, target, _spawn).asked("", CIMultiDict()) if models else {}
    saves = await Engine(target, {}).saves_slots(_TIMEOUT) if settings.session.slot_files else None
    return Findings(listed.status, backend, names(models), windows, saves)


def _spawn(_: object) -> asyncio.Task[None]:
    raise AssertionError("nothing is asked in the background here")


async def _probed(target: Target) -> Backend | None:
    for path in PROBES:
        try:
            answer = await _get(target, path)
        except SidecarError:  # then it is none, or too slow to tell
            continue
        if answer.status == 200 and (known := known_by_probe(path, answer.body)) is not None:
            return known
    return None


async def _get(target: Target, path: str) -> Fetched:
    headers = CIMultiDict({"Accept": "application/json", "Accept-Encoding": "identity"})
    return await target.fetch("GET", path, headers, timeout=_TIMEOUT, limit=_MAX_LIST_SIZE, attempts=1)


def lines(settings: Settings, found: Findings) -> Iterator[str]:
    """What is printed."""
    yield f"{settings.upstream_base} answered to /models with {found.status}"
    if found.status in _NOT_HERE:
        yield "  It wants a key: give it as SIDECAR_TARGET__API_KEY, or in a file with --config."
    elif found.status != 200:
        yield "  So its models are not known; the chat may work all the same."
    title, by = found.backend.title, found.backend.known_by
    yield f"what it is   {f'{title}, by {by}' if title else 'not known: it does not say'}"
    yield from _of_models(found)
    yield from _of_reasoning(found)
    yield from _of_session(settings, found.backend)
    if settings.session.slot_files:
        yield f"slots        {_SLOTS[found.saves_slots]}"


def _of_models(found: Findings) -> Iterator[str]:
    if not found.models:
        return
    yield f"models       {_some(sorted(found.models))}"
    told = [
        f"{name} {each.tokens:,} tokens" + ("" if each.by_engine else " (a catalogue's)")
        for name, each in sorted(found.windows.items())
        if name != "*" or len(found.windows) == 1
    ]
    yield (
        f"window       {_some(told)}"
        if told
        else (
            "window       not told: set trim.models, or it is learned when a prompt is refused for its length"
        )
    )
    if any(not each.by_engine for each in found.windows.values()):
        yield (
            "  A catalogue's window is what the model could hold somewhere. Nothing is cut by it: set"
            " trim.models, or it is learned when a prompt is refused for its length."
        )


def _of_reasoning(found: Findings) -> Iterator[str]:
    demanded = demands(found.models)
    for field, models in demanded.items():
        yield (
            f"reasoning    {_some(models)}: demands {field} back with answers that have tool calls; where a"
            " client drops it the sidecar restores it"
        )
    if found.models and not demanded:
        yield "reasoning    none of its models is known to demand any back"


def _of_session(settings: Settings, backend: Backend) -> Iterator[str]:
    session, profile = settings.session, PROFILES.get(backend.profile)
    if profile is None:
        said = ", ".join(session.own_headers) or "nothing"
        yield f"session      it is not known to take any; sent: {said}"
        return
    yield f"session      takes {profile.name_told}: {profile.does} ({profile.source})"
    if session.profile == backend.profile or (
        session.profile == AUTO and profile.by_auto and not session.is_by_hand
    ):
        yield "  The sidecar sends it."
    elif profile.header.lower() in map(str.lower, session.headers) and profile.header:
        yield "  The sidecar sends it, as session.headers says."
    elif profile.body_field and profile.body_field == session.field:
        yield "  The sidecar sends it, as session.body_field says."
    else:
        why = {AUTO: "by itself it does not", NONE: "session.profile is none"}
        yield (
            f"  The sidecar does not send it ({why.get(session.profile, 'another profile is set')}): set"
            f' session.profile = "{backend.profile}"'
        )


def _some(things: Collection[str]) -> str:
    shown = list(things)[:_SHOWN]
    more = len(things) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more else "")
