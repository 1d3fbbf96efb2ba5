"""Where a request may say who it is: every place of a credential, of a user and of a conversation's name.

Rules: every place in which gateways take keys counts for the tenant, so that what the upstream acts on is
what told the tenant. Cookies do not count, they change. What may be said once is refused where it is said
twice in different words: one reader takes the first value, the next one the last (RFC 9110, 5.3: only lists
may come in several fields). Names of headers and parameters count in any case; in headers `_` is `-`, as
CGI and its successors (RFC 3875, 4.1.18) read them.

A credential is written down as values in fixed places, and behind them `name:value` for each further
place that has one: a place that is added here changes the tenant only of those who use it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple
from urllib.parse import parse_qsl

import msgspec
from multidict import CIMultiDictProxy

from sidecar.errors import BadRequest
from sidecar.settings import Settings
from sidecar.settings.credentials import CREDENTIAL_HEADERS, FIRST_HEADERS

__all__ = ["Places", "credential_of", "names_of", "parameters_of", "places_of", "refuse_doubled"]

# Those that have a fixed place.
_FIRST_PARAMETERS = ("key", "api_key", "api-key")
_NO_PARAMETERS = ("",) * len(_FIRST_PARAMETERS)


class Places(NamedTuple):
    """All names in lower case but those of `headers`, which have a fixed place each."""

    headers: tuple[str, ...]
    further: frozenset[str]
    credentials: frozenset[str]
    parameters: frozenset[str]
    #: Headers that may not come twice with different values.
    single: frozenset[str]
    #: Headers of `session.headers` in which only the sidecar speaks to the upstream.
    own: tuple[str, ...]
    #: Headers by which agents name their chats, `own` ones included: read where no chat header has a value.
    agents: tuple[str, ...]


def places_of(settings: Settings) -> Places:
    """The places that these settings name."""
    tenant, chat = settings.tenant, settings.identity.headers
    usual = tenant.credential_headers == CREDENTIAL_HEADERS
    headers = FIRST_HEADERS if usual else tenant.credential_headers
    credentials = frozenset(name.lower() for name in (*tenant.credential_headers, "Authorization"))
    own = _besides(chat, settings.session.own_headers)
    agents = (*own, *_besides((*chat, *own), settings.identity.agent_headers))
    named = (*chat, *agents, *tenant.user_headers, tenant.user_jwt_header)
    return Places(
        headers=headers,
        further=credentials - {name.lower() for name in (*headers, "Authorization")},
        credentials=credentials,
        parameters=frozenset(name.lower() for name in tenant.credential_parameters),
        single=credentials | {name.lower() for name in named if name},
        own=own,
        agents=agents,
    )


def _besides(known: Iterable[str], names: Iterable[str]) -> tuple[str, ...]:
    """The names that are not among the known ones, in any case."""
    lowered = {name.lower() for name in known}
    return tuple(name for name in names if name.lower() not in lowered)


def names_of(headers: Iterable[str]) -> list[str]:
    """The names of a request's headers in lower case."""
    return "\n".join(headers).lower().split("\n")


def refuse_doubled(places: Places, headers: CIMultiDictProxy[str], names: Sequence[str]) -> None:
    """Raises `BadRequest` where a name that may come once has several values."""
    single = set(names)
    if len(single) == len(headers):
        return
    for name in sorted(single):
        if name in places.single and len(set(headers.getall(name))) > 1:
            raise _doubled(f"the header {name}", name)


def parameters_of(places: Places, target: str) -> dict[str, str]:
    """The parameters of a request target that hold a credential. Raises `BadRequest` where one has several
    values.

    Bytes that are no UTF-8 stay apart, where a replacement character would make two keys one.
    """
    found: dict[str, str] = {}
    if "?" not in target:
        return found
    query = target.partition("#")[0].partition("?")[2]
    for spelled, value in parse_qsl(query, keep_blank_values=True, errors="surrogateescape"):
        name = spelled.lower()
        if name in places.parameters and found.setdefault(name, value) != value:
            raise _doubled(f"the parameter {name}", name)
    return found


def credential_of(
    places: Places,
    headers: Mapping[str, str],
    names: Sequence[str],
    parameters: Mapping[str, str] | None = None,
) -> str | None:
    """All credentials of a request, None if it has none: who sends a shared one and one of his own is told
    apart by the second."""
    header = headers.get
    values = [header(name, "") for name in places.headers]
    if parameters or "_" in "".join(names) or not places.further.isdisjoint(names):
        return _with_further(places, headers, names, values, parameters or {})
    values += _NO_PARAMETERS
    return "\n".join(values) if any(values) else None


def _with_further(
    places: Places,
    headers: Mapping[str, str],
    names: Sequence[str],
    values: list[str],
    parameters: Mapping[str, str],
) -> str | None:
    values += [parameters.get(name, "") for name in _FIRST_PARAMETERS]
    further = [each for each in names if each in places.further]
    further += [each for each in names if "_" in each and each.replace("_", "-") in places.credentials]
    labelled = {f"{name}:{headers[name]}" for name in further if headers[name]}
    for name, value in parameters.items():
        if value and name not in _FIRST_PARAMETERS:
            labelled.add(f"?{name}:{value}")
    return _written([*values, *sorted(labelled)]) if labelled or any(values) else None


def _written(values: list[str]) -> str:
    """Values never run together: only those of parameters can hold the line end that parts them."""
    if any("\n" in value for value in values):
        return (
            "\n" + msgspec.json.encode([value.encode("utf-8", "surrogatepass") for value in values]).decode()
        )
    return "\n".join(values)


def _doubled(what: str, name: str) -> BadRequest:
    return BadRequest(
        f"{what} came twice with different values; it says who asks, so send it once",
        code="duplicate_identity",
        param=name,
    )
