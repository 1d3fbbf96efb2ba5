"""Which backend takes the id of a conversation, under which name, and who says so.

Rules: a profile stands here only with a public source for its name, the backend's own documentation or its
source. `auto` takes those alone of which the source says that the id is a hint, to where a cache is or what
belongs together, and that is said in a header: never one for which the backend exchanges the history for its
own (`is_kept`), never a field of the body, which a strict backend refuses, and never one that counts limits
by it or whose own documentation calls it a trade. Those are set by name. Where a client names its chat in
such a header itself, its value stays.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import msgspec
from yarl import URL

__all__ = ["AUTO", "NAMES", "NONE", "PROFILES", "Profile", "by_answer", "by_url", "owners", "profiles_table"]

AUTO, NONE = "auto", "none"


class Profile(NamedTuple):
    """How one kind of backend is told which conversation a request is of."""

    title: str
    source: str
    """Where it is said, for people: a URL."""
    does: str
    """What the backend does with the id."""
    header: str = ""
    body_field: str = ""
    by_auto: bool = False
    is_kept: bool = False
    """Does the backend keep the conversation under the id itself, and put its own history in the place of
    what a request brings? Then no client may say whose it is."""
    is_required: bool = False
    """Does it refuse a request without an id, and so a title as well? That gets one of its own."""
    places: tuple[str, ...] = ()
    """Where it is, each a host with the path, or its beginning, of the base URL. `*.` stands for any
    subdomain."""
    answers_with: str = ""
    """A header by which its answers are known, in lower case."""
    owner: str = ""
    """What its list of models says in `owned_by`."""

    @property
    def name_told(self) -> str:
        """The name under which it takes the id, as it stands in documents."""
        return f"`{self.header}`" if self.header else f"`{self.body_field}` in the body"


_TO_THE_CACHE = "sends a chat to where its prefix is cached"

PROFILES: Mapping[str, Profile] = {
    "openai": Profile(
        "OpenAI",
        "https://developers.openai.com/cookbook/examples/prompt_caching_201",
        f"{_TO_THE_CACHE}; chats then no longer share the cache of a system prompt, so weigh it",
        body_field="prompt_cache_key",
        places=("api.openai.com", "*.api.openai.com"),
    ),
    "openrouter": Profile(
        "OpenRouter",
        "https://openrouter.ai/docs/api/api-reference/anthropic-messages/create-messages",
        "keeps a chat with one provider",
        header="X-Session-ID",
        by_auto=True,
        places=("openrouter.ai",),
    ),
    "fireworks": Profile(
        "Fireworks",
        "https://docs.fireworks.ai/guides/prompt-caching",
        _TO_THE_CACHE,
        header="X-Session-Affinity",
        by_auto=True,
        places=("api.fireworks.ai",),
    ),
    "deepinfra": Profile(
        "DeepInfra",
        "https://docs.deepinfra.com/chat/prompt-caching",
        _TO_THE_CACHE,
        body_field="prompt_cache_key",
        places=("api.deepinfra.com",),
    ),
    "cloudflare": Profile(
        "Cloudflare Workers AI",
        "https://developers.cloudflare.com/workers-ai/features/prompt-caching",
        _TO_THE_CACHE,
        header="X-Session-Affinity",
        by_auto=True,
        places=("api.cloudflare.com/client/v4/accounts/",),
    ),
    "opencode-go": Profile(
        "OpenCode Go",
        "https://github.com/xiaomimimo/mimo-code/issues/2317",
        "refuses every request without; titles and other tasks get an id of their own each",
        header="X-OpenCode-Session",
        by_auto=True,
        is_required=True,
        places=("opencode.ai/zen/go/",),
    ),
    "xai": Profile(
        "xAI",
        "https://docs.x.ai/developers/advanced-api-usage/prompt-caching/maximizing-cache-hits",
        _TO_THE_CACHE,
        header="X-Grok-Conv-Id",
        by_auto=True,
        places=("api.x.ai",),
    ),
    "vllm-router": Profile(
        "vLLM router (`--policy consistent_hash`)",
        "https://github.com/vllm-project/router/blob/main/src/policies/hash_key.rs",
        "keeps a chat on the replica that has its prefix cached",
        header="X-Session-ID",
    ),
    "smg": Profile(
        "SMG",
        "https://github.com/lightseekorg/smg/blob/main/model_gateway/src/policies/consistent_hashing.rs",
        "keeps a chat on the replica that has its prefix cached",
        header="X-SMG-Routing-Key",
        answers_with="x-smg-error-code",
    ),
    "llm-d": Profile(
        "llm-d router (`strategy: session_id`)",
        "https://github.com/llm-d/llm-d-router/blob/main/pkg/epp/framework/plugins/scheduling/scorer/"
        "sessionaffinity/README.md",
        "keeps a chat on the pod that has its prefix cached",
        header="X-Session-ID",
    ),
    "litellm": Profile(
        "LiteLLM",
        "https://github.com/BerriAI/litellm/blob/main/litellm/proxy/litellm_pre_call_utils.py",
        "groups the log by chat and routes by it; what it limits by session is counted from then on",
        header="X-LiteLLM-Session-Id",
    ),
    "llama-swap": Profile(
        "llama-swap",
        "https://github.com/mostlygeek/llama-swap/blob/main/config.example.yaml",
        "groups requests by chat on its Activity page",
        header="X-Session-ID",
        by_auto=True,
        owner="llama-swap",
    ),
    "hermes": Profile(
        "hermes-agent, with `API_SERVER_KEY` set",
        "https://github.com/NousResearch/hermes-agent/blob/main/gateway/platforms/api_server.py",
        "one session for a chat: transcript, tools, sandbox",
        header="X-Hermes-Session-Id",
        is_kept=True,
        owner="hermes",
    ),
    "openclaw": Profile(
        "OpenClaw",
        "https://docs.openclaw.ai/gateway/openai-http-api",
        "one agent session for a chat",
        header="X-OpenClaw-Session-Key",
        is_kept=True,
        owner="openclaw",
    ),
}
"""By the name that `session.profile` takes."""

NAMES = (AUTO, *PROFILES, NONE)


def by_url(url: URL) -> str:
    """The name of the profile of the backend at this base URL; empty if it is none that is known."""
    host, path = url.host or "", url.path.rstrip("/") + "/"
    return next(
        (name for name, each in PROFILES.items() if any(_is_at(p, host, path) for p in each.places)), ""
    )


def _is_at(place: str, host: str, path: str) -> bool:
    at, _, begins = place.partition("/")
    is_host = host.endswith(at[1:]) if at.startswith("*.") else host == at
    return is_host and path.startswith("/" + begins)


class _Model(msgspec.Struct):
    owned_by: str = ""


class _Models(msgspec.Struct):
    data: list[_Model] = []


def by_answer(headers: Mapping[str, str], models: bytes) -> str:
    """The name of the profile of a backend whose list of models came with these headers; empty if it is none
    that is known. `headers` in any case, `models` the body, which may be anything."""
    sent = {name.lower() for name in headers}
    for name, each in PROFILES.items():
        if each.answers_with in sent:
            return name
    found = owners(models)
    return next((name for name, each in PROFILES.items() if each.owner and found == {each.owner}), "")


def owners(models: bytes) -> set[str]:
    """What a list of models says of who owns them; nothing if it is none."""
    try:
        return {each.owned_by for each in msgspec.json.decode(models, type=_Models).data}
    except (msgspec.DecodeError, ValueError, RecursionError):  # it has another form
        return set()


def profiles_table() -> str:
    """The profiles as a Markdown table."""
    rows = ["| `session.profile` | backend | takes the id as | what it does with it | `auto` | source |"]
    rows.append("|---|---|---|---|---|---|")
    for name, each in PROFILES.items():
        auto = "yes" if each.by_auto else "by name"
        source = f"[{_host(each.source)}]({each.source})"
        rows.append(f"| `{name}` | {each.title} | {each.name_told} | {each.does} | {auto} | {source} |")
    return "\n".join(rows) + "\n"


def _host(source: str) -> str:
    return (URL(source).host or "").removeprefix("www.")
