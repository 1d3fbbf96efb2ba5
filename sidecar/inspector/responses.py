"""What every response of the inspector carries, whatever it says.

Rule: a page runs no script but ours, and that only where it is live; it loads nothing from elsewhere, is in
nobody's frame, is kept by nobody, and tells no site where its visitor came from, for the address holds the
token.
"""

from __future__ import annotations

from aiohttp import web

__all__ = ["ALWAYS", "CSP", "LIVE_CSP", "response"]

CSP = (
    "default-src 'none'; style-src 'self'; img-src data:; form-action 'self'; frame-ancestors 'none';"
    " base-uri 'none'"
)
#: Of a page that is live: it may run our script, which asks for the page again.
LIVE_CSP = CSP + "; script-src 'self'; connect-src 'self'"
ALWAYS = {
    "Content-Security-Policy": CSP,
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Robots-Tag": "noindex",
}


def response(
    body: bytes, kind: str = "text/html", *, status: int = 200, headers: dict[str, str] | None = None
) -> web.Response:
    """A response of this content type, in UTF-8."""
    return web.Response(
        body=body,
        status=status,
        headers={**ALWAYS, "Content-Type": f"{kind}; charset=utf-8", **(headers or {})},
    )
