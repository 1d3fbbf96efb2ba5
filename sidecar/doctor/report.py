"""The examination as one JSON object, for `GET /-/doctor`."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from sidecar import __version__
from sidecar.doctor.advice import connection_headers
from sidecar.doctor.evidence import Evidence
from sidecar.doctor.findings import findings, fine
from sidecar.doctor.outages import Outage, told
from sidecar.doctor.samples import EMPTY, UNFILLED, RequestSamples, SilentCuts
from sidecar.doctor.targets import TargetState
from sidecar.settings import Settings

__all__ = ["report"]


def report(
    settings: Settings,
    samples: RequestSamples,
    last: int | None,
    store: str,
    upstream: str,
    outages: Sequence[Outage] = (),
    slots: Sequence[tuple[str, str]] = (),
    targets: Sequence[TargetState] = (),
) -> dict[str, Any]:
    """What was seen of the last requests (all that are remembered where `last` is None), and what to do.
    `outages`: when the store failed; `slots`: why slots are not saved, the cure; `targets`: how they are."""
    shown = samples.last(last)
    cuts, outages = _met(samples.cuts, outages, shown[0].at if last is not None and shown else None)
    said = [*map(told, outages)]
    seen = Evidence(
        settings,
        shown,
        samples.models_listed,
        store,
        upstream,
        said,
        slots,
        targets,
        cuts,
    )
    found = findings(seen)
    return {
        "sidecar": __version__,
        "ok": not any(each.level == "change" for each in found),
        "fine": fine(seen),
        "requests": _requests(seen, samples),
        "chat_id": _chat_id(seen),
        "message_ids": {name: seen.filled(name) for name in seen.message_id_headers},
        "tasks": _tasks(seen),
        "tenant": _tenant(seen),
        "outcomes": dict(Counter(each.outcome for each in seen.chats if each.outcome)),
        "refused": dict(Counter(each.refusal for each in seen.chats if each.refusal)),
        "answers": dict(Counter(str(each.status) for each in seen.chats if each.status)),
        "store": store,
        "upstream": upstream,
        "targets": {each.name: {"state": each.state, "members": dict(each.members)} for each in targets},
        "store_outages": [*map(_outage, outages)],
        "silently_cut": {
            name: {"counted": each.tokens, "estimated": each.estimated, "requests": each.times}
            for name, each in cuts.items()
        },
        "findings": [each.as_json() for each in found],
        "connection_headers": connection_headers(settings),
    }


def _met(
    cuts: Mapping[str, SilentCuts], outages: Sequence[Outage], oldest: float | None
) -> tuple[Mapping[str, SilentCuts], Sequence[Outage]]:
    """Of these what requests met of which the oldest began then; None: all. Whoever looks at the newest alone
    wants to see whether a cure works."""
    if oldest is None:
        return cuts, outages
    kept = {name: found for name, each in cuts.items() if (found := each.since(oldest))}
    return kept, [each for each in outages if each.until is None or each.until >= oldest]


def _outage(outage: Outage) -> dict[str, Any]:
    return {
        "since": outage.since,
        "until": outage.until,
        "requests_lost": outage.lost,
        "requests_refused": outage.refused,
    }


def _requests(seen: Evidence, samples: RequestSamples) -> dict[str, Any]:
    now = time.time()
    return {
        "chats": len(seen.chats),
        "remembered_at_most": seen.settings.doctor.remember,
        "newest_seconds_ago": round(now - seen.chats[-1].at) if seen.chats else None,
        "running_seconds": round(now - samples.since),
        "clients": dict(Counter(map(seen.client, seen.chats)).most_common(5)),
        "other_apis": dict(seen.others),
        "models_listed": seen.models_listed,
        "without_answer": sum(not each.status for each in seen.chats),
    }


def _chat_id(seen: Evidence) -> dict[str, Any]:
    headers = seen.settings.identity.headers
    return {
        "headers": dict(seen.id_headers),
        "body": seen.named_in_body,
        "none": len(seen.without_id),
        "empty": sum(any(seen.state(each, name) == EMPTY for name in headers) for each in seen.without_id),
        "unfilled": sum(any(seen.state(each, name) == UNFILLED for name in headers) for each in seen.chats),
        "elsewhere": dict(Counter(name for each in seen.chats for name in each.elsewhere).most_common(5)),
        "without_id": seen.settings.identity.fallback,
        "kinds": dict(Counter(each.kind for each in seen.understood)),
        "conversations": seen.conversations,
    }


def _tasks(seen: Evidence) -> dict[str, Any]:
    header = seen.settings.tasks.header
    return {
        "header": header,
        "header_sent": seen.sent(seen.chats, header),
        "by_header": sum(each.task == "header" for each in seen.chats),
        "by_opening": sum(each.task == "opening" for each in seen.chats),
    }


def _tenant(seen: Evidence) -> dict[str, Any]:
    rules = seen.settings.tenant
    users = Counter(name for each in seen.chats if (name := seen.user_header(each)))
    credentials = Counter(name for each in seen.chats if (name := seen.credential_header(each)))
    return {
        "rule": rules.mode,
        "signed_users": bool(rules.user_jwt_secret.get_secret_value()),
        "credential_headers": dict(credentials),
        "user_headers": dict(users),
        "own_keys": sum(each.has_key for each in seen.understood),
        "tenants": len({each.tenant for each in seen.understood}),
    }
