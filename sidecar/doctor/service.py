"""Findings about the way itself: does anything arrive, is it served, can it be kept?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sidecar.doctor.advice import base_url
from sidecar.doctor.evidence import Evidence, many
from sidecar.doctor.finding import Finding, change, hint
from sidecar.doctor.targets import REACHABLE, TargetState
from sidecar.prompt.form import ALL

__all__ = ["arrival", "service"]

# Errors of ours that the chat and tenant findings explain, and those that `/-/ready` tells about.
_EXPLAINED = frozenset(("invalid_conversation_id", "invalid_user_token", "upstream_unreachable"))

_CURES = {
    "too_many_bodies": "Raise limits.bodies_in_flight (SIDECAR_LIMITS__BODIES_IN_FLIGHT) if there is memory.",
    "body_too_large": "Raise limits.max_body (SIDECAR_LIMITS__MAX_BODY).",
    "conversation_busy": "Let the client wait for each answer, or raise history.append_wait.",
    "duplicate_identity": "A proxy adds a header that is already there: let it replace the header.",
    "store_unavailable": "The store could not be read or written; the sidecar's log says why.",
    "too_many_messages": "Raise limits.max_messages (SIDECAR_LIMITS__MAX_MESSAGES).",
    "upstream_timeout": "The backend stayed silent for longer than timeouts.idle.",
}
_OUTAGES = 3  # that are told, the last ones
_NAMED = 5  # URLs that are named
_MODELS = 5  # that are named
_ERROR = 400
_FEW_OF = 4  # in one of so many requests it may be chance
_API_CURES = {
    "/responses": "In Open WebUI, set the API type of the connection to Chat Completions; or have the sidecar"
    " read this API too: responses.upstream = translate (SIDECAR_RESPONSES__UPSTREAM).",
    "/messages": "This is Anthropic's API. Use a client that speaks …/v1/chat/completions or …/v1/responses,"
    " or put a translator such as LiteLLM's proxy in front, with the sidecar's …/v1 as its backend.",
    "/api/chat": "In Open WebUI, add the sidecar under OpenAI API (BASE_URL), not under Ollama API; other"
    " clients: use …/v1/chat/completions, which Ollama serves too. The upstream then is Ollama's …:11434/v1.",
}


def arrival(seen: Evidence) -> Iterator[Finding]:
    """Does anything arrive that can be read?"""
    if seen.settings.doctor.remember == 0:
        yield hint(
            "not_remembered", "Requests are not remembered (doctor.remember = 0).", "Set it to 100 or more."
        )
    elif not seen.chats:
        yield _nothing(seen)
    for api, number in seen.others.most_common():
        if api in ("/messages", "/completions"):
            yield hint("api_not_read", *_unread(seen, api, number))
        else:
            yield change("api_not_read", *_unread(seen, api, number))


def service(seen: Evidence) -> Iterator[Finding]:
    """Is what arrives served, and can it be kept?"""
    if seen.store != "writable":
        yield change(
            "store_not_writable",
            " ".join(("The store cannot be used. Nothing is kept until it can.", *seen.outages[-1:])),
            "The sidecar's log says why: the disk, its permissions or the database. Once that is fixed, it"
            " recovers without a restart.",
        )
    elif seen.outages:
        yield hint(
            "store_was_down",
            " ".join(seen.outages[-_OUTAGES:]) + " It works now.",
            "Nothing to do now; the reason is in the sidecar's log.",
        )
    elif number := sum(each.degraded for each in seen.chats):
        yield hint(
            "store_was_down",
            f"{many(number, 'request')} could not be kept, since the store failed then; it works now.",
            "Nothing to do now; the reason is in the sidecar's log.",
        )
    yield from _reach(seen)
    if seen.settings.history.mode == "off":
        yield hint("history_off", "Nothing is kept (history.mode = off).", "Set it to auto to keep chats.")
    yield from _refusals(seen)
    yield from _upstream_says(seen)
    yield from _forms(seen)
    yield from _cuts(seen)
    for why, cure in seen.slots:
        yield hint(
            "slots_not_saved",
            f"Chats do not come back from slot files: {why}.",
            f"{cure[0].upper()}{cure[1:]}. An hour later it is tried again, or after a restart.",
        )
    yield from _crowded(seen)
    yield from _forgotten(seen)


def _reach(seen: Evidence) -> Iterator[Finding]:
    """Who cannot be reached, and what that concerns."""
    default, *others = seen.targets or (TargetState("default", seen.upstream, ()),)
    if not any(each.state == REACHABLE for each in (default, *others)):
        yield change(
            "upstream_unreachable",
            "No target can be reached." if others else "The upstream cannot be reached.",
            "Start it, or correct `upstream` (SIDECAR_UPSTREAM). In a container 127.0.0.1 is the container"
            " itself: another container has its name, the machine is host.docker.internal.",
        )
        return
    if default.state != REACHABLE:
        serves_all = any("*" in each.models for each in seen.settings.targets)
        kind, whom = (hint, "") if serves_all else (change, "models that no target names, and ")
        yield kind(
            "upstream_unreachable",
            f"`upstream` cannot be reached. That concerns {whom}what names no model, such as /health, /props"
            " and files; models of the other targets are served.",
            "Start it, or give `upstream` (SIDECAR_UPSTREAM) the URL of another machine.",
        )
    for each in others:
        if each.state != REACHABLE:
            yield change(
                "target_unreachable",
                f"The target {each.name} cannot be reached: its models are served where another target has"
                " them as well.",
                "Start it, or correct its `url`; the log says why it cannot be reached.",
            )
        elif missing := each.missing:
            yield hint(
                "member_unreachable",
                f"{len(missing)} of {many(len(each.members), 'URL')} of the target {each.name} cannot be"
                f" reached: {_some(missing)}. The others answer its chats.",
                "Start it, and its chats return by themselves; or take it out of `url`.",
            )


def _some(names: list[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")


def _nothing(seen: Evidence) -> Finding:
    if seen.others:
        return change("nothing_received", "No chat has arrived by the API that is read.", "See below.")
    if seen.models_listed:
        found = (
            f"The list of models was asked for ({many(seen.models_listed, 'time')}), and no chat has"
            " arrived: the connection is right, and nobody has used it yet."
        )
        cure = (
            "Send one message, and ask again. If there is still nothing, the model that you chose belongs"
            " to another connection of the client."
        )
        return change("nothing_received", found, cure)
    return change(
        "nothing_received",
        "Nothing has arrived since the sidecar was started.",
        "Send one message in Open WebUI and ask again. If there is still nothing, Open WebUI bypasses the"
        " sidecar: the URL of its connection (Admin Panel > Settings > Connections, or"
        f" OPENAI_API_BASE_URLS) has to be the sidecar's, {base_url(seen.settings)}. What was set there once"
        " overrides the environment, unless ENABLE_PERSISTENT_CONFIG=False.",
    )


def _unread(seen: Evidence, api: str, number: int) -> tuple[str, str]:
    found = f"{many(number, 'request')} came by another API (…{api}), which passes through: nothing is kept."
    cure = _API_CURES.get(api, "Let the client use …/v1/chat/completions if its chats are to be kept.")
    return found, cure.replace("BASE_URL", base_url(seen.settings))


def _refusals(seen: Evidence) -> Iterator[Finding]:
    codes = Counter(each.refusal for each in seen.chats if each.refusal and each.refusal not in _EXPLAINED)
    for code, number in codes.most_common():
        cure = _CURES.get(code, "The sidecar's log and the client's error say which request it was.")
        yield hint("refused", f"{many(number, 'request')} ended with an error of the sidecar: {code}.", cure)


def _upstream_says(seen: Evidence) -> Iterator[Finding]:
    """What the newest answer shows; those before it may be from before a change."""
    answered = [each.status for each in seen.chats if each.status and not each.refusal]
    if not answered:
        return
    if answered[-1] in (401, 403):
        yield change(
            "upstream_refuses_key",
            f"The backend answered {answered[-1]}: it does not accept the API key that the client sends.",
            "Give the connection the key that it had without the sidecar; the key passes through unchanged.",
        )
    elif answered[-1] == 404:
        yield change(
            "upstream_not_found",
            "The backend answered 404: it does not know the path, or the model.",
            "`upstream` (SIDECAR_UPSTREAM) is the base URL as you would give it to an SDK, most often"
            " ending in /v1.",
        )


def _cuts(seen: Evidence) -> Iterator[Finding]:
    """Engines that drop what is too long for them, and say nothing."""
    models = sorted(seen.cuts.items(), key=lambda each: -each[1].at)
    if not models:
        return
    told = []
    for name, each in models[:_MODELS]:
        of = f" of some {each.estimated:,}" if each.estimated else ""
        told.append(f"{name or '(no name)'} ({each.tokens:,} tokens counted{of}; {many(each.times, 'time')})")
    more = f" and {len(models) - _MODELS} more" if len(models) > _MODELS else ""
    found = (
        f"The upstream seems to cut long prompts without a word, for {', '.join(told)}{more}. What such"
        " engines drop is the beginning of a chat, so the model forgets it, and no error says so."
    )
    longer = (
        "Give the model a longer context there (Ollama: OLLAMA_CONTEXT_LENGTH, or `num_ctx` of the model;"
        " others: the length that they were started with)"
    )
    if seen.settings.trim.on_silent_cut == "trim":
        yield hint(
            "upstream_cuts_silently",
            found,
            "The next prompts are fitted to what was counted (trim.on_silent_cut = trim). If that is too"
            f" little: {longer[0].lower()}{longer[1:]}.",
        )
    else:
        yield change(
            "upstream_cuts_silently",
            found,
            f"{longer}, or set trim.on_silent_cut = trim (SIDECAR_TRIM__ON_SILENT_CUT): then the sidecar"
            " leaves out whole turns itself, and says which.",
        )


def _forgotten(seen: Evidence) -> Iterator[Finding]:
    """Chats that are cut, and nothing of what is left out ever comes back."""
    cut = [each for each in seen.chats if each.is_cut]
    trim = seen.settings.trim
    if cut and not trim.recall and trim.max_input_tokens:
        chats = len({each.conversation for each in cut if each.conversation})
        of = f" of {many(chats, 'chat')}" if chats else ""
        yield hint(
            "recall_off",
            f"Turns were left out of {many(len(cut), 'request')}{of}, and what was said in them is unknown to"
            " the model.",
            "Set trim.recall = 0.25 (SIDECAR_TRIM__RECALL): what was left out is quoted where the newest"
            " question asks for it. It needs no model; but what is quoted is never in the upstream's prefix"
            " cache, and a small model may take an old word for one that was corrected since.",
        )


def _crowded(seen: Evidence) -> Iterator[Finding]:
    """Prompts that tools and system prompt fill, so that little is left for what was said."""
    limited = [each for each in seen.understood if each.budget and not each.task]
    full = [each for each in limited if 2 * (each.system_tokens + each.tools_tokens) > each.budget]
    if not full or len(full) * _FEW_OF < len(limited):
        return
    last, in_open_webui = full[-1], any(map(seen.is_open_webui, full))
    where = (
        " Open WebUI sends its built-in tools with every chat: switch the capability Builtin Tools of the"
        " model off (Admin Panel > Settings > Models), or single ones of them."
    )
    yield hint(
        "little_room_for_turns",
        f"In {len(full)} of {many(len(limited), 'request')} tools and system prompt take more than half of"
        f" what a prompt may have: in the newest the tools {last.tools_tokens:,} tokens and the system prompt"
        f" {last.system_tokens:,}, of {last.budget:,} by estimate. The rest holds a few turns: chats soon"
        " lose their beginning.",
        "Let the client send fewer tools, or give the model a larger window: in the engine, and in"
        f" trim.models if it is set there.{where if in_open_webui else ''}",
    )


def _forms(seen: Evidence) -> Iterator[Finding]:
    """What the backend takes only in another form; so prompts differ from what the client sent."""
    if supplied := sorted({name for each in seen.chats for name in each.supplied}):
        yield hint(
            "client_drops_fields",
            f"The backend requires fields of its answers that the client has dropped: {', '.join(supplied)}."
            " The sidecar restores them.",
            "Nothing to do. A client that sends its answers again as they came saves the first refusal of"
            " each chat.",
        )
    if plain := [each for each in seen.chats if ALL in each.left_out]:
        refused = sum(each.status >= _ERROR for each in plain)
        yield hint(
            "backend_refuses_form",
            "The backend refused a request in the form in which the sidecar had put it together."
            f" {many(len(plain), 'request')} went with nothing added instead: as the client sent it, and the"
            " history of a client that sends only what is new as plain text."
            + (f" {refused} of them it refused all the same." if refused else ""),
            "Look at the page of such an exchange (`sidecar inspect NAME` lists those of a chat): it says"
            " what went. Often the cause is a result that names no call of its chat (`tool_call_id`).",
        )
    if left_out := sorted({name for each in seen.chats for name in each.left_out} - {ALL}):
        yield hint(
            "backend_refuses_fields",
            "The backend refuses fields that the sidecar adds to a request, or that the client sends back"
            f" with its answers: {', '.join(left_out)}. They stay out.",
            "If that is `reasoning…`, set restore.reasoning = off; if it is the field of session.body_field,"
            " empty that setting.",
        )
