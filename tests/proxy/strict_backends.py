"""Backends that take a session, each by the rules of its own documentation or source, and by nothing else.

Written from those alone, without sight of the table that they are to check: each reads the id where its
source says that it is read, and refuses what its source says is refused. Where the source says nothing of
unknown fields in a body, they are refused, as the strictest of its kind would.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.proxy.mock_upstream import Exchange, Received, says, sends

_ANSWERED = ("/chat/completions", "/messages", "/responses")

# The request of OpenAI's specification of chat completions, as its own Python library declares it, and
# nothing besides.
_CHAT = frozenset(
    [
        "messages",
        "model",
        "audio",
        "frequency_penalty",
        "function_call",
        "functions",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_tokens",
        "metadata",
        "modalities",
        "n",
        "parallel_tool_calls",
        "prediction",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "service_tier",
        "stop",
        "store",
        "stream",
        "stream_options",
        "temperature",
        "tool_choice",
        "tools",
        "top_logprobs",
        "top_p",
        "user",
        "web_search_options",
    ]
)


class Refused(Exception):
    """What the backend says instead of an answer."""

    def __init__(self, status: int, kind: str, message: str) -> None:
        super().__init__(message)
        self.status, self.body = status, {"error": {"type": kind, "message": message}}


@dataclass
class Backend:
    """One of them. `sessions` are the ids of the requests that it answered, None where there was none."""

    session: Callable[[Received], str | None]
    #: Further fields of a body that its source names.
    fields: frozenset[str] = frozenset()
    #: Where it is: its base URL.
    base: str = ""
    owner: str = "someone"
    sessions: list[str | None] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    async def answer(self, exchange: Exchange) -> None:
        """What it says to one request."""
        request = exchange.request
        if request.method == "GET":
            listed = {"object": "list", "data": [{"id": "m", "object": "model", "owned_by": self.owner}]}
            await sends(json.dumps(listed).encode())(exchange)
            return
        if not request.target.endswith(_ANSWERED):
            await sends(b"{}", status=404)(exchange)
            return
        try:
            if unknown := set(request.json) - _CHAT - self.fields:
                named = ", ".join(sorted(unknown))
                raise Refused(
                    400, "invalid_request_error", f"Unrecognized request argument supplied: {named}"
                )
            self.sessions.append(self.session(request))
        except Refused as error:
            self.refused.append(str(error))
            await sends(json.dumps(error.body).encode(), status=error.status)(exchange)
        else:
            await says()(exchange)


def _first(names: Iterable[str]) -> Callable[[Received], str | None]:
    """The first of these headers that says anything."""

    def session(request: Received) -> str | None:
        return next((value for name in names if (value := request.headers.get(name))), None)

    return session


def _prompt_cache_key(request: Received) -> str | None:
    key: Any = request.json.get("prompt_cache_key")
    if key is not None and not isinstance(key, str):
        raise Refused(400, "invalid_request_error", "Invalid type for 'prompt_cache_key': expected a string")
    if key is not None and len(key) > 64:
        raise Refused(400, "string_above_max_length", "Invalid 'prompt_cache_key': string too long")
    return key


def _openrouter(request: Received) -> str | None:
    # The body before the header; longer ones are rejected, by its own client from 128 characters on.
    session: str | None = request.json.get("session_id") or request.headers.get("x-session-id")
    if session is not None and len(session) > 128:
        raise Refused(400, "invalid_request_error", "session_id must have at most 128 characters")
    return session


def _opencode_go(request: Received) -> str | None:
    if not (session := request.headers.get("x-opencode-session")):
        message = "Request is missing x-opencode-session and cannot be routed efficiently"
        raise Refused(400, "MissingSessionID", message)
    return session


def _smg(request: Received) -> str | None:
    worker = request.headers.get("x-smg-target-worker")
    if worker is not None and not worker.isdigit():
        raise Refused(503, "no_available_workers", "no such worker")
    return request.headers.get("x-smg-routing-key") or None


def _hermes(request: Received) -> str | None:
    session = request.headers.get("X-Hermes-Session-Id", "").strip()
    if session and not request.headers.get("Authorization"):
        raise Refused(403, "invalid_request_error", "Session continuation requires API key authentication")
    if any(each in session for each in ("\r", "\n", "\0", "/", "\\", "..")):
        raise Refused(400, "invalid_request_error", "Invalid session ID")
    if len(session) > 256:
        raise Refused(400, "invalid_request_error", "Session ID too long")
    return session or None


def backends() -> dict[str, Backend]:
    """Fresh ones, by the name that people call them."""
    return {
        # developers.openai.com/cookbook/examples/prompt_caching_201; pi#4720 has the error for its length.
        "openai": Backend(_prompt_cache_key, frozenset({"prompt_cache_key"}), "http://api.openai.com/v1"),
        # openrouter.ai/docs/api/api-reference/anthropic-messages/create-messages
        "openrouter": Backend(_openrouter, frozenset({"session_id"}), "http://openrouter.ai/api/v1"),
        # docs.fireworks.ai/guides/prompt-caching; pi#4514 has its refusal of unknown fields.
        "fireworks": Backend(
            _first(["x-session-affinity"]),
            frozenset({"prompt_cache_isolation_key", "prompt_cache_max_len"}),
            "http://api.fireworks.ai/inference/v1",
        ),
        # docs.deepinfra.com/chat/prompt-caching
        "deepinfra": Backend(
            _prompt_cache_key, frozenset({"prompt_cache_key"}), "http://api.deepinfra.com/v1/openai"
        ),
        # developers.cloudflare.com/workers-ai/features/prompt-caching
        "cloudflare": Backend(
            _first(["x-session-affinity"]), base="http://api.cloudflare.com/client/v4/accounts/0a1b/ai/v1"
        ),
        # github.com/xiaomimimo/mimo-code/issues/2317; anomalyco/opencode#47763 has the error.
        "opencode-go": Backend(_opencode_go, base="http://opencode.ai/zen/go/v1"),
        # docs.x.ai/developers/advanced-api-usage/prompt-caching/maximizing-cache-hits
        "xai": Backend(_first(["x-grok-conv-id"]), base="http://api.x.ai/v1"),
        # vllm-project/router, src/policies/hash_key.rs
        "vllm-router": Backend(
            _first(
                ["x-session-id", "x-user-id", "x-tenant-id", "x-correlation-id", "x-request-id", "x-trace-id"]
            )
        ),
        # lightseekorg/smg, model_gateway/src/policies/consistent_hashing.rs
        "smg": Backend(_smg),
        # llm-d/llm-d-router, pkg/epp/framework/plugins/scheduling/util/sessionaffinity/session_id.go
        "llm-d": Backend(_first(["x-session-id"])),
        # BerriAI/litellm, litellm/proxy/litellm_pre_call_utils.py
        "litellm": Backend(_first(["x-litellm-trace-id", "x-litellm-session-id"])),
        # mostlygeek/llama-swap, config.example.yaml; internal/server/api.go has the owner.
        "llama-swap": Backend(_first(["X-Session-ID", "X-Litellm-Session-Id"]), owner="llama-swap"),
        # NousResearch/hermes-agent, gateway/platforms/api_server.py
        "hermes": Backend(_hermes, owner="hermes"),
        # docs.openclaw.ai/gateway/openai-http-api; src/gateway/models-http.ts has the owner. Without the
        # header and without `user` each request has a session of its own.
        "openclaw": Backend(
            lambda request: request.headers.get("x-openclaw-session-key") or request.json.get("user"),
            owner="openclaw",
        ),
    }
