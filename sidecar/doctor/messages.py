"""Findings about the ids of messages and the marks of tasks, which Open WebUI alone has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from sidecar.doctor.advice import HEADERS, variable
from sidecar.doctor.evidence import Evidence, many
from sidecar.doctor.finding import Finding, change, hint
from sidecar.doctor.samples import ALIASES, RequestSample

__all__ = ["messages"]

# Open WebUI asks for a title after the first turn; so many turns without a task are odd.
_TURNS_WITHOUT_TASK = 6
# A second task in a chat can be no title of a chat that was begun twice.
_MIN_SUSPECTS = 2


def messages(seen: Evidence) -> Iterator[Finding]:
    """What there is to say about the ids of messages, and about tasks."""
    yield from _task_unfilled(seen)
    yield from _ids_unfilled(seen)
    front = [each for each in seen.front if each.mode and seen.id_header(each)]
    if not front:
        return
    ids = [name for name in seen.message_id_headers if seen.sent(front, name)]
    header = seen.settings.tasks.header
    marked = bool(header) and bool(seen.sent(front, header))
    if other := _other_names(seen, front):
        yield other
    elif not ids and not marked:
        yield _chat_id_only(seen, front)
    else:
        yield from _incomplete(seen, front, ids, marked)
    if marked:
        yield from _all_tasks(seen, front)
    else:
        yield from _no_tasks(seen, front)


def _task_unfilled(seen: Evidence) -> Iterator[Finding]:
    name = seen.settings.tasks.header
    if number := seen.unfilled(seen.chats, name):
        yield change(
            "task_unfilled",
            f"{many(number, 'request')} had an unfilled template in {name}: tasks are recognised"
            " by their opening words only.",
            "Open WebUI fills in {{TASK}} from 0.10.0 on, in exactly this spelling. Correct the spelling"
            f" or update Open WebUI, or take {name} out of the headers of the connection.",
            by_headers=True,
        )


def _ids_unfilled(seen: Evidence) -> Iterator[Finding]:
    names = [name for name in seen.message_id_headers if seen.unfilled(seen.chats, name)]
    if names:
        wanted = ", ".join(variable(seen.settings, name) for name in names)
        yield change(
            "message_ids_unfilled",
            f"{', '.join(names)} had an unfilled template, which identifies no message.",
            f"It has to be {wanted} in exactly this spelling. {{{{MESSAGE_ID}}}} is filled in by Open"
            " WebUI from 0.9.3 on, those of user messages from 0.10.0 on. With an older one leave them"
            " out.",
            by_headers=True,
        )


def _other_names(seen: Evidence, front: list[RequestSample]) -> Finding | None:
    """The same headers under the names that other guides give them."""
    read = {name.lower() for name in (*seen.message_id_headers, seen.settings.tasks.header)}
    missed = {
        setting: name
        for setting, name in ALIASES.items()
        if name.lower() not in read and seen.sent(front, name)
    }
    if not missed:
        return None
    variables = (f"SIDECAR_{setting.upper().replace('.', '__')}={name}" for setting, name in missed.items())
    return change(
        "headers_elsewhere",
        f"Open WebUI sends {', '.join(missed.values())}, which the sidecar is not configured to read.",
        f"Start the sidecar with {' '.join(variables)}, or rename the headers of the connection as below.",
        by_headers=True,
    )


def _chat_id_only(seen: Evidence, front: list[RequestSample]) -> Finding:
    known = sum(each.task == "opening" for each in front)
    tasks = f"the {many(known, 'task')}" if known else "tasks"
    return hint(
        "chat_id_only",
        f"Open WebUI sends the chat id and nothing else: branches are found by content, and {tasks} by their"
        " opening words. That works, except where two answers read alike, or where the prompts of titles,"
        " tags and follow-ups were edited: then list how yours begin in tasks.openings.",
        f"For best results, {HEADERS}.",
        by_headers=True,
    )


def _incomplete(
    seen: Evidence, front: list[RequestSample], ids: list[str], marked: bool
) -> Iterator[Finding]:
    missing = [name for name in seen.message_id_headers if name not in ids]
    if missing:
        wanted = ", ".join(variable(seen.settings, name) for name in missing)
        yield hint(
            "message_ids_missing",
            f"Open WebUI does not send {', '.join(missing)}: branches are found by content, where two"
            " answers may read alike.",
            f"Add {wanted} to the headers of the connection.",
            by_headers=True,
        )
    header = seen.settings.tasks.header
    if not marked and header:
        yield hint(
            "no_task_header",
            f"{header} does not arrive: titles, tags and follow-ups are recognised by their opening"
            " words only, and those with edited prompts would be recorded as turns.",
            f"Add {variable(seen.settings, header)} to the headers of the connection (Open WebUI 0.10 or"
            " newer).",
            by_headers=True,
        )


def _all_tasks(seen: Evidence, front: list[RequestSample]) -> Iterator[Finding]:
    header = seen.settings.tasks.header
    by_header = [each for each in front if each.task == "header"]
    if len(by_header) == len(front) >= _TURNS_WITHOUT_TASK and not seen.unfilled(front, header):
        yield change(
            "only_tasks",
            f"All {len(front)} requests say in {header} that they are background tasks: nothing is kept.",
            f"It must not be a fixed value: {variable(seen.settings, header)}, which is empty on a turn.",
            by_headers=True,
        )


def _no_tasks(seen: Evidence, front: list[RequestSample]) -> Iterator[Finding]:
    """Without the mark an edited prompt is taken for a turn, and all that shows is the shape."""
    turns = [each for each in front if not each.task and each.kind == "chat"]
    alike = Counter(
        each.conversation
        for each in turns
        if each.single and each.outcome in ("unanchored", "append", "alone")
    )
    suspects = sum(number for number in alike.values() if number >= _MIN_SUSPECTS)
    if suspects:
        yield hint(
            "tasks_missed",
            f"{many(suspects, 'request')} in {many(len(alike), 'chat')} came with a single message and no"
            " tools in the middle of a chat: they may be titles, tags or follow-ups with edited prompts,"
            " kept as turns.",
            f"If so, {HEADERS}, or list how your prompts begin in tasks.openings.",
            by_headers=True,
        )
    elif len(turns) == len(front) >= _TURNS_WITHOUT_TASK:
        yield hint(
            "no_task_seen",
            f"Among {len(front)} requests there is no title, tag or follow-up. That is right if Open WebUI"
            " has them switched off or asks another connection for them.",
            f"Otherwise their prompts were edited: {HEADERS}, or list how they begin in tasks.openings.",
            by_headers=True,
        )
