"""One tree of errors, one body for all of them.

Whatever goes wrong on the sidecar's side reaches the client as OpenAI's error object, so that an SDK
raises its usual exception and a chat front end shows the sentence:

    {"error": {"message": str, "type": str, "param": str | null, "code": str}}

An error that the *upstream* sent is not one of these: it passes through byte for byte.

    SidecarError
    ├── BadRequest            400  what the client sent cannot be served
    ├── Unauthorized          401  a page of the sidecar's own that needs the operator's token
    ├── InvalidKey            401  a client's key is missing, or not valid
    ├── Forbidden             403  a web page of another site asked without asking first
    ├── NotFound              404  a page that is not at this address
    ├── RequestTimeout        408  a request that began did not go on
    ├── BodyTooLarge          413
    ├── HeadersTooLarge       431
    ├── ExpectationFailed     417  an `Expect` that nobody knows
    ├── ConversationBusy      409  another append to the same conversation is still being answered
    ├── TooManyRequests       429  more at once, or in a minute, than a client's key may
    ├── Misdirected           421  the name by which the sidecar was called is none of its own
    ├── TargetsBusy           429  every target for the model has as many requests as it may
    ├── TooManyBodies         503  no room for the request's body; it says when to come again
    ├── TooManyResponses      429  as many as may be are being made in the background
    ├── UpstreamUnreachable   502
    ├── UpstreamTimeout       504
    ├── TooManyConnections    503
    └── StoreUnavailable      503  the history cannot be read or written
"""

from __future__ import annotations

from typing import Any

__all__ = [
    "BadRequest",
    "BodyTooLarge",
    "ConversationBusy",
    "ExpectationFailed",
    "Forbidden",
    "HeadersTooLarge",
    "InvalidKey",
    "Misdirected",
    "NotFound",
    "RequestTimeout",
    "SidecarError",
    "StoreUnavailable",
    "TargetsBusy",
    "TooManyBodies",
    "TooManyConnections",
    "TooManyRequests",
    "TooManyResponses",
    "Unauthorized",
    "UpstreamTimeout",
    "UpstreamUnreachable",
]


class SidecarError(Exception):
    """Base of the tree. `message` is for people, `code` for programs; `status` is the HTTP status."""

    status = 500
    type = "sidecar_error"
    code = "internal_error"
    #: Seconds after which the client may try again; the header `Retry-After`.
    retry_after: int | None = None
    #: It is about an upstream that cannot have got anything of the request.
    nothing_sent = False

    def __init__(self, message: str, *, code: str | None = None, param: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.code
        self.param = param
        #: The client's id of the conversation that this is about, where known; a response header.
        self.conversation: str | None = None
        #: What the log alone tells beside it.
        self.logged: dict[str, str] = {}
        #: What the answer's headers say besides.
        self.headers: dict[str, str] = {}

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's shape, ready for JSON."""
        return {
            "error": {
                "message": self.message,
                "type": self.type,
                "param": self.param,
                "code": self.code,
            }
        }


class BadRequest(SidecarError):
    """The request cannot be understood; the client has to change it."""

    status = 400
    type = "invalid_request_error"
    code = "invalid_request"


class BodyTooLarge(SidecarError):
    """The body is larger than `limits.max_body`."""

    status = 413
    type = "invalid_request_error"
    code = "body_too_large"


class HeadersTooLarge(SidecarError):
    """Request line and headers are larger than `limits.header_block`."""

    status = 431
    type = "invalid_request_error"
    code = "headers_too_large"


class RequestTimeout(SidecarError):
    """A header block or a body stopped coming, for `timeouts.request_head` or `timeouts.request_body`."""

    status = 408
    type = "invalid_request_error"
    code = "request_timeout"


class TooManyConnections(SidecarError):
    """`limits.connections` are open, and each has a request under way."""

    status = 503
    type = "sidecar_error"
    code = "too_many_connections"


class ExpectationFailed(SidecarError):
    """The client sends its body only if something is done that is not known here."""

    status = 417
    type = "invalid_request_error"
    code = "unknown_expectation"


class ConversationBusy(SidecarError):
    """An append waited longer than `history.append_wait` for the one before it."""

    status = 409
    type = "conflict_error"
    code = "conversation_busy"
    retry_after = 1


class Unauthorized(SidecarError):
    """A page of the sidecar's own that is for whoever has `admin.token`."""

    status = 401
    type = "invalid_request_error"
    code = "admin_token_required"


class InvalidKey(SidecarError):
    """A client's key is missing, unknown, expired or revoked."""

    status = 401
    type = "invalid_request_error"
    code = "invalid_api_key"


class Forbidden(SidecarError):
    """A web page of another site sent a request that its browser lets it send unasked."""

    status = 403
    type = "invalid_request_error"
    code = "cross_site_request"


class NotFound(SidecarError):
    """A page of the sidecar's own that is not at this address."""

    status = 404
    type = "invalid_request_error"
    code = "not_found"


class TooManyRequests(SidecarError):
    """More requests at once, or in a minute, than the key of a client may have."""

    status = 429
    type = "requests"  # as OpenAI calls it
    code = "rate_limit_exceeded"
    retry_after = 1


class Misdirected(SidecarError):
    """The name by which the sidecar was called is none of its own (RFC 9110, 15.5.20)."""

    status = 421
    type = "invalid_request_error"
    code = "unknown_host"


class TargetsBusy(SidecarError):
    """Every target for the model has as many requests as its `parallel` allows (`retries.wait_for_room`)."""

    status = 429
    type = "rate_limit_error"
    code = "targets_busy"
    retry_after = 2


class TooManyBodies(SidecarError):
    """The bodies of the requests under way leave no room for this one's (`limits.bodies_in_flight`)."""

    status = 503
    type = "server_error"
    code = "too_many_bodies"
    retry_after = 5


class TooManyResponses(SidecarError):
    """As many responses are being made in the background as may be (`limits.background_responses`)."""

    status = 429
    type = "rate_limit_error"
    code = "too_many_background_responses"
    retry_after = 5


class UpstreamUnreachable(SidecarError):
    """No answer could be had from the upstream: refused, reset, or not an HTTP server."""

    status = 502
    type = "upstream_error"
    code = "upstream_unreachable"


class UpstreamTimeout(SidecarError):
    """The upstream took the request and stayed silent for longer than `timeouts.idle`."""

    status = 504
    type = "upstream_error"
    code = "upstream_timeout"


class StoreUnavailable(SidecarError):
    """The store cannot be opened, read or written; the message says which and why."""

    status = 503
    type = "store_error"
    code = "store_unavailable"
