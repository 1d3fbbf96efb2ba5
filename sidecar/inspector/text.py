"""The pages of one conversation and of one exchange in a terminal, from the same values."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from sidecar.inspector.conversation_page import ConversationPage, Entry
from sidecar.inspector.exchange_facts import ExchangePage, Group
from sidecar.inspector.exchange_line import ExchangeLine
from sidecar.inspector.shown import Clip, count, moment, seconds, size
from sidecar.printable import printable

__all__ = ["conversation_text", "exchange_text"]

_WIDTH = 100


def conversation_text(page: ConversationPage) -> str:
    """The window, as people read it."""
    return "\n".join(_conversation(page)) + "\n"


def _conversation(page: ConversationPage) -> Iterator[str]:
    id = printable(page.id)
    yield f"{page.key or id} ({id}), tenant {page.tenant}"
    times = f"begun {moment(page.created_at)}, used last {moment(page.updated_at)} (UTC)"
    yield f"{count(page.messages)} messages, {times}"
    if len(page.runs) > 1:
        yield f"{count(page.total_runs)} runs of messages between branches; * is what is shown below:"
        for run in page.runs:
            mark = "*" if run.is_shown else " "
            end = f"to {run.role}, {moment(run.ended)}" if run.is_end else "then branches"
            words = f": {run.words}" if run.words else ""
            yield f"  {mark} {'  ' * min(run.depth, 9)}{count(run.messages)}, {end}{words}  --at {run.at}"
    yield f"messages {count(page.start + 1)} to {count(page.end)} of {count(page.length)} on this branch"
    for entry in page.entries:
        yield ""
        yield from _entry(entry)
    if page.sums.words:
        yield ""
        yield f"in all {page.sums.words}"


def _entry(entry: Entry) -> Iterator[str]:
    message, beside = entry.message, entry.beside
    about = [f"{message.number}. {message.role}", message.model, moment(message.created_at)]
    about.append(message.state if message.state != "complete" else "")
    about.append(f"branch {beside.number} of {beside.of}" if beside else "")
    yield ", ".join(filter(None, about))
    if message.problem:
        yield f"    ({message.problem})"
    for piece in message.pieces:
        if piece.kind != "text" or piece.title:
            yield f"    [{' '.join(filter(None, (piece.kind, piece.title)))}]"
        yield from _clip(piece.text)
    if entry.exchange:
        yield f"    -- {_line(entry.exchange)}  --exchange {entry.exchange.id}"
    if entry.asked_more:
        yield from ("", f"asked after message {count(message.number)}:")
    for each in entry.failed:
        yield f"    -- no answer{'' if each.error else ' is kept'}: {_line(each)}  --exchange {each.id}"


def _clip(clip: Clip) -> Iterator[str]:
    for line in clip.seen.rstrip("\n").split("\n") if clip.seen else ():
        yield f"    {line}".rstrip()
    if clip.rest or clip.is_cut:
        yield f"    ... ({count(clip.length)} characters in all)"


def _client(page: ExchangePage) -> Iterator[str]:
    client = page.client
    if client is None:
        yield f"  its bytes:      {page.no_client}"
        return
    yield f"  its bytes:      POST {client.path}, {size(client.length)}. {client.note}".rstrip()
    yield from (f"    {line}" for line in client.curl.split("\n") if client.curl)


def _line(each: ExchangeLine) -> str:
    cached = f" ({each.cached} % cached)" if each.cached is not None else ""
    told = [each.outcome, each.error and f"error {each.error}", each.member and f"at {each.member}"]
    told += [f"in {count(each.input_tokens)}{cached}"] if each.input_tokens is not None else []
    told += [f"out {count(each.output_tokens)}"] if each.output_tokens is not None else []
    told += [f"{seconds(each.duration_ms)} in all"]
    if each.first_token_ms is not None:
        told.append(f"{seconds(each.first_token_ms)} to its first piece")
    done = {"restored": each.restored, "trimmed": each.dropped, "shortened": each.shortened}
    done |= {"recalled": each.recalled, "sent again": each.retries}
    told += [f"{name} {count(number)}" for name, number in done.items() if number]
    told += ["summary"] if each.has_summary else []
    return " · ".join(filter(None, told))


def exchange_text(page: ExchangePage) -> str:
    """What went where, and why."""
    return "\n".join(_exchange(page)) + "\n"


def _tokens(page: ExchangePage) -> str:
    line, counted = page.line, "the upstream reported none"
    if line.input_tokens is not None:
        counted = f"counted {count(line.input_tokens)}"
        counted += f", {count(line.cached_tokens)} from its cache" if line.cached_tokens is not None else ""
    elif line.first_token_ms is not None and not page.failure:
        counted += " (a stream tells them if its client asks: stream_options.include_usage)"
    return f"{counted}; estimated {count(page.numbers.estimated_tokens)}"


def _limit(page: ExchangePage) -> str:
    left = f"; {count(page.numbers.saved)} tokens were left out, by estimate" if page.numbers.saved else ""
    return f"{page.limit}{left}"


def _exchange(page: ExchangePage) -> Iterator[str]:
    line = page.line
    yield f"exchange {line.id} of {printable(page.conversation)}, {moment(line.when)} (UTC)"
    yield _line(line)
    words = page.client.refusal if page.client else ""
    ends = {"went wrong": page.failure, "its words": words, "cut?": page.silent_cut}
    facts = {name: told for name, told in ends.items() if told} | {
        "request": page.outcome or line.outcome,
        "upstream": page.rule,
        "prompt before": f"{page.cause}: {page.why_difference}" if page.cause else "not kept",
        "tokens": _tokens(page),
        **({"might have": _limit(page)} if page.limit else {}),
        **({"why so much": page.cut} if page.cut else {}),
        "model": f"{page.asked_model or '-'} asked for, {page.answered_by or '-'} answered; target"
        f" {page.target}",
        **({"client's key": line.client_key} if line.client_key else {}),
        "time": page.time.said or seconds(line.duration_ms),
        "system prompt": page.system,
        "tools": page.tools,
        **({"kept out": page.kept_out} if page.kept_out else {}),
        **({"results": page.stray} if page.stray else {}),
    }
    if page.others:
        facts["meanwhile"] = "; ".join(f"{each.words} ({each.id})" for each in page.others)
    for name, told in facts.items():
        yield from textwrap.wrap(f"  {name + ':':<15} {told}", _WIDTH, subsequent_indent=" " * 18)
    for part in page.time.parts:
        yield f"  {seconds(part.ms):>14}  {part.meaning}"
    if page.numbers.refusal_window is not None or page.numbers.refusal_prompt is not None:
        window, prompt = count(page.numbers.refusal_window), count(page.numbers.refusal_prompt)
        yield f"  refusal:        the upstream said: window {window}, prompt {prompt} tokens"
    if page.numbers.recall_score:
        yield f"  quoted by:      words of the newest question, the best scores {page.numbers.recall_score:g}"
    for each in page.quoted:
        yield f"  quoted:         {each.number}. {each.role}: {each.words}"
    if page.missing:
        yield f"  left out:       {page.missing}"
    if page.unstored:
        yield f"  not stored:     {page.unstored}"
    yield from _client(page)
    if page.system_put_in is not None:
        yield ""
        yield "system prompt: client not sent; upstream put in as stored"
        yield from _clip(page.system_put_in)
    for group in page.groups:
        yield ""
        yield from _group(group)


def _group(group: Group) -> Iterator[str]:
    last = f" to {group.last}" if group.last > group.first else ""
    yield f"{group.first}{last}: client {group.client}; upstream {group.upstream}"
    if group.why:
        yield from textwrap.wrap(group.why, _WIDTH, initial_indent="  why: ", subsequent_indent="       ")
    number = group.first
    for one in group.samples:
        if one.number > number:
            yield f"  … {count(one.number - number)} more"
        yield f"  {one.number}. {one.role}: {one.words}"
        number = one.number + 1
