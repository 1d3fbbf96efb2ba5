"""The examination for people: what is fine, what was seen, then what to do, most serious first."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from sidecar.doctor.evidence import many
from sidecar.doctor.targets import REACHABLE

__all__ = ["text"]

_WIDTH = 100
_LABEL = 15


def text(report: Mapping[str, Any], url: str) -> str:
    """The report that the sidecar at `url` gave."""
    return "\n".join(_lines(report, url)) + "\n"


def _lines(report: Mapping[str, Any], url: str) -> Iterator[str]:
    findings = report["findings"]
    yield from _wrapped(f"sidecar {report['sidecar']} at {url}: {_verdict(report)}")
    if report["fine"]:
        yield f"Fine: {', '.join(report['fine'])}."
    yield ""
    for label, value in _overview(report):
        yield from _wrapped(f"  {label:<{_LABEL - 2}}{value}", " " * _LABEL)
    for number, each in enumerate(findings, 1):
        kind = "Change" if each["level"] == "change" else "Hint"
        yield ""
        yield from _wrapped(f"{number}. {kind}: {each['found']} [{each['code']}]", "   ")
        yield from _wrapped(f"   -> {each['cure']}", "      ")
    if any(each["by_headers"] for each in findings):
        yield ""
        yield from _headers(report["connection_headers"])
    if findings and report["requests"]["chats"]:
        yield ""
        yield from _wrapped(
            "After a change send one message and look at that alone, with its tasks: sidecar doctor --last 1"
        )


def _verdict(report: Mapping[str, Any]) -> str:
    chats = report["requests"]["chats"]
    looked_at = f"the last {many(chats, 'chat request')}" if chats else "no chat request yet"
    changes = sum(each["level"] == "change" for each in report["findings"])
    hints = len(report["findings"]) - changes
    if changes:
        return f"{looked_at}, {many(changes, 'thing')} to change."
    if hints:
        return f"{looked_at}, all works; {many(hints, 'hint')}."
    return f"{looked_at}, all is as it should be."


def _overview(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    requests, chat, tasks, tenant = (report[name] for name in ("requests", "chat_id", "tasks", "tenant"))
    if requests["chats"]:
        yield "clients", _counted(requests["clients"])
        yield "chat id", _chat_id(chat)
        yield "message ids", _counted(_positive(report["message_ids"])) or "none"
        yield "tasks", _tasks(tasks)
        yield "tenants", f"{tenant['tenants']}, by {_rule(tenant)}"
        yield "taken for", _counted(report["outcomes"]) or "nothing"
    if report["refused"]:
        yield "refused", _counted(report["refused"])
    if requests["other_apis"]:
        yield "not read", _counted(requests["other_apis"])
    if (workers := report.get("workers", 1)) > 1:
        silent = report["silent"]
        yield "workers", f"{workers}; {silent} of them did not answer" if silent else str(workers)
    yield "store", report["store"]
    yield "upstream", report["upstream"]
    for name, told in report.get("targets", {}).items():
        members = told["members"].values()
        if len(members) > 1:
            well = sum(state == REACHABLE for state in members)
            yield f"{name}"[: _LABEL - 3], f"{told['state']}: {well} of {many(len(members), 'URL')}"
        elif name != "default":
            yield f"{name}"[: _LABEL - 3], told["state"]


def _chat_id(chat: Mapping[str, Any]) -> str:
    parts = [_counted(chat["headers"])] if chat["headers"] else []
    if chat["body"]:
        parts.append(f"conversation or previous_response_id {chat['body']}")
    if chat["none"]:
        parts.append(f"none in {many(chat['none'], 'request')}")
    return f"{', '.join(parts)}; {many(chat['conversations'], 'conversation')}"


def _tasks(tasks: Mapping[str, Any]) -> str:
    ways = (("by_header", tasks["header"]), ("by_opening", "their opening words"))
    known = [f"{tasks[way]} known by {name}" for way, name in ways if tasks[way]]
    if known:
        return ", ".join(known)
    return f"none; {tasks['header']} arrives" if tasks["header_sent"] else "none"


def _rule(tenant: Mapping[str, Any]) -> str:
    signed = " (signed)" if tenant["signed_users"] else ""
    seen = {**tenant["credential_headers"], **tenant["user_headers"]}
    if tenant["own_keys"]:
        seen["keys of the sidecar's own"] = tenant["own_keys"]
    return f"{tenant['rule']}{signed}: {_counted(seen) or 'neither came'}"


def _positive(counts: Mapping[str, int]) -> dict[str, int]:
    return {name: count for name, count in counts.items() if count}


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counts.items())


def _headers(headers: Mapping[str, str]) -> Iterator[str]:
    yield "The headers of the connection, for Open WebUI 0.10 or newer. Put them into"
    yield "Admin Panel > Settings > Connections > (the connection) > Headers:"
    yield ""
    yield f"  {json.dumps(headers)}"
    yield ""
    yield from _wrapped(
        'or, from 0.10.2 on, into the environment as OPENAI_API_CONFIGS={"0": {"enable": true, "headers":'
        " {…}}}, which Open WebUI reads at its first start only, unless ENABLE_PERSISTENT_CONFIG=False."
    )


def _wrapped(line: str, indent: str = "") -> list[str]:
    return textwrap.wrap(
        line,
        _WIDTH,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
        drop_whitespace=True,
    )
