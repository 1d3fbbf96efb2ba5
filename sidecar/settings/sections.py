"""The sections of the settings: names, defaults and meanings.

Rule: a setting exists because it is declared here. The guide's table, the annotated file and the names of
the environment variables are generated from these classes. Frozen: settings never change while the process
runs. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from sidecar.settings.access import Access, Admin, Keys
from sidecar.settings.connections import ConnectionTimeouts
from sidecar.settings.credentials import CREDENTIAL_HEADERS, CREDENTIAL_PARAMETERS
from sidecar.settings.keeping import Encryption, Inspector, Retention, Search
from sidecar.settings.limits import Limits
from sidecar.settings.openings import OPENINGS
from sidecar.settings.prompts import SUMMARY_PROMPT
from sidecar.settings.routing import Retries, RoutedTarget
from sidecar.settings.section import Section
from sidecar.settings.session import Session
from sidecar.settings.target import Proxy, TargetOptions
from sidecar.settings.trimming import Trim
from sidecar.settings.values import (
    DEMO,
    Count,
    Header,
    HeaderOrNone,
    Key,
    Limit,
    Listen,
    Lower,
    Network,
    Opening,
    OtherUpstream,
    Parameter,
    PositiveInt,
    Prefix,
    Seconds,
    Secret,
    Store,
    Upstream,
    Wait,
    Workers,
)


class Identity(Section):
    """Which conversation a request belongs to."""

    headers: tuple[Header, ...] = Field(
        ("X-Conversation-ID", "X-OpenWebUI-Chat-Id"),
        description="Request headers that may carry the conversation id; the first non-empty one is used.",
    )
    agent_headers: tuple[Header, ...] = Field(
        ("X-Session-Affinity", "X-Session-ID", "session_id"),
        description="Request headers by which agents name their chats without being told to, used if none of"
        " `identity.headers` has a value. Such a request is taken to bring its whole history, and is not"
        " retried if it is refused for its length: agents compact by themselves then.",
    )
    no_id: tuple[str, ...] = Field(
        ("new", "null", "None", "undefined"),
        description="Placeholder values, treated as a missing id, as are template variables that were not"
        " filled in (`{{…}}`).",
    )
    message_id_header: HeaderOrNone = Field(
        "X-Message-ID", description="Request header with the id that the client gave the requested answer."
    )
    user_message_id_header: HeaderOrNone = Field(
        "X-User-Message-ID", description="Request header with the id of the newest user message."
    )
    parent_id_header: HeaderOrNone = Field(
        "X-User-Message-Parent-ID",
        description="Request header with the id of the answer that the newest user message follows.",
    )
    fallback: Literal["match", "hash", "none"] = Field(
        "match",
        description="Without an id: `match` recognises the conversation by its content, `hash` takes a hash"
        " of tenant, system prompt and first user message, `none` keeps nothing.",
    )
    temporary_prefixes: tuple[Prefix, ...] = Field(
        ("temporary:", "local:"),
        description="Prefixes of ids of temporary chats: nothing is written to disk.",
    )
    channel_prefixes: tuple[Prefix, ...] = Field(
        ("channel:",),
        description=(
            "Prefixes of ids that mix conversations, where Open WebUI sends them (with its own headers or"
            " with message ids): recorded, never continued from the store."
        ),
    )
    trusted: tuple[Network, ...] = Field(
        (),
        description="Addresses and networks (`10.0.0.0/8`, `::1`) of those that may say who the user is"
        " (`tenant.user_headers`); a request from elsewhere that does so gets 403. Empty: everybody may.",
    )


class Tenant(Section):
    """Which tenant a conversation belongs to. Tenants never share anything."""

    mode: Literal["credential+user", "credential", "user", "fixed"] = Field(
        "credential+user",
        description="What identifies a tenant: the credential and, if present, the user id; only one of the"
        " two; or `fixed`, a single tenant for everybody.",
    )
    credential_headers: tuple[Header, ...] = Field(
        CREDENTIAL_HEADERS,
        description="Request headers that may carry the credential; all that are sent count. It is hashed,"
        " never stored or logged.",
    )
    credential_parameters: tuple[Parameter, ...] = Field(
        CREDENTIAL_PARAMETERS,
        description="Parameters of the URL that may carry it as well, in any case.",
    )
    user_headers: tuple[Header, ...] = Field(
        ("X-OpenWebUI-User-Id", "X-User-ID"),
        description="Request headers that may carry the user id; the first non-empty one is used."
        " Anyone who can reach the sidecar can set them, unless `identity.trusted` says who may.",
    )
    user_jwt_header: HeaderOrNone = Field(
        "X-OpenWebUI-User-Jwt", description="Request header with a signed token whose `sub` is the user id."
    )
    user_jwt_secret: Secret = Field(
        SecretStr(""),
        description="Key (HS256) that verifies that token. If empty, the token is ignored; if set, the"
        " unsigned headers are.",
    )


class Tasks(Section):
    """A front end's background requests (titles, tags, …), which leave no trace in any history."""

    header: HeaderOrNone = Field(
        "X-Task", description="Request header that names the task; empty on chat requests."
    )
    openings: tuple[Opening, ...] = Field(
        OPENINGS,
        description="How the prompt of a task begins, used if that header is absent. Never `### Task:` alone,"
        " which also begins chat messages with documents.",
    )
    forward_id: bool = Field(
        False,
        description="Send tasks upstream with the conversation id. An agent would take them for messages"
        " of the chat.",
    )
    model: str = Field("", description="Model for tasks; if empty, the one that the request names.")
    upstream: OtherUpstream = Field(
        "",
        description="OpenAI base URL for tasks; if empty, `upstream`. Only the client's content headers are"
        " sent there: no credential, no user, no id.",
    )
    api_key: Key = Field(SecretStr(""), description="API key for `tasks.upstream`, sent as a bearer token.")
    forward_credential: bool = Field(
        False, description="Send the client's own credential to `tasks.upstream`."
    )
    proxy: Proxy = Field(
        SecretStr(""),
        description="URL of the HTTP proxy to reach `tasks.upstream` through, as `target.proxy` is.",
    )
    max_input_tokens: Limit = Field(
        None,
        description="Maximum number of tokens of a task, estimated; `none` for no limit. The middle of the"
        " chat in its prompt (`<chat_history>`) is left out.",
    )


class History(Section):
    """What is recorded, and when."""

    mode: Literal["auto", "full", "append", "off"] = Field(
        "auto",
        description="What clients send: the `full` history, only new messages (`append`), or either (`auto`)."
        " `off` records nothing. The request header `X-Sidecar-History` sets it for one request.",
    )
    append_wait: Seconds = Field(
        120.0, description="How long an append waits for the one before it, in seconds, before it gets a 409."
    )
    commit: Literal["before_end", "after_end"] = Field(
        "before_end",
        description="Whether the client sees the end of a reply only once it is stored, or immediately.",
    )
    on_disconnect: Literal["cancel", "finish"] = Field(
        "cancel",
        description="When the client disconnects: cancel the upstream request, or read on and keep the"
        " whole reply.",
    )
    if_store_fails: Literal["serve", "refuse"] = Field(
        "serve",
        description="When the store cannot be used: serve requests that bring their history, or refuse all.",
    )


class Restore(Section):
    """What is restored that the client's copy of a message has lost."""

    answers: bool = Field(
        True,
        description="Restore what clients lose of answers: tool calls with their results, signatures, "
        "the spelling of arguments.",
    )
    reasoning: Literal["off", "same-model", "always"] = Field(
        "off",
        description="Send the reasoning of earlier answers: never, to the model that produced it, or to any.",
    )
    user_messages: bool = Field(
        False,
        description="Restore the documents that earlier user messages were first sent with.",
    )
    system_prompt: Literal["client", "pin"] = Field(
        "client",
        description="`pin` keeps the first system message of a chat where only clocks, dates or ids differ.",
    )


class Summary(Section):
    """Summaries, made by a model, of the turns that are dropped for length; off without a model."""

    model: str = Field(
        "",
        description="Model that summarizes dropped turns, in the background; empty for no summaries.",
    )
    upstream: OtherUpstream = Field("", description="OpenAI base URL for summaries; if empty, `upstream`.")
    api_key: Key = Field(
        SecretStr(""),
        description="API key for `summary.upstream`, sent as a bearer token. If empty, the client's"
        " credential is sent to `upstream`, and none to any other.",
    )
    proxy: Proxy = Field(
        SecretStr(""),
        description="URL of the HTTP proxy to reach `summary.upstream` through, as `target.proxy` is.",
    )
    prompt: str = Field(SUMMARY_PROMPT, description="Instructions for that model.")
    max_tokens: PositiveInt = Field(
        400,
        description="Maximum length of a summary, in tokens. That much is reserved in every prompt with a"
        " token limit, though never more than a quarter of it.",
    )


class Timeouts(ConnectionTimeouts):
    """Timeouts. A stream has no total timeout."""

    connect: Wait = Field(10.0, description="Timeout for connecting to the upstream, in seconds.")
    idle: Wait = Field(600.0, description="Timeout for the next byte of the upstream's response, in seconds.")
    store: Wait = Field(
        10.0,
        description="Timeout for the store, in seconds, after which it counts as failing.",
    )
    shutdown: Seconds = Field(
        8.0, description="How long requests in flight may continue after a signal to stop, in seconds."
    )


class Doctor(Section):
    """What `sidecar doctor` remembers: how requests identified themselves, never their content."""

    remember: Count = Field(500, description="How many recent requests to keep in memory; 0 for none.")


class Logs(Section):
    """The log, on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = Field(
        "info", description="Minimum log level."
    )
    format: Annotated[Literal["text", "json"], Lower] = Field(
        "text", description="`text` for people, `json` (one object a line) for machines."
    )
    requests: bool = Field(
        False,
        description="One line for each exchange with its numbers, never with content. Its `X-Request-ID`, the"
        " client's or a new one, goes upstream and back to the client.",
    )


class Traces(Section):
    """Traces, by OpenTelemetry."""

    requests: bool = Field(
        False,
        description="A trace of each exchange by OTLP over HTTP, never with content. Needs"
        " `conversation-sidecar[otel]`; where to and how many, OpenTelemetry's own variables say:"
        " `OTEL_EXPORTER_OTLP_ENDPOINT`, `OTEL_TRACES_SAMPLER` and others.",
    )


class Responses(Section):
    """The Responses API, `/v1/responses`."""

    upstream: Annotated[Literal["native", "translate", "auto"], Lower] = Field(
        "native",
        description="`native`: it is the upstream's, and passes through unread. `translate`: a request is"
        " translated for an upstream that speaks chat completions alone, and its chat is kept as any other."
        " `auto`: it is the upstream's where that serves it, and else translated.",
    )
    max_tokens: Literal["max_completion_tokens", "max_tokens"] = Field(
        "max_completion_tokens",
        description="Under which name a translated request tells the upstream how long an answer may be.",
    )


class Declaration(Section):
    """All of it, each value sound by itself; `model.Settings` is one whose values go together too."""

    upstream: Upstream = Field(
        DEMO,
        description="The OpenAI base URL (what stands before `/chat/completions`; without a path `/v1` is"
        " meant), or `demo`, a small server inside that shows what it was sent, and calls the tools that the"
        " question names.",
    )
    upstream_agent: bool = Field(
        False, description="`upstream` is an agent that runs tools: no refused request is sent to it again."
    )
    targets: tuple[RoutedTarget, ...] = Field(
        (),
        description="More backends, by model: a list of tables, see `config/guides/backends.md`; JSON in"
        " the environment. A model that none of them serves goes to `upstream`. Treated as a secret.",
    )
    listen: Listen = Field("127.0.0.1:8790", description="HOST:PORT to serve on; port 0 takes any free one.")
    workers: Workers = Field(
        1,
        description="Number of worker processes; they share the port and the store. Each uses about one"
        " core.",
    )
    store: Store = Field(
        "sqlite:///sidecar.db",
        description="Where conversations are kept: `sqlite:///` and a path (a fourth slash makes it"
        " absolute), `postgresql://USER:PASSWORD@HOST/DATABASE` for several sidecars, or `memory:`, gone with"
        " the process.",
    )
    secret: Secret = Field(
        SecretStr(""),
        description="Secret for hashing tenant identities. If empty, it is generated on first start and"
        " kept in the store.",
    )
    target: TargetOptions = TargetOptions()
    identity: Identity = Identity()
    tenant: Tenant = Tenant()
    keys: Keys = Keys()
    access: Access = Access()
    admin: Admin = Admin()
    tasks: Tasks = Tasks()
    history: History = History()
    restore: Restore = Restore()
    trim: Trim = Trim()
    summary: Summary = Summary()
    session: Session = Session()
    responses: Responses = Responses()
    retention: Retention = Retention()
    search: Search = Search()
    inspector: Inspector = Inspector()
    encryption: Encryption = Encryption()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    doctor: Doctor = Doctor()
    logs: Logs = Logs()
    traces: Traces = Traces()
