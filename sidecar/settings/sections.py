"""The sections of the settings: names, defaults and meanings.

Rule: a setting exists because it is declared here. The README's table, the annotated file and the names of
the environment variables are generated from these classes. Frozen: settings never change while the process
runs. Times are seconds, sizes are bytes.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from sidecar.settings.access import Access, Admin
from sidecar.settings.credentials import CREDENTIAL_HEADERS, CREDENTIAL_PARAMETERS
from sidecar.settings.keeping import Encryption, Retention
from sidecar.settings.openings import OPENINGS
from sidecar.settings.prompts import SUMMARY_PROMPT
from sidecar.settings.section import Section
from sidecar.settings.values import (
    DEMO,
    AnswerShare,
    AutoLimit,
    BodyField,
    Count,
    Header,
    HeaderOrNone,
    HeaderToSend,
    Key,
    Limit,
    Listen,
    Lower,
    Opening,
    OtherUpstream,
    Parameter,
    Pattern,
    Prefix,
    Seconds,
    Secret,
    Share,
    Store,
    Upstream,
    Wait,
    Whole,
    Window,
    Workers,
)


class Identity(Section):
    """Which conversation a request belongs to."""

    headers: tuple[Header, ...] = Field(
        ("X-Conversation-ID", "X-OpenWebUI-Chat-Id"),
        description="Request headers that may carry the conversation id; the first that is not empty counts.",
    )
    no_id: tuple[str, ...] = Field(
        ("new", "null", "None", "undefined"),
        description="What clients send that have no id yet: names no conversation and no message. Nor does a"
        " template that was not filled in (`{{…}}`).",
    )
    message_id_header: HeaderOrNone = Field(
        "X-Message-ID", description="Request header with the id of the answer that is asked for."
    )
    user_message_id_header: HeaderOrNone = Field(
        "X-User-Message-ID", description="Request header with the id of the newest user message."
    )
    parent_id_header: HeaderOrNone = Field(
        "X-User-Message-Parent-ID",
        description="Request header with the id of the answer that message follows.",
    )
    fallback: Literal["match", "hash", "none"] = Field(
        "match",
        description="Without an id: `match` recognises the conversation by its content, `hash` takes a hash"
        " of tenant, system prompt and first user message, `none` keeps nothing.",
    )
    temporary_prefixes: tuple[Prefix, ...] = Field(
        ("temporary:", "local:"),
        description="Ids that begin so are temporary chats: nothing is written to disk.",
    )
    channel_prefixes: tuple[Prefix, ...] = Field(
        ("channel:",),
        description="Ids that begin so mix conversations: recorded, never continued from the store.",
    )


class Tenant(Section):
    """Whose conversations these are. Two tenants never share anything."""

    mode: Literal["credential+user", "credential", "user", "fixed"] = Field(
        "credential+user",
        description="What tells tenants apart: the credential and, where present, the user id; one of the"
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
        description="Request headers that may carry the user id; the first that is not empty counts."
        " Whoever can reach the sidecar can set them.",
    )
    user_jwt_header: HeaderOrNone = Field(
        "X-OpenWebUI-User-Jwt", description="Request header with a signed token whose `sub` is the user id."
    )
    user_jwt_secret: Secret = Field(
        SecretStr(""),
        description="Key (HS256) that verifies that token; without it the token is not looked at, with it the"
        " unsigned headers are not.",
    )


class Tasks(Section):
    """A front end's background requests (titles, tags, …), which leave no trace in any history."""

    header: HeaderOrNone = Field(
        "X-Task", description="Request header that names the task; empty on a real turn."
    )
    openings: tuple[Opening, ...] = Field(
        OPENINGS,
        description="Where that header is absent: how a task's prompt begins. Never `### Task:` alone, which"
        " opens turns with documents as well.",
    )
    forward_id: bool = Field(
        False,
        description="Send tasks upstream with the conversation id. An agent would take them for turns.",
    )
    model: str = Field(
        "", description="Have tasks done by this model instead of the chat's; empty for the one they name."
    )
    upstream: OtherUpstream = Field(
        "",
        description="Send tasks to this OpenAI base URL; empty for `upstream`. Of the client's headers only"
        " those of the content go there: no credential, no user, no id.",
    )
    api_key: Key = Field(
        SecretStr(""), description="Key for `tasks.upstream`, sent as a bearer token; empty for none."
    )
    forward_credential: bool = Field(
        False, description="Send the client's own credential to `tasks.upstream`."
    )
    max_input_tokens: Limit = Field(
        None,
        description="Send at most so many tokens of a task, estimated; `none` for no limit. What is left out"
        " is from the middle of the chat in its prompt (`<chat_history>`).",
    )


class History(Section):
    """What is kept, and when."""

    mode: Literal["auto", "full", "append", "off"] = Field(
        "auto",
        description="What clients send: `full` history, only what is new (`append`), or either (`auto`)."
        " `off` keeps nothing. The request header `X-Sidecar-History` says it for one request.",
    )
    append_wait: Seconds = Field(
        120.0, description="How long an append waits for the one before it, in seconds; then 409."
    )
    commit: Literal["before_end", "after_end"] = Field(
        "before_end",
        description="Whether the client sees the end of a reply only after it is stored, or at once.",
    )
    on_disconnect: Literal["cancel", "finish"] = Field(
        "cancel",
        description="When the client leaves: cancel the upstream's work, or read on and keep all.",
    )
    if_store_fails: Literal["serve", "refuse"] = Field(
        "serve",
        description="When the store cannot be used: serve requests that bring their history, or refuse all.",
    )


class Restore(Section):
    """What of the stored messages goes upstream in place of the client's echo."""

    answers: bool = Field(
        True, description="Send tool calls, tool results and arguments as they were produced."
    )
    reasoning: Literal["off", "same-model", "always"] = Field(
        "off",
        description="Send the reasoning of earlier answers: never, to the model that produced it, or to any.",
    )
    user_messages: bool = Field(
        False,
        description="Send earlier user messages as first sent, with the documents that were put into them.",
    )
    system_prompt: Literal["client", "pin"] = Field(
        "client",
        description="`pin` keeps the conversation's first system message, against clocks in prompts.",
    )


class ModelTrim(Section):
    """The budget of the models whose name fits `match`; what is not set is as for all."""

    match: Pattern
    window: Window = None
    max_messages: Limit = None
    max_turns: Limit = None
    max_input_tokens: AutoLimit = "auto"


class Trim(Section):
    """How much history goes upstream. What is stored is never trimmed.

    A budget of its own for some models, keys that are left out are as for all:
    `models = [{match = "gpt-4o*", window = 128000, max_turns = 40}, {match = "o3", max_messages = "none"}]`.
    """

    max_messages: Limit = Field(None, description="Send at most so many messages; `none` for no limit.")
    max_turns: Limit = Field(
        None, description="Send at most so many turns, the newest included; `none` for no limit."
    )
    max_input_tokens: AutoLimit = Field(
        "auto",
        description="Send at most so many tokens, estimated; `none` for no limit. `auto` is the model's"
        " context window less the room for the answer, once the window is known: from `trim.models`, the"
        " upstream's list of models, or its refusal of a longer prompt.",
    )
    answer_share: AnswerShare = Field(
        0.25,
        description="With `auto`: the share of the window that is kept free for an answer whose request does"
        " not say `max_tokens`; at most 0.5.",
    )
    window_refresh: Seconds = Field(
        3600.0,
        description="With `auto`: how often the upstream's list of models is asked for again, in seconds; 0"
        " never asks. No request waits for it.",
    )
    models: tuple[ModelTrim, ...] = Field(
        (),
        description="Budgets of single models, a list of tables with `match` (a name, `*` and `?` as in file"
        " names) and any of `window`, `max_messages`, `max_turns`, `max_input_tokens`; JSON in the"
        " environment. The first that fits counts.",
    )
    step: Share = Field(
        0.6,
        description="The cut moves in steps of this share of the budget, so that the upstream's prefix cache"
        " keeps hitting in between: a smaller one keeps more of the context, a larger one costs less. Above"
        " 0, up to 1.",
    )
    keep_first_turn: bool = Field(False, description="Never cut the conversation's first turn.")


class Summary(Section):
    """A model's summary in place of the turns that are left out for length; off without a model."""

    model: str = Field(
        "",
        description="Have the turns that are left out summed up by this model, in the background; empty for"
        " no summary.",
    )
    upstream: OtherUpstream = Field(
        "", description="Ask for summaries at this OpenAI base URL; empty for `upstream`."
    )
    api_key: Key = Field(
        SecretStr(""),
        description="Key for that, sent as a bearer token. Without one, the credential of the client goes to"
        " `upstream`, and none to another.",
    )
    prompt: str = Field(SUMMARY_PROMPT, description="What that model is told to do.")
    max_tokens: Whole = Field(
        400,
        description="How long a summary may be, in tokens. That much is kept free in every prompt that has a"
        " limit of tokens, though never more than a quarter of it.",
    )


class Session(Section):
    """The stable session id that the upstream gets, header from the client or not."""

    headers: tuple[HeaderToSend, ...] = Field(
        ("X-Conversation-ID",),
        description="Headers in which the upstream gets the conversation's id, such as `X-Session-ID`. What a"
        " client puts into one that is not among `identity.headers` names its chat, and goes no further.",
    )
    opaque: bool = Field(
        False,
        description="Send the sidecar's own id also in place of the name that the client gave its chat, in"
        " `identity.headers` and `session.body_field`: two tenants with one name then differ there too.",
    )
    body_field: BodyField = Field(
        "",
        description="Field of the request body in which the upstream gets that id, such as"
        " `prompt_cache_key`; empty for none. What the client sets there itself stays, unless"
        " `session.opaque` is set.",
    )
    slots: Count = Field(
        0,
        description="For llama.cpp: how many slots it has (`-np`). Each chat stays on one of them while there"
        " is room for all, in the body field `id_slot`; 0 leaves the choice to the engine.",
    )
    cache_prompt: bool = Field(
        False,
        description="For llama.cpp: set the body field `cache_prompt`, where it is not on by itself.",
    )


class Limits(Section):
    """How large things may be."""

    max_body: Whole = Field(
        64 * 1024 * 1024,
        description="Largest body of a chat request, in bytes; above it 413. Other paths: no limit.",
    )


class Timeouts(Section):
    """How long to wait. A stream has no total time-out."""

    connect: Wait = Field(10.0, description="How long to wait for a connection to the upstream, in seconds.")
    idle: Wait = Field(
        600.0, description="How long to wait for the next byte of the upstream's answer, in seconds."
    )
    store: Wait = Field(
        10.0,
        description="How long to wait for the store, in seconds; then it counts as failing.",
    )
    shutdown: Seconds = Field(
        8.0, description="How long answers under way may go on once the process is told to stop, in seconds."
    )


class Retries(Section):
    """An upstream that could not be reached is tried again; never one that may have begun to work."""

    attempts: Whole = Field(3, description="How often a request is tried in all.")
    backoff: Seconds = Field(
        0.2, description="Pause before the second try, in seconds; it doubles from try to try."
    )


class Doctor(Section):
    """What `sidecar doctor` can look back on: how requests named themselves, never what they said."""

    remember: Count = Field(500, description="So many of the last requests; 0 for none.")


class Logs(Section):
    """What is said on standard error."""

    level: Annotated[Literal["debug", "info", "warning", "error"], Lower] = Field(
        "info", description="The least that is said."
    )
    format: Annotated[Literal["text", "json"], Lower] = Field(
        "text", description="`text` for people, `json` (one object a line) for machines."
    )


class Declaration(Section):
    """All of it, each value sound by itself; `model.Settings` is one whose values go together too."""

    upstream: Upstream = Field(
        DEMO,
        description="The OpenAI base URL (what stands before `/chat/completions`; without a path `/v1` is"
        " meant), or `demo`, a small server inside that shows what it was sent.",
    )
    listen: Listen = Field("127.0.0.1:8790", description="HOST:PORT to serve on; port 0 takes any free one.")
    workers: Workers = Field(
        1, description="How many processes serve; they share the port and the store. One uses about one core."
    )
    store: Store = Field(
        "sqlite:///sidecar.db",
        description="Where conversations are kept: `sqlite:///` and a path (a fourth slash makes it"
        " absolute), `postgresql://USER:PASSWORD@HOST/DATABASE` for several sidecars, or `memory:`, gone with"
        " the process.",
    )
    secret: Secret = Field(
        SecretStr(""), description="Keys the hashes of tenants; empty: made once and kept in the store."
    )
    identity: Identity = Identity()
    tenant: Tenant = Tenant()
    access: Access = Access()
    admin: Admin = Admin()
    tasks: Tasks = Tasks()
    history: History = History()
    restore: Restore = Restore()
    trim: Trim = Trim()
    summary: Summary = Summary()
    session: Session = Session()
    retention: Retention = Retention()
    encryption: Encryption = Encryption()
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    retries: Retries = Retries()
    doctor: Doctor = Doctor()
    logs: Logs = Logs()
