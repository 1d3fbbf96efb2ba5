"""All findings, the gravest first."""

from __future__ import annotations

from sidecar.doctor.chats import chats
from sidecar.doctor.evidence import Evidence
from sidecar.doctor.finding import Finding
from sidecar.doctor.messages import messages
from sidecar.doctor.service import arrival, service
from sidecar.doctor.tenants import tenants

__all__ = ["findings", "fine"]


def findings(seen: Evidence) -> list[Finding]:
    """What there is to say, in the order in which to act on it."""
    found = [*arrival(seen), *service(seen), *chats(seen), *messages(seen), *tenants(seen)]
    return sorted(found, key=lambda each: each.level != "change")


def fine(seen: Evidence) -> list[str]:
    """What was looked at, and nothing found."""
    named = bool(seen.id_headers or seen.named_in_body)
    looked_at = (
        ("what arrives", True, arrival),
        ("chat ids", named, chats),
        ("message ids and tasks", named and bool(seen.front), messages),
        ("tenants", bool(seen.understood), tenants),
        ("store and upstream", True, service),
    )
    return [name for name, was, look in looked_at if was and not [*look(seen)]]
