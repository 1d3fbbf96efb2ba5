"""What to set, and where: the words that several findings share."""

from __future__ import annotations

from sidecar.settings import Settings
from sidecar.settings.values import listen_address

__all__ = ["HEADERS", "SIMPLE", "base_url", "connection_headers", "variable"]

HEADERS = "give the connection in Open WebUI the headers below"
SIMPLE = "start Open WebUI with ENABLE_FORWARD_USER_INFO_HEADERS=true"


def connection_headers(settings: Settings) -> dict[str, str]:
    """The best that Open WebUI can send, under the names that the sidecar is told to read."""
    identity = settings.identity
    pairs = (
        (next(iter(identity.headers), ""), "{{CHAT_ID}}"),
        (identity.message_id_header, "{{MESSAGE_ID}}"),
        (identity.user_message_id_header, "{{USER_MESSAGE_ID}}"),
        (identity.parent_id_header, "{{USER_MESSAGE_PARENT_ID}}"),
        (settings.tasks.header, "{{TASK}}"),
        ("X-Model", "{{MODEL_ID}}"),
        (_user_header(settings.tenant.user_headers), "{{USER_ID}}"),
    )
    return {name: value for name, value in pairs if name}


def base_url(settings: Settings) -> str:
    """The URL for clients, as far as it is the same for all of them: `…:8790/v1`."""
    _, port = listen_address(settings.listen)
    return f"…:{port}/v1" if port else "…/v1, as it printed it when it started"


def variable(settings: Settings, header: str) -> str:
    """`"X-Task": "{{TASK}}"`, for one of those headers."""
    return f'"{header}": "{connection_headers(settings)[header]}"'


def _user_header(names: tuple[str, ...]) -> str:
    """One of the connection's own rather than the one that Open WebUI sets by itself."""
    own = (name for name in names if not name.lower().startswith("x-openwebui-"))
    return next(own, next(iter(names), ""))
