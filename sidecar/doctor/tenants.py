"""Findings about tenants: whose conversations are these, and does everybody have his own?"""

from __future__ import annotations

from collections.abc import Iterator

from sidecar.doctor.advice import HEADERS, SIMPLE, variable
from sidecar.doctor.evidence import Evidence, many
from sidecar.doctor.finding import Finding, change, hint
from sidecar.doctor.samples import RequestSample

__all__ = ["tenants"]

_JWT = "FORWARD_USER_INFO_HEADER_JWT_SECRET"
_SECRET = "SIDECAR_TENANT__USER_JWT_SECRET"  # noqa: S105 - the name of a setting


def tenants(seen: Evidence) -> Iterator[Finding]:
    """What there is to say about who is told from whom."""
    rules = seen.settings.tenant
    yield from _token_refused(seen)
    if rules.mode in ("credential", "fixed"):
        return
    understood = seen.understood
    front = [each for each in seen.front if each.mode]
    if rules.user_jwt_secret.get_secret_value():
        yield from _token_missing(seen, front)
    elif _ignored(seen, front):
        yield _token_ignored(seen)
    else:
        yield from _unfilled(seen)
        yield from _front(seen, front)
    nameless = [
        each
        for each in understood
        if not (each.has_key or seen.credential_header(each) or seen.user_header(each))
    ]
    if nameless and len(nameless) == len(understood) and not front:
        yield hint(
            "nobody_named",
            f"None of {many(len(nameless), 'request')} carries a credential or a user: everybody who"
            " reaches the sidecar is one tenant and can continue everybody's conversations, if he knows"
            " their ids.",
            "Fine for one person. Else let every client send an API key of its own.",
        )


def _token_refused(seen: Evidence) -> Iterator[Finding]:
    if number := sum(each.refusal == "invalid_user_token" for each in seen.chats):
        header = seen.settings.tenant.user_jwt_header
        yield change(
            "user_token_refused",
            f"{many(number, 'request')} got 400 invalid_user_token: {header} was not signed with the"
            " sidecar's secret, or has expired.",
            f"{_JWT} of Open WebUI and {_SECRET} of the sidecar have to be the same text, without quotes"
            " around it; then restart both. If they are, compare the two clocks.",
        )


def _token_missing(seen: Evidence, front: list[RequestSample]) -> Iterator[Finding]:
    header = seen.settings.tenant.user_jwt_header
    missing = [each for each in front if not seen.user_header(each)]
    if missing:
        yield change(
            "user_token_missing",
            f"{len(missing)} of {many(len(front), 'request')} from Open WebUI came without {header}, which"
            " the sidecar has the secret for: unsigned names do not count then, and all its users are one"
            " tenant.",
            f"Start Open WebUI with ENABLE_FORWARD_USER_INFO_HEADERS=true and {_JWT}, the same text as"
            f" {_SECRET}; or leave {_SECRET} out.",
        )


def _ignored(seen: Evidence, front: list[RequestSample]) -> bool:
    token = seen.settings.tenant.user_jwt_header
    return any(seen.sent([each], token) and not seen.user_header(each) for each in front)


def _token_ignored(seen: Evidence) -> Finding:
    return change(
        "user_token_ignored",
        f"Open WebUI names its users in {seen.settings.tenant.user_jwt_header}, signed, and the sidecar"
        " has no secret to verify it with: all its users are one tenant.",
        f"Start the sidecar with {_SECRET}, the same text as {_JWT} of Open WebUI.",
    )


def _unfilled(seen: Evidence) -> Iterator[Finding]:
    for name in seen.settings.tenant.user_headers:
        if number := seen.unfilled(seen.chats, name):
            yield change(
                "user_unfilled",
                f"{many(number, 'request')} carried in {name} a template instead of a user: all users are"
                " one.",
                f'{name} has to be "{{{{USER_ID}}}}" in exactly this spelling; Open WebUI fills it in from'
                f" 0.9.3 on. With an older one take it out, and {SIMPLE}.",
                by_headers=True,
            )


def _front(seen: Evidence, front: list[RequestSample]) -> Iterator[Finding]:
    without = [each for each in front if not seen.user_header(each)]
    if not without or any(seen.unfilled(without, name) for name in seen.settings.tenant.user_headers):
        return
    if len(without) == len(front):
        yield _one_tenant(seen, front)
    else:
        yield hint(
            "some_without_user",
            f"{len(without)} of {len(front)} requests from Open WebUI name no user. The same chat with and"
            " without is two conversations.",
            "Right after a change these may be older requests; run it again with --last.",
        )


def _one_tenant(seen: Evidence, front: list[RequestSample]) -> Finding:
    names = seen.settings.tenant.user_headers
    share = "share one credential" if any(map(seen.credential_header, front)) else "have no credential"
    found = (
        f"Nothing distinguishes the users of Open WebUI: all {len(front)} requests {share} and name no user"
        f" ({' or '.join(names) or 'no header is read for it'}). All its users are one tenant."
    )
    alone = "If only one person uses it, SIDECAR_TENANT__MODE=credential says so."
    if not names:
        return change("one_tenant", found, f"Start the sidecar with SIDECAR_TENANT__USER_HEADERS. {alone}")
    own = next((name for name in names if not name.lower().startswith("x-openwebui-")), None)
    add = f"add {variable(seen.settings, own)} to the headers of the connection, or " if own else ""
    cure = f"{add}{SIMPLE}. {alone}"
    return change("one_tenant", found, cure[0].upper() + cure[1:], by_headers=bool(add) or HEADERS in cure)
