"""Findings about the chat id: is there one, from where, and is it an id at all?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sidecar.doctor.advice import HEADERS, SIMPLE
from sidecar.doctor.evidence import Evidence, many
from sidecar.doctor.finding import Finding, change, hint
from sidecar.doctor.samples import EMPTY, UNFILLED, RequestSample

__all__ = ["chats"]

# So often one conversation has to begin anew before it looks like several chats under one id.
_MIN_RESTARTS = 4
# So often the system prompt of one chat has to be another before there seems to be a clock in it.
_MIN_CHANGES = 2


def chats(seen: Evidence) -> Iterator[Finding]:
    """What there is to say about the ids of chats."""
    yield from _unfilled(seen)
    yield from _refused(seen)
    known = [each for each in seen.without_id if each.mode and not _is_unfilled(seen, each)]
    if known and not (seen.id_headers or seen.named_in_body):
        yield _none(seen, known)
    elif known:
        yield _some(seen, known)
    yield from _one_for_all(seen)
    yield from _compacts(seen)
    yield from _clocks(seen)


def _is_unfilled(seen: Evidence, sample: RequestSample) -> bool:
    return any(seen.state(sample, name) == UNFILLED for name in seen.settings.identity.headers)


def _unfilled(seen: Evidence) -> Iterator[Finding]:
    for name in seen.settings.identity.headers:
        if number := seen.unfilled(seen.chats, name):
            yield change(
                "chat_id_unfilled",
                f"{many(number, 'request')} had an unfilled template in {name} instead of a chat id,"
                " such as the literal {{CHAT_ID}}." + _consequence(seen),
                "Open WebUI fills in {{CHAT_ID}} from 0.9.3 on, in exactly this spelling, and leaves"
                " unknown ones unchanged. Correct the spelling, or update Open WebUI; with an older"
                f" one take the header out of the connection, and {SIMPLE}.",
                by_headers=True,
            )


def _refused(seen: Evidence) -> Iterator[Finding]:
    if number := sum(each.refusal == "invalid_conversation_id" for each in seen.chats):
        yield change(
            "chat_id_refused",
            f"{many(number, 'request')} got 400 invalid_conversation_id: the id is longer than 256"
            " characters, or not printable ASCII.",
            f"Send the bare id of the chat in {seen.settings.identity.headers[0]}, no title and no JSON.",
        )


def _none(seen: Evidence, known: list[RequestSample]) -> Finding:
    """Not one request named its chat: why?"""
    elsewhere = Counter(name for each in known for name in each.elsewhere)
    if elsewhere:
        return _elsewhere(seen, elsewhere.most_common(1)[0][0], len(known))
    empty = [name for name in seen.settings.identity.headers if seen.count(known, name, EMPTY)]
    if empty:
        return change(
            "chat_id_empty",
            f"{empty[0]} arrives, and never with an id: it is empty, or a word such as `null`. Open WebUI"
            " sends"
            " an empty value where there is no chat, as for programs that call its API." + _consequence(seen),
            f"Send a message in a chat of Open WebUI itself. If it is empty then too: {empty[0]} has to be"
            ' "{{CHAT_ID}}" in the headers of the connection.',
            by_headers=True,
        )
    if not any(map(seen.is_open_webui, known)):
        return _no_open_webui(seen, known)
    forwards = any(seen.state(each, name) for each in known for name in _WHO)
    found = (
        "Open WebUI says who asks, and not in which chat: either these requests came from programs that"
        " call Open WebUI's API, which belong to no chat, or it is too old to tell the chat."
        if forwards
        else f"None of {many(len(known), 'request')} names its chat. Open WebUI does not do so by itself."
    )
    simple = "" if forwards else f" Or, simpler: {SIMPLE}, and the chat comes in X-OpenWebUI-Chat-Id."
    cure = HEADERS[0].upper() + HEADERS[1:] + "." + simple
    return change("no_chat_id", found + _consequence(seen), cure, by_headers=True)


_WHO = ("X-OpenWebUI-User-Id", "X-OpenWebUI-User-Jwt", "X-OpenWebUI-Auth-Type")


def _elsewhere(seen: Evidence, name: str, number: int) -> Finding:
    headers = ",".join((*seen.settings.identity.headers, name))
    return change(
        "chat_id_elsewhere",
        f"None of {many(number, 'request')} names its chat in a header that is read"
        f" ({', '.join(seen.settings.identity.headers)}), but there is {name}, which looks like it."
        + _consequence(seen),
        f"Start the sidecar with SIDECAR_IDENTITY__HEADERS={headers}, or rename the header: where Open"
        " WebUI sends it, FORWARD_SESSION_INFO_HEADER_CHAT_ID=X-Conversation-ID, or leave that variable"
        " out.",
    )


def _no_open_webui(seen: Evidence, known: list[RequestSample]) -> Finding:
    found = f"None of {many(len(known), 'request')} names its conversation." + _consequence(seen)
    headers = seen.settings.identity.headers
    if not headers:
        return hint("no_chat_id", found, "Name the header that carries it in SIDECAR_IDENTITY__HEADERS.")
    cure = f"Let the client send the same {headers[0]} with every request of a conversation."
    return (change if seen.settings.identity.fallback == "none" else hint)("no_chat_id", found, cure)


def _consequence(seen: Evidence) -> str:
    if seen.settings.history.mode == "off":
        return ""
    return {
        "match": " Chats are recognised by their content, and nothing is ever put into their requests.",
        "hash": " Chats are told apart by how they begin: two that begin alike are one.",
        "none": " Nothing is kept of them (identity.fallback = none).",
    }[seen.settings.identity.fallback]


def _some(seen: Evidence, known: list[RequestSample]) -> Finding:
    total = sum(bool(each.mode) for each in seen.chats)
    whose = ", ".join(sorted({seen.client(each) for each in known}))
    cure = (
        "With Open WebUI this is as it should be for programs that call its API and for “Merge responses”."
        if any(map(seen.is_open_webui, known))
        else f"Let that client send {', '.join(seen.settings.identity.headers[:1]) or 'an id'} too."
    )
    return hint("some_without_chat_id", f"{len(known)} of {total} requests name no chat ({whose}).", cure)


# A request that goes on from nothing that is stored, though there is something.
_RESTARTED = ("unanchored", "alone")


def _one_for_all(seen: Evidence) -> Iterator[Finding]:
    """One id for what are several chats: somebody wrote it down instead of the chat's own, or it names a run
    of questions that have nothing to do with each other."""
    by_chat: dict[int, list[RequestSample]] = {}
    for each in seen.understood:
        if not each.task and seen.id_header(each) and each.kind == "chat":
            by_chat.setdefault(each.conversation, []).append(each)
    anew = {
        chat: number
        for chat, kept in by_chat.items()
        if (number := sum(map(_begins_anew, kept))) >= _MIN_RESTARTS
        and number * 2 >= sum(each.single or _begins_anew(each) for each in kept)
    }
    if not anew:
        return
    number, total = sum(anew.values()), sum(len(by_chat[chat]) for chat in anew)
    whose = [each for chat in anew for each in by_chat[chat]]
    if len(by_chat) == 1:
        found = f"All {total} requests with an id came under the same one, and {number} of them began anew"
        cure, by_headers = _cure(seen, whose)
        yield change(
            "one_chat_id_for_all",
            f"{found}: several chats seem to share it.",
            cure,
            by_headers=by_headers,
        )
    else:
        found = f"Of {total} requests in {many(len(anew), 'chat')} {number} began anew"
        cure, by_headers = _cure(seen, whose)
        yield hint(
            "chat_with_many_roots",
            f"{found} and went as they came ({_names(seen, whose)}): several chats, or agents, seem to share"
            " an id.",
            cure,
            by_headers=by_headers,
        )


def _begins_anew(sample: RequestSample) -> bool:
    return sample.outcome in _RESTARTED and not sample.joined


def _cure(seen: Evidence, whose: list[RequestSample]) -> tuple[str, bool]:
    name = seen.id_headers.most_common(1)[0][0]
    if any(map(seen.is_open_webui, whose)):
        return (
            f"{name} must not be a fixed value. In the headers of the connection it has to be"
            ' "{{CHAT_ID}}".',
            True,
        )
    return (
        f"{name} has to name one chat. A tool that asks single questions, such as an evaluation, needs no id."
        " If it is one chat all the same, let its client say X-Sidecar-History: full where it sends the"
        " whole history, append where it sends only what is new.",
        False,
    )


def _names(seen: Evidence, whose: list[RequestSample]) -> str:
    return ", ".join(sorted({seen.client(each) for each in whose}))


def _compacts(seen: Evidence) -> Iterator[Finding]:
    """Who cuts or sums up histories by himself."""
    joined = [each for each in seen.understood if each.joined]
    asked = [each for each in seen.understood if each.compacts]
    if not joined and not asked:
        return
    chats = {each.conversation for each in (*joined, *asked)}
    where = " (in Open WebUI: ENABLE_CONTEXT_COMPACTION=False)"
    yield hint(
        "client_compacts",
        f"{_names(seen, [*joined, *asked])} cuts or sums up its history by itself: in"
        f" {many(len(chats), 'chat')} it asked for {many(len(asked), 'summary', 'summaries')}, and"
        f" {many(len(joined), 'request')} came without the beginning that is stored. What follows joins the"
        " stored path where it holds a turn of it, and nothing is put in.",
        "Nothing has to change. If the sidecar is to do it instead (trim.max_input_tokens, summary.model),"
        f" switch it off in the client{where if any(map(seen.is_open_webui, (*joined, *asked))) else ''}.",
    )


def _clocks(seen: Evidence) -> Iterator[Finding]:
    """Whose system prompts are others with each request, though nobody sums up his history in them."""
    if seen.settings.restore.system_prompt == "pin":
        return
    by_chat: dict[int, list[RequestSample]] = {}
    for each in seen.understood:
        if each.compared and each.conversation:
            by_chat.setdefault(each.conversation, []).append(each)
    sums_up = {each.conversation for each in seen.understood if each.joined or each.compacts}
    changing = [
        kept
        for chat, kept in by_chat.items()
        if chat not in sums_up
        and (number := sum(each.other_system for each in kept)) >= _MIN_CHANGES
        and number * 2 > len(kept)
    ]
    if not changing:
        return
    whose = [each for kept in changing for each in kept]
    number = sum(each.other_system for each in whose)
    yield hint(
        "system_prompt_changes",
        f"In {many(len(changing), 'chat')} ({_names(seen, whose)}) the system prompt was another one with"
        f" {many(number, 'request')}: mostly there is a clock or a date in it. The upstream's prefix cache"
        " begins anew with each of them, so that it reads the whole chat again.",
        "Take the clock out of the system prompt in the client, or set restore.system_prompt = pin"
        " (SIDECAR_RESTORE__SYSTEM_PROMPT): then the first one stays where only clocks, dates or ids differ.",
    )
