"""In which header a target is told the session of a request, where the profile of its backend names one.

Rules: what a client says there itself stays, unless `session.opaque` is set: the id is a hint, and the client
may know better. A backend that refuses requests without one gets one of its own for each request that is of
no session, such as a title or a temporary chat: never that of a chat, and never the same twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from multidict import CIMultiDict
from yarl import URL

from sidecar.conversation.identity import is_named
from sidecar.random_ids import token
from sidecar.settings import Settings
from sidecar.settings.session_profiles import AUTO, PROFILES, by_answer, by_url

__all__ = ["SessionHeader", "header_for", "header_of_answer"]


class SessionHeader(NamedTuple):
    """The header, and who may say what in it."""

    name: str
    is_required: bool
    is_opaque: bool
    no_id: tuple[str, ...]
    """What clients send that have no id."""

    def applied(self, method: str, headers: CIMultiDict[str], session: str | None) -> CIMultiDict[str]:
        """The headers with the session in them, as far as it belongs there; None for a request of none."""
        is_theirs = is_named(headers.get(self.name), self.no_id)
        if session is None:
            if is_theirs or not self.is_required or method != "POST":
                return headers
            session = f"once_{token(16).hex()}"
        elif is_theirs and not self.is_opaque:
            return headers
        made = headers.copy()
        made[self.name] = session
        return made


def header_for(settings: Settings, base: URL, *, is_upstream: bool) -> SessionHeader | None:
    """That of the backend at this base URL; a profile that the settings name is the upstream's alone."""
    chosen = settings.session.profile
    if chosen == AUTO:
        return _by_auto(settings, by_url(base))
    return _header(settings, chosen) if is_upstream else None


def header_of_answer(settings: Settings, headers: Mapping[str, str], models: bytes) -> SessionHeader | None:
    """That of a backend of which nobody said what it is, by its list of models and the headers of that."""
    return _by_auto(settings, by_answer(headers, models)) if settings.session.profile == AUTO else None


def _by_auto(settings: Settings, name: str) -> SessionHeader | None:
    if not name or not PROFILES[name].by_auto or settings.session.is_by_hand:
        return None
    return _header(settings, name)


def _header(settings: Settings, name: str) -> SessionHeader | None:
    profile = PROFILES.get(name)
    if profile is None or not profile.header or profile.is_kept:
        return None
    return SessionHeader(
        profile.header, profile.is_required, settings.session.opaque, settings.identity.no_id
    )
