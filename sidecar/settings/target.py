"""The section on how the default upstream is reached."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from yarl import URL

from sidecar.settings.certificates import certificate_file, trust
from sidecar.settings.section import Section
from sidecar.settings.values import HeaderToSend, Key

__all__ = ["CaFile", "File", "Headers", "Proxy", "TargetOptions"]

# What a field may hold (RFC 9110, 5.5), but for bytes that are no ASCII.
_HEADER_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")
# Headers that the connection's ends say themselves.
_NOT_STATIC = frozenset({"proxy-authorization", "accept-encoding", "upgrade"})


def _proxy(value: SecretStr) -> SecretStr:
    text = value.get_secret_value()
    if not text:
        return value
    try:
        url = URL(text)
        known = url.scheme == "http" and bool(url.host) and url.port is not None
    except ValueError:
        known = False
    if not known or re.search(r"[\x00-\x20\x7f]", text):
        raise ValueError('is not the URL of an HTTP proxy; give one such as "http://proxy.example:3128"')
    if url.raw_path not in ("", "/") or "?" in text or "#" in text:
        raise ValueError("has something after the port; give the proxy's scheme, host and port alone")
    return value


def _ca_file(path: str) -> str:
    if certificate_file(path):
        trust(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), path)
    return path


def _table(value: Any) -> Any:
    if isinstance(value, str):  # of the environment
        try:
            value = json.loads(value)
        except ValueError:
            value = None
    if not isinstance(value, Mapping):
        raise ValueError('is not a table; write {"X-Name" = "value"}, in the environment a JSON object')
    return value


def _headers(table: dict[str, SecretStr]) -> dict[str, SecretStr]:
    if len({name.lower() for name in table}) < len(table):
        raise ValueError("names a header twice; case makes no difference")
    for name, value in table.items():
        if name.lower() in _NOT_STATIC:
            raise ValueError(f"{name!r} is a header that the connection itself needs; take it out")
        if not _HEADER_VALUE.fullmatch(value.get_secret_value()):
            raise ValueError(f"the value of {name!r} is empty or has characters that no header can carry")
    return table


Proxy = Annotated[SecretStr, AfterValidator(_proxy)]
Headers = Annotated[dict[HeaderToSend, SecretStr], BeforeValidator(_table), AfterValidator(_headers)]
CaFile = Annotated[str, AfterValidator(_ca_file)]
File = Annotated[str, AfterValidator(certificate_file)]


class TargetOptions(Section):
    """How `upstream` is reached, where its URL alone is not enough. Files are read at the start."""

    api_key: Key = Field(
        SecretStr(""),
        description="API key for `upstream`, sent as a bearer token with requests that bring no credential"
        " of their own: whoever can reach the sidecar uses it.",
    )
    replace_credential: bool = Field(
        False,
        description="Send `target.api_key` also in place of the credential headers that a client sends"
        " (`tenant.credential_headers`). They still tell tenants apart, and go no further.",
    )
    headers: Headers = Field(
        {},
        description="Headers that every request to `upstream` carries, as a table; JSON in the environment."
        " They replace the client's headers of the same names. Treated as secrets.",
    )
    proxy: Proxy = Field(
        SecretStr(""),
        description="URL of the HTTP proxy to reach `upstream` through, such as `http://proxy.example:3128`,"
        " with USER:PASSWORD@ before the host if it wants that. Proxies named in the environment"
        " (`HTTPS_PROXY`) are not used.",
    )
    ca_file: CaFile = Field(
        "",
        description="PEM file with certificates of authorities to trust beside the system's, for every"
        " upstream, `tasks.upstream` and `summary.upstream` included.",
    )
    client_cert: File = Field(
        "", description="PEM file with the certificate that identifies the sidecar to `upstream` alone."
    )
    client_key: File = Field(
        "",
        description="PEM file with its private key, without a password; empty if `target.client_cert` has"
        " it.",
    )
