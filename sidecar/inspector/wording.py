"""Which words are said of an exchange: of its outcome, its cause, its form, its end.

Rule: a word says no more than what it was given for.
"""

from __future__ import annotations

from collections.abc import Sequence

from sidecar.conversation.exchange_record import Detail, Exchange
from sidecar.conversation.overview import Stem
from sidecar.inspector.shown import count, seconds, told
from sidecar.inspector.went import left_behind
from sidecar.prompt.form import ALL

__all__ = [
    "CAUSES",
    "OUTCOMES",
    "SHORT",
    "edited",
    "failure",
    "first_words",
    "form",
    "kept_out",
    "of_called",
    "outcome",
    "unstored",
]

OUTCOMES = {
    "start": "The client began a conversation: none of its messages was known.",
    "continue": "The client sent its history, which is the stored one, and something new behind it.",
    "branch": "The client went on from an earlier message; behind that its history differs.",
    "retry": "The client asked the same once more: a second answer to a stored question.",
    "extend": "The client goes on with an answer that broke off.",
    "append": "The client sent only what is new; the stored history was put before it.",
    "unanchored": "What the client's messages begin with is not stored, such as a summary of its own; behind"
    " that they were recognised as messages of this conversation.",
    "alone": "The client's messages are not those of the conversation: they have a root of their own.",
    "task": "A background task, which no history gets.",
    "bypass": "It went on as it came, and nothing of it is kept.",
}
#: The same of a client that has left the front of the stored history out.
_OF_THE_END = {
    "continue": "The client goes on where the stored history ends: it sent the end of that, and something new"
    " behind it.",
    "extend": OUTCOMES["extend"],
}
#: An outcome in a few words, to be read beside its name.
SHORT = {
    "start": "a new conversation",
    "continue": "goes on where the stored history ends",
    "branch": "another way from an earlier message on",
    "retry": "the same question once more",
    "extend": "goes on with an answer that broke off",
    "append": "only what is new; the rest was put in",
    "unanchored": "begins with something that is not stored",
    "alone": "messages that are not those of the conversation",
    "task": "a background task, without history",
    "bypass": "went on as it came",
}
CAUSES = {
    "grown": "Nothing broke the prefix: this prompt is the one before, and something behind it. An upstream"
    " that caches prefixes could use all of it.",
    "model": "The client asked for another model, whose cache begins anew.",
    "tools": "The client's tools differ from those of the prompt before, and they stand before all messages.",
    "system": "The leading system messages differ: a clock, a date or a memory in them changes every prompt,"
    " and so does a summary that the client puts there. Where only a clock, a date or an id differs: take it"
    " out of the client's prompt, or set `restore.system_prompt` to pin.",
    "summary": "A summary stands in for other messages than before, in front of all that follow.",
    "trimmed": "Other messages than before were left out or shortened, to fit what the prompt might have.",
    "recalled": "Other words than before are quoted in front of the newest question, of what was left out, or"
    " none are any more: `trim.recall`.",
    "joined": "Two questions are one message here and were not in the prompt before, or the other way round:"
    " nothing that was said between them goes upstream (an answer that failed, calls without results), and"
    " chat templates want questions and answers in turn.",
    "restored": "A message went in another form than before: as it is stored, as the client has it, or as the"
    " upstream takes it.",
    "edited": "A message reads otherwise than before: the client changed it, or went to a branch.",
    "another branch": "The client went to another branch of this chat, and goes on there: what the exchange"
    " before asked is stored as well, and is no part of this prompt.",
    "unstored": "The prompt before went on with a turn that is not stored (it failed, or the store did), or"
    " that stands in another branch: the client sent only what is new, and this one went without that turn.",
    "replaced": "The client has left out the beginning of its history, or put other words in its place, such"
    " as a summary of its own. Its request, where that is kept, has them.",
    "unknown": "The prompt before is not held: it was another worker's or too long ago, or there was none.",
}
_FORMS = {
    "client": "the client's own bytes",
    "restored": "the client's messages, but answers and results of tools as they are stored where the"
    " client's copy says something else",
    "whole": "the stored history, from its root, and behind it what the client sent",
}
_COMPACTED = (
    " The client sent {} messages where this path has {}: the end of its history alone, behind what it may"
    " have put in place of the beginning, as clients do that compact or cut it by themselves. Look at the"
    " system prompt and the first messages of its request."
)
_ENDS = {
    "client_left": "The client hung up before the end: it was no limit of length, and the upstream did not"
    " end it.",
    "upstream_broke_off": "The upstream broke off before the end of its answer.",
    "no_reply": "What the upstream answered holds no message.",
    "content_filter": "A filter of the upstream kept the answer back.",
    "limits.max_reply": "Only the beginning of the answer is kept: it is longer than `limits.max_reply`.",
    "limits.replies_in_flight": "Only the beginning of the answer is kept: all answers together took more"
    " than `limits.replies_in_flight`.",
    "unread_content_encoding": "The answer went on to the client and was not read: it was compressed in a"
    " way that cannot be undone here.",
}
_NO_HEAD = {
    "upstream_unreachable": "The upstream could not be reached; the sidecar said so.",
    "upstream_timeout": "The upstream did not answer in time; the sidecar gave up.",
}


def first_words(cause: str, now: Exchange, before: Exchange | None, called: Sequence[str]) -> str:
    """What the cause is, where more is known of it than its name; else nothing."""
    if before is None:
        return ""
    if cause == "model":
        asked, asked_before = told(now.model) or "no model", told(before.model) or "no model"
        return (
            f"The client asked for {asked}, and for {asked_before} before: the cache of a model is its own."
        )
    if cause != "tools":
        return ""
    if now.detail.tools is None:
        what = f"The client sent no tools any more; the prompt before had some{of_called(called)}."
    elif before.detail.tools is None:
        what = f"The client sent tools, and had sent none before{of_called(called)}."
    else:
        what = f"The client sent other tools than before{of_called(called)}."
    return f"{what} Tools stand before all messages."


def edited(now: Exchange, before: Exchange | None, path: Sequence[Stem]) -> str:
    """The cause where a message reads otherwise than in the prompt before."""
    if now.outcome == "append":
        return "unstored"
    if now.outcome not in ("continue", "retry") or before is None or not before.detail.replies:
        return "edited"
    is_beside = before.parent is not None and all(each.id != before.parent for each in path)
    return "another branch" if is_beside else "edited"


def of_called(names: Sequence[str]) -> str:
    """Which tools a chat has called: those that it had are not kept by name."""
    return f" (in this chat it has called {', '.join(names)})" if names else ""


def outcome(exchange: Exchange, path: Sequence[Stem]) -> str:
    """What the client sent, in a sentence."""
    usual = OUTCOMES.get(exchange.outcome, "")
    return _OF_THE_END.get(exchange.outcome, usual) if left_behind(exchange.detail, path) else usual


def form(detail: Detail, path: Sequence[Stem]) -> str:
    """In which form the prompt went, and whether all of it did."""
    if detail.sent is None:
        return "What went upstream is not kept."
    words, left = _FORMS.get(detail.sent.rule, ""), left_behind(detail, path)
    cut = _cut(detail)
    if not words:
        return cut
    said = f"{cut} The rest went as {words}." if cut else f"{words[0].upper()}{words[1:]} went upstream."
    return said + _COMPACTED.format(count(detail.brought), count(len(path))) if left else said


def kept_out(detail: Detail) -> str:
    """What stays out of what went, since the upstream refuses it."""
    if ALL in detail.left_out:
        is_thin = detail.sent is not None and detail.sent.rule == "whole"
        instead = "the stored history went as plain text" if is_thin else "it went as the client sent it"
        return (
            "all that the sidecar puts in: the upstream refused the request as it had been put together, and"
            f" {instead}"
        )
    return f"{', '.join(map(told, detail.left_out))}: the upstream refuses it" if detail.left_out else ""


def _cut(detail: Detail) -> str:
    done = [f"{_messages(number)} {word}" for number, word in (
        (detail.dropped, "left out"), (detail.shortened, "shortened")
    ) if number]  # fmt: skip
    if not done:
        return ""
    again = ", after the upstream had refused it as too long" if detail.overflow_retries else ""
    return f"Not all of it went upstream{again}: {' and '.join(done)}."


def _messages(number: int) -> str:
    return "1 message was" if number == 1 else f"{count(number)} messages were"


def failure(exchange: Exchange) -> str:
    """Who ended an exchange that did not end well, and how; empty for one that did."""
    error, status, head = exchange.error, exchange.status, exchange.detail.head_ms
    if error is None and (status is None or status < 400):
        return ""
    if error in _ENDS:
        return _ENDS[error]
    code = f" ({told(error)})" if error else ""
    if head is None:
        return _NO_HEAD.get(error or "", f"The sidecar refused it{code}; it did not come to an answer.")
    if status is not None and status >= 400:
        return f"The upstream refused it{code}, with status {status}, {seconds(head)} after it arrived."
    return f"It broke off{code}, after the upstream had begun to answer."


def unstored(exchange: Exchange, path: Sequence[Stem]) -> str:
    """That the question that failed is not among the messages, where that is sure."""
    detail = exchange.detail
    if not failure(exchange) or detail.replies or exchange.outcome == "extend":
        return ""
    if path and path[-1].role != "assistant":
        return ""
    return (
        "The question that failed came behind these. It is not stored: one that was refused never is, and one"
        " of a client that sends its whole history is once it is answered."
    )
