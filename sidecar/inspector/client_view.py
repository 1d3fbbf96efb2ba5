"""A request as its client sent it: its bytes, and the command that sends them again.

Rule: a credential is a name that the shell fills in. What would not reach the upstream as it reads is in no
command: the body is then a file, which can be taken from its page.
"""

from __future__ import annotations

import codecs
import re
import shlex

import msgspec
from msgspec.structs import replace

from sidecar.exchange.client_request import ClientRequest, body_of
from sidecar.inspector.shown import Clip, clip, told
from sidecar.printable import printable

__all__ = ["ClientView", "client_view_of", "file_of", "why_not_kept"]

_INLINE = 32 << 10  # characters of a body in a command; Linux takes 128 KiB in one argument
_SHOWN = 128 << 10  # bytes of a body that are looked at; more would hold up others
_decoder = codecs.getincrementaldecoder("utf-8")
_NO_TEXT = Clip("", "", 0, is_cut=False)


class ClientView(msgspec.Struct, frozen=True):
    """`path`, `headers`, `length`: as in `ClientRequest`; `body`: its beginning, if it is kept and text;
    `note`: what is to be known of it; `file`: the name by which its bytes are taken away, if they are kept;
    `curl`: the command; `refusal`: in which words the upstream refused it."""

    path: str
    headers: tuple[tuple[str, str], ...]
    length: int
    body: Clip
    note: str
    file: str
    curl: str
    refusal: str


def why_not_kept(which: str) -> str:
    """Why a request is not kept as it came; `which`: `inspector.keep_requests`."""
    if which == "none":
        return "Not kept, since inspector.keep_requests is none."
    if which == "last":
        return "Not kept: inspector.keep_requests is last, so only the newest request of a chat is."
    return "Not kept: it came before inspector.keep_requests was set, or there was no room for it any more."


def file_of(exchange: str) -> str:
    """The name of the file into which its body goes."""
    return f"request-{exchange}.json"


def client_view_of(request: ClientRequest, exchange: str, address: str) -> ClientView:
    """What is shown of it; `address`: where clients reach the sidecar. Raises `ValueError` for damage."""
    body = body_of(request)
    text, note, file = _text(body), "", ""
    if body is None:
        note = "Its body is not kept: it is too large for inspector.request_bytes."
    else:
        file = file_of(exchange)
        if text is None:
            note = "Its body is no text; its bytes can be taken away."
    return ClientView(
        path=told(request.path, 400),
        headers=tuple((told(name), told(value, 1000)) for name, value in request.headers),
        length=request.length,
        body=_clip(text, request.length) if text is not None else _NO_TEXT,
        note=note,
        file=file,
        curl=_curl(request, text, file, address),
        refusal=told(request.refusal, 2000),
    )


def _text(body: bytes | None) -> str | None:
    """As much of it as is shown; None if it is no text."""
    if body is None:
        return None
    try:
        return _decoder().decode(body[:_SHOWN], final=len(body) <= _SHOWN)
    except UnicodeDecodeError:
        return None


def _clip(text: str, length: int) -> Clip:
    shown = clip(text)
    return shown if length <= _SHOWN else replace(shown, length=length, is_cut=True)


def _curl(request: ClientRequest, text: str | None, file: str, address: str) -> str:
    if not _is_shown_as_it_is(request.path):
        return ""
    lines = [f"curl {shlex.quote(address + request.path)}"]
    lines += [f"-H {shlex.quote(f'{name}: {value}')}" for name, value in request.headers if _is_header(value)]
    lines += [f'-H "{name}: {_secret(name)}"' for name in request.secret]
    lines += [f'-H "{name}: ${_variable(name)}"' for name in request.personal]
    lines += [f'--url-query "{name}=$API_KEY"' for name in request.parameters]
    # What begins with @ is a file's name to curl.
    if text is not None and len(text) <= _INLINE and text[:1] != "@" and _is_shown_as_it_is(text):
        lines.append(f"--data-binary {shlex.quote(text)}")
    else:
        lines.append(f"--data-binary @{file or 'request.json'}")
    return " \\\n  ".join(lines)


def _is_shown_as_it_is(text: str) -> bool:
    return printable(text, lines=True) == text


def _is_header(value: str) -> bool:
    return printable(value) == value


def _secret(name: str) -> str:
    return "Bearer $API_KEY" if name == "authorization" else "$API_KEY"


def _variable(name: str) -> str:
    return re.sub("[^A-Z0-9]", "_", name.upper())
