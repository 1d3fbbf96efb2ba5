"""What one value may look like.

Rule: a value that cannot work is refused here, with a sentence that names the cure and never repeats
anything that may hold a credential (a URL's user part, a secret).
"""

from __future__ import annotations

import base64
import ipaddress
import json
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, SecretStr
from yarl import URL

from sidecar.prompt.model_lists import SMALLEST_WINDOW
from sidecar.settings import session_profiles
from sidecar.store.url import address_of, is_postgres

DEMO = "demo"
AUTO = "auto"
MEMORY = "memory:"
LOOPBACK = ("127.0.0.1", "::1", "localhost")
EVERY_INTERFACE = ("0.0.0.0", "::")  # noqa: S104 - named here to be recognised, not to bind
SECRET_LENGTH = 16
ENCRYPTION_KEY_SIZE = 32
OPENING_LENGTH = 10

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+")
# In a URL, before the host or among the parameters.
_PASSWORD = re.compile(r'(://[^:/?#@\s"]*:)[^/@\s"]+(?=@)|([?&](?:ssl)?password=)[^&\s"]+')
_CONTROL = re.compile(r"[\x00-\x20\x7f]")

# Headers that frame a message or belong to one connection: a session id in one of them breaks the request.
_FRAMING = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
# Fields of the request body that already mean something to every upstream.
_BODY_FIELDS = frozenset({"messages", "model", "stream", "stream_options", "tools", "tool_choice", "n"})

# A real turn with documents opens like a task; an opening that fits it would keep such turns unrecorded.
_RAG_TURN = "### Task:\nRespond to the user query using the provided context"


def upstream_url(text: str) -> URL:
    """The base URL that `text` means: `/v1` where no path is given, no trailing slash."""
    url = URL(text)
    return url.with_path(url.raw_path.rstrip("/") or "/v1", encoded=True)


def _upstream(text: str) -> str:
    if text == DEMO:
        return text
    try:
        url = URL(text)
    except ValueError:
        raise ValueError(f'is not a URL; give one such as "http://127.0.0.1:8080/v1", or "{DEMO}"') from None
    if url.raw_user is not None or url.raw_password is not None:
        raise ValueError(
            "holds a user name or password; take it out of the URL and let the client send it (Authorization)"
        )
    if url.scheme not in ("http", "https") or not url.host or _CONTROL.search(text):
        raise ValueError(
            f'is not an absolute http or https URL; give one such as "http://127.0.0.1:8080/v1", or "{DEMO}"'
        )
    if "?" in text or "#" in text:
        raise ValueError(
            "must not have a query or a fragment; give the base URL alone, the client's query is kept"
        )
    if url.path.rstrip("/").endswith("/chat/completions"):
        raise ValueError(
            "must end before /chat/completions; give the base URL as you would give it to an SDK"
        )
    return text


def _other_upstream(text: str) -> str:
    if text == DEMO:
        raise ValueError(f'cannot be "{DEMO}"; give a URL, or leave it empty')
    return _upstream(text) if text else text


def listen_address(text: str) -> tuple[str, int]:
    """(host, port) of HOST:PORT, an IPv6 host without its brackets. Raises ValueError with the cure."""
    host, colon, port = text.rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
        known = _is_ipv6(host)
    else:
        known = _HOST.fullmatch(host) is not None
    if not colon or not known:
        raise ValueError(
            f'{text!r} is not HOST:PORT; write "127.0.0.1:8790", "[::1]:8790" or, for every interface,'
            ' "0.0.0.0:8790"'
        )
    if not (port.isascii() and port.isdigit() and int(port) <= 65535):
        raise ValueError(f"{port!r} is not a port; give a number from 0 (any free one) to 65535")
    return host, int(port)


def _is_ipv6(host: str) -> bool:
    try:
        ipaddress.IPv6Address(host)
    except ValueError:
        return False
    return True


def _listen(text: str) -> str:
    listen_address(text)
    return text


def _listen_or_none(text: str) -> str:
    return _listen(text) if text else text


def _host_name(text: str) -> str:
    if text != "*" and not (_HOST.fullmatch(text) or _is_ipv6(text.strip("[]"))):
        raise ValueError(f'{text!r} is not the name of a host; give one such as "chat.example.com", or "*"')
    return text.lower()


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text))
    except ValueError:
        raise ValueError(
            f'{text!r} is not an address or a network; give one such as "127.0.0.1" or "10.0.0.0/8", without'
            " bits behind the prefix"
        ) from None


def _origin(text: str) -> str:
    if text != "*" and not re.fullmatch(r"[a-z][a-z0-9+.-]*://[^/\s]+|null", text.lower()):
        raise ValueError(f'{text!r} is not an origin; give one such as "https://chat.example.com", or "*"')
    return text.lower()


def store_path(text: str) -> str | None:
    """The file that a store URL names, the URL of a PostgreSQL database, None for the memory.

    Raises ValueError with the cure.
    """
    if text == MEMORY:
        return None
    if is_postgres(text):
        address_of(text)
        return text
    path = text.removeprefix("sqlite:///")
    if path == text:
        raise ValueError(
            f'must be "{MEMORY}", "sqlite:///relative/path.db", with four slashes "sqlite:////absolute/path.db",'
            ' or "postgresql://USER:PASSWORD@HOST/DATABASE"'
        )
    if path == ":memory:":
        raise ValueError(f'names no file; to keep nothing write "{MEMORY}"')
    if not path or path.endswith("/") or "?" in path or "\0" in path:
        raise ValueError('must name a file and nothing after it, such as "sqlite:///sidecar.db"')
    return path


def without_password(text: str) -> str:
    """A URL, or anything else, as it may be shown."""
    return _PASSWORD.sub(lambda found: f"{found[1] or found[2]}***", text)


def _store(text: str) -> str:
    store_path(text)
    return text


def _header(name: str) -> str:
    if not _TOKEN.fullmatch(name):
        raise ValueError(f"{name!r} is not the name of an HTTP header; use letters, digits and hyphens")
    return name


def _header_or_none(name: str) -> str:
    return _header(name) if name else name


def _header_to_send(name: str) -> str:
    if _header(name).lower() in _FRAMING:
        raise ValueError(f"{name!r} is a header that HTTP itself needs; choose another, such as X-Session-ID")
    return name


def _parameter(name: str) -> str:
    if not name or re.search(r"[\s&=?#]", name):
        raise ValueError(f"{name!r} is not the name of a parameter; give what stands before the = in the URL")
    return name


def _body_field(name: str) -> str:
    if name in _BODY_FIELDS:
        raise ValueError(f"{name!r} is part of every request; choose another field, such as prompt_cache_key")
    return name


def _profile(name: str) -> str:
    if name not in session_profiles.NAMES:
        raise ValueError(f"{name!r} is no profile; choose one of {', '.join(session_profiles.NAMES)}")
    return name


def _prefix(text: str) -> str:
    if not text:
        raise ValueError("an empty prefix matches every conversation id; take it out of the list")
    return text


def _opening(text: str) -> str:
    shown = text if len(text) <= 60 else text[:59] + "…"
    if text.removeprefix("### Task:").strip() == "":
        raise ValueError(f"{shown!r} opens real turns too; add the line after it")
    if len(text) < OPENING_LENGTH:
        raise ValueError(f"{shown!r} is too short to identify a task; give the whole opening line")
    if _RAG_TURN.startswith(text) or text.startswith(_RAG_TURN):
        raise ValueError(
            f"{shown!r} opens turns with documents (RAG), which are no tasks; take it out of the list"
        )
    return text


def _secret(value: SecretStr) -> SecretStr:
    if 0 < len(value.get_secret_value()) < SECRET_LENGTH:
        raise ValueError(f"is too short to be a secret; give {SECRET_LENGTH} characters or more")
    return value


def _key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value()
    if not key.isascii() or _CONTROL.search(key):
        raise ValueError("has characters that no header can carry; give the key alone, without Bearer")
    return value


def encryption_keys(text: str) -> list[bytes]:
    """The keys of a list, with commas or white space between them. Raises ValueError with the cure."""
    keys = []
    for part in re.split(r"[\s,]+", text.strip()):
        try:
            key = base64.b64decode(part, validate=True)
        except ValueError:
            key = b""
        if len(key) != ENCRYPTION_KEY_SIZE:
            raise ValueError(
                "is not a list of keys, 32 bytes each in base64; `openssl rand -base64 32` makes one"
            )
        keys.append(key)
    return keys


def _encryption_keys(value: SecretStr) -> SecretStr:
    if value.get_secret_value():
        encryption_keys(value.get_secret_value())
    return value


def _not_a_switch(value: Any) -> Any:
    """True is 1 to Python, but `max_turns = true` is a slip of the pen."""
    if isinstance(value, bool):
        raise ValueError("is a boolean where a number is needed")
    return value


def _none_word(value: Any) -> Any:
    """TOML has no null, and an empty variable means "not set": the word switches a limit off."""
    return None if isinstance(value, str) and value.lower() == "none" else _not_a_switch(value)


def _auto_word(value: Any) -> Any:
    if isinstance(value, str) and value.lower() == AUTO:
        return AUTO
    number = _none_word(value)
    if isinstance(number, str) and number.isascii() and number.isdigit() and len(number) < 20:
        number = int(number)
    # Said here, since a choice of types would have each of them complain.
    if number is not None and not isinstance(number, int):
        raise ValueError(f'{json.dumps(number)[:80]} is not a whole number; write one, "{AUTO}" or "none"')
    if number is not None and number < 1:
        raise ValueError(f"{number} is too small; give 1 or more")
    return number


def _pattern(text: str) -> str:
    if not text:
        raise ValueError(
            'is empty and matches no model; write a name such as "gpt-4o*", or "*" for every one'
        )
    return text


def _lower(value: Any) -> Any:
    return value.lower() if isinstance(value, str) else value


Upstream = Annotated[str, AfterValidator(_upstream)]
OtherUpstream = Annotated[str, AfterValidator(_other_upstream)]
Listen = Annotated[str, AfterValidator(_listen)]
ListenOrNone = Annotated[str, AfterValidator(_listen_or_none)]
HostName = Annotated[str, AfterValidator(_host_name)]
Origin = Annotated[str, AfterValidator(_origin)]
Network = Annotated[str, AfterValidator(_network)]
Store = Annotated[str, AfterValidator(_store)]
Header = Annotated[str, AfterValidator(_header)]
HeaderOrNone = Annotated[str, AfterValidator(_header_or_none)]
HeaderToSend = Annotated[str, AfterValidator(_header_to_send)]
BodyField = Annotated[str, AfterValidator(_body_field)]
ProfileName = Annotated[str, BeforeValidator(_lower), AfterValidator(_profile)]
Parameter = Annotated[str, AfterValidator(_parameter)]
Prefix = Annotated[str, AfterValidator(_prefix)]
Opening = Annotated[str, AfterValidator(_opening)]
Secret = Annotated[SecretStr, AfterValidator(_secret)]
Key = Annotated[SecretStr, AfterValidator(_key)]
EncryptionKeys = Annotated[SecretStr, AfterValidator(_encryption_keys)]
PositiveInt = Annotated[int, BeforeValidator(_not_a_switch), Field(ge=1)]
Workers = Annotated[int, BeforeValidator(_not_a_switch), Field(ge=1, le=64)]
Count = Annotated[int, BeforeValidator(_not_a_switch), Field(ge=0, le=10_000)]
#: Each is looked after every few seconds.
FewFiles = Annotated[int, BeforeValidator(_not_a_switch), Field(ge=0, le=256)]
Seconds = Annotated[float, BeforeValidator(_not_a_switch), Field(ge=0)]
Wait = Annotated[float, BeforeValidator(_not_a_switch), Field(gt=0)]
Share = Annotated[float, BeforeValidator(_not_a_switch), Field(gt=0, le=1)]
Limit = Annotated[Annotated[int, Field(ge=1)] | None, BeforeValidator(_none_word)]
AutoLimit = Annotated[Literal["auto"] | Annotated[int, Field(ge=1)] | None, BeforeValidator(_auto_word)]
AutoSwitch = Literal["auto"] | bool
Window = Annotated[Annotated[int, Field(ge=SMALLEST_WINDOW)] | None, BeforeValidator(_none_word)]
AnswerShare = Annotated[float, BeforeValidator(_not_a_switch), Field(gt=0, le=0.5)]
RecallShare = Annotated[float, BeforeValidator(_not_a_switch), Field(ge=0, le=0.5)]
Pattern = Annotated[str, AfterValidator(_pattern)]
Lower = BeforeValidator(_lower)
