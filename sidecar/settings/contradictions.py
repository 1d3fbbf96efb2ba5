"""Which settings are each fine and cannot work together.

Rule: a combination that would lose history, expose a credential or serve nobody stops the start.
"""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec
from typing import NamedTuple

from sidecar.settings.certificates import tls_context
from sidecar.settings.sections import Declaration, Tasks, Tenant
from sidecar.settings.trimming import ModelTrim, Trim
from sidecar.settings.values import DEMO, EVERY_INTERFACE, LOOPBACK, MEMORY, listen_address, upstream_url


class Contradiction(NamedTuple):
    """Settings (dotted names) that are each fine and cannot work together."""

    settings: tuple[str, ...]
    problem: str


def contradictions(settings: Declaration) -> Iterator[Contradiction]:
    """Every combination in `settings` that cannot work, with its cure."""
    yield from _no_tenant(settings.tenant)
    yield from _exposed_credentials(settings)
    yield from _keys_of_tasks(settings.tasks)
    yield from _target(settings)
    yield from _targets(settings)
    if settings.admin.listen and _overlap(settings.admin.listen, settings.listen):
        yield Contradiction(
            ("admin.listen", "listen"), "both are one address; give another port, or leave admin.listen empty"
        )
    if settings.admin.inspector == "on" and not settings.admin.listen:
        yield Contradiction(
            ("admin.inspector", "admin.listen"),
            "the inspector has an address of its own alone; give admin.listen one, such as 127.0.0.1:8791",
        )
    if settings.session.slot_files and not settings.session.slots:
        yield Contradiction(
            ("session.slot_files", "session.slots"),
            "no slot is known to be a chat's; set session.slots to the engine's number of slots (-np)",
        )
    yield from _nothing_recognised(settings)
    if settings.encryption.key.get_secret_value() and settings.encryption.key_file:
        yield Contradiction(
            ("encryption.key", "encryption.key_file"), "the key is given twice; take one of the two out"
        )
    yield from _too_tight(settings.trim)
    yield from _never_reached(settings.trim)
    if settings.keys.enforcement != "off" and settings.store == MEMORY:
        yield Contradiction(
            ("keys.enforcement", "store"), "nobody can give keys to clients in a store in memory; set a file"
        )
    if settings.workers > 1 and settings.store == MEMORY:
        yield Contradiction(
            ("workers", "store"), "several workers cannot share a store in memory; set a file, or workers = 1"
        )
    if settings.traces.requests and not _has_opentelemetry():
        yield Contradiction(
            ("traces.requests",),
            "OpenTelemetry is not installed: pip install 'conversation-sidecar[otel]', or leave this out",
        )
    for name, url in (
        ("upstream", settings.upstream),
        ("tasks.upstream", settings.tasks.upstream),
        ("summary.upstream", settings.summary.upstream),
        *(("targets", url) for each in settings.targets for url in each.url),
    ):
        if _is_itself(settings, url):
            yield Contradiction(
                (name, "listen"), "the upstream is the sidecar itself; give the model server's address"
            )


def _has_opentelemetry() -> bool:
    try:
        found = [find_spec(f"opentelemetry.{each}") for each in ("sdk.trace", "exporter.otlp.proto.http")]
    except ModuleNotFoundError:  # not even the package that it would be in
        return False
    return None not in found


def _no_tenant(tenant: Tenant) -> Iterator[Contradiction]:
    signed = bool(tenant.user_jwt_header and tenant.user_jwt_secret.get_secret_value())
    if tenant.mode == "user" and not tenant.user_headers and not signed:
        yield Contradiction(
            ("tenant.mode", "tenant.user_headers"),
            "no header names the user to tell tenants by; fill tenant.user_headers, or set"
            " tenant.user_jwt_secret",
        )
    if tenant.mode.startswith("credential") and not tenant.credential_headers:
        yield Contradiction(
            ("tenant.mode", "tenant.credential_headers"),
            'no header holds the credential to tell tenants by; fill the list, or choose "user" or "fixed"',
        )
    if tenant.user_jwt_secret.get_secret_value() and not tenant.user_jwt_header:
        yield Contradiction(
            ("tenant.user_jwt_secret", "tenant.user_jwt_header"),
            "the token has a key and no header to come in; name the header or take the secret out",
        )


def _exposed_credentials(settings: Declaration) -> Iterator[Contradiction]:
    secret = {name.lower() for name in (*settings.tenant.credential_headers, "Authorization", "Cookie")}
    for name, headers in (
        ("identity.headers", settings.identity.headers),
        ("identity.agent_headers", settings.identity.agent_headers),
        ("identity.message_id_header", (settings.identity.message_id_header,)),
        ("identity.user_message_id_header", (settings.identity.user_message_id_header,)),
        ("identity.parent_id_header", (settings.identity.parent_id_header,)),
        ("session.headers", settings.session.own_headers),
    ):
        if shared := [header for header in headers if header.lower() in secret]:
            yield Contradiction(
                (name, "tenant.credential_headers"),
                f"{shared[0]} carries the credential, ids are stored as they are; use a header of its own",
            )


def _keys_of_tasks(tasks: Tasks) -> Iterator[Contradiction]:
    key = bool(tasks.api_key.get_secret_value())
    for name, given in (("api_key", key), ("forward_credential", tasks.forward_credential)):
        if given and not tasks.upstream:
            yield Contradiction(
                (f"tasks.{name}", "tasks.upstream"),
                "without an upstream of their own tasks go with the client's credential; give a URL, or leave"
                " this out",
            )
    if key and tasks.forward_credential and tasks.upstream:
        yield Contradiction(
            ("tasks.api_key", "tasks.forward_credential"),
            "a request carries one credential; take the key out, or leave the client's at home",
        )


def _target(settings: Declaration) -> Iterator[Contradiction]:
    target = settings.target
    key, cert = bool(target.api_key.get_secret_value()), bool(target.client_cert)
    if target.replace_credential and not key:
        yield Contradiction(
            ("target.replace_credential", "target.api_key"),
            "there is no key to put in the place of the client's; give one, or leave this out",
        )
    static = {name.lower() for name in target.headers}
    if key and "authorization" in static:
        yield Contradiction(
            ("target.api_key", "target.headers"), "both set Authorization; take one of the two out"
        )
    identity = settings.identity
    named = (*identity.headers, *identity.agent_headers, *settings.session.own_headers)
    if shared := static & {name.lower() for name in named}:
        yield Contradiction(
            ("target.headers", "session.headers"),
            f"{sorted(shared)[0]} names a conversation, and this would name all of them alike; take it out",
        )
    if target.client_key and not cert:
        yield Contradiction(
            ("target.client_key", "target.client_cert"), "the key has no certificate; name its file as well"
        )
    if cert:
        try:
            tls_context("", target.client_cert, target.client_key)
        except ValueError as error:
            yield Contradiction(("target.client_cert", "target.client_key"), str(error))
    for section, own in (("tasks", settings.tasks), ("summary", settings.summary)):
        if own.proxy.get_secret_value() and not own.upstream:
            yield Contradiction(
                (f"{section}.proxy", f"{section}.upstream"),
                "without an upstream of their own these requests go through target.proxy; leave this out, or"
                " give a URL",
            )


def _targets(settings: Declaration) -> Iterator[Contradiction]:
    names = [each.name for each in settings.targets]
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Contradiction(("targets",), f"two of them are called {name!r}; give each a name of its own")
    identity = settings.identity
    chats = (*identity.headers, *identity.agent_headers, *settings.session.headers)
    named = {name.lower() for name in chats}
    for each in settings.targets:
        static = {name.lower() for name in each.headers}
        if each.api_key.get_secret_value() and "authorization" in static:
            yield Contradiction(
                ("targets",),
                f"api_key and headers of {each.name!r} both set Authorization; take one of the two out",
            )
        if shared := static & named:
            yield Contradiction(
                ("targets", "session.headers"),
                f"{sorted(shared)[0]} names a conversation, and {each.name!r} would name all of them alike;"
                " take it out",
            )
        if each.resolve and (len(each.url) > 1 or each.proxy.get_secret_value()):
            yield Contradiction(
                ("targets",),
                f"resolve of {each.name!r} is for one URL that is reached directly; take it, the other URLs"
                " or the proxy out",
            )
        if each.client_key and not each.client_cert:
            yield Contradiction(
                ("targets",), f"the client_key of {each.name!r} has no certificate; name its file as well"
            )
        if each.client_cert:
            try:
                tls_context("", each.client_cert, each.client_key)
            except ValueError as error:
                yield Contradiction(("targets",), f"client_cert of {each.name!r}: {error}")


def _nothing_recognised(settings: Declaration) -> Iterator[Contradiction]:
    if settings.identity.headers or settings.history.mode == "off":
        return
    if settings.history.mode == "append":
        yield Contradiction(
            ("history.mode", "identity.headers"),
            "a client that sends only what is new has to name its conversation; fill identity.headers",
        )
    elif settings.identity.fallback == "none":
        yield Contradiction(
            ("identity.headers", "identity.fallback"),
            'no request has a conversation; name a header, or set history.mode to "off" to keep nothing',
        )


def _too_tight(trim: Trim) -> Iterator[Contradiction]:
    if trim.keep_first_turn is not True:
        return
    # The first turn is a question and its answer, the newest one at least a question.
    rules: tuple[Trim | ModelTrim, ...] = (trim, *trim.models)
    for rule in rules:
        for name, limit, least in (("max_turns", rule.max_turns, 2), ("max_messages", rule.max_messages, 3)):
            if limit is not None and limit < least:
                yield Contradiction(
                    (
                        "trim.models" if isinstance(rule, ModelTrim) else f"trim.{name}",
                        "trim.keep_first_turn",
                    ),
                    f"{limit} is not enough for the first turn and the newest; give {least} or more",
                )


def _never_reached(trim: Trim) -> Iterator[Contradiction]:
    seen: set[str] = set()
    for rule in trim.models:
        if earlier := seen & {rule.match, "*"}:
            yield Contradiction(
                ("trim.models",),
                f"the table for {rule.match!r} is never reached, since {earlier.pop()!r} stands before it;"
                " put it first or take it out",
            )
        seen.add(rule.match)


def _overlap(one: str, other: str) -> bool:
    (host, port), (there, other_port) = listen_address(one), listen_address(other)
    return port == other_port != 0 and (host == there or bool({host, there} & set(EVERY_INTERFACE)))


def _is_itself(settings: Declaration, url: str) -> bool:
    if url in ("", DEMO):
        return False
    (here, port), there = listen_address(settings.listen), upstream_url(url)
    same = {here, *LOOPBACK} if here in {*EVERY_INTERFACE, *LOOPBACK} else {here}
    return there.port == port and there.host in same
