"""What tools and system prompt take of a prompt's budget is kept, and told on the pages and by the doctor."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest

from sidecar import cli
from tests.inspector.test_client_view import ids
from tests.inspector.test_conversation_page import opened
from tests.proxy.front import TEMPLATES, Front
from tests.proxy.mock_upstream import Upstream

MANY = [
    {
        "type": "function",
        "function": {"name": f"tool_{at}", "description": "It looks for what was said. " * 8},
    }
    for at in range(24)
]
SYSTEM = {"role": "system", "content": "Be kind to everybody, and brief."}
WINDOW = {"models": [{"match": "*", "window": 4000}]}
CODE = "little_room_for_turns"


async def chat(sidecar: Any, tools: list[dict[str, Any]], *, agent: str = "", turns: int = 1) -> None:
    """A chat of so many turns, in Open WebUI or with another program."""
    front, said = Front(sidecar, {} if agent else TEMPLATES), [SYSTEM]
    for at in range(turns):
        said.append({"role": "user", "content": f"{at} " + "and so on " * 60})
        about = {"CHAT_ID": "a", "USER_ID": "u", "USER_MESSAGE_ID": f"q{at}", "MESSAGE_ID": f"a{at}"}
        if agent:
            headers = {"User-Agent": agent, "X-Conversation-ID": "a"}
            reply = await sidecar.ask(headers=headers, messages=said, tools=tools)
        else:
            reply = await front.ask([], about, messages=said, tools=tools)
        assert reply.status == 200
        said.append({"role": "assistant", "content": "ok"})


async def hints(visitor: Any) -> dict[str, dict[str, str]]:
    told = (await visitor.value("doctor"))["findings"]
    return {each["code"]: each for each in told}


async def test_an_exchange_says_how_much_of_its_limit_tools_and_system_prompt_took(
    visit, capsys: pytest.CaptureFixture[str], tmp_path: Path
):
    visitor = await visit(trim=WINDOW)
    await chat(visitor.sidecar, MANY, turns=3)
    first, *_, last = await ids(visitor)
    store = f"--store=sqlite:///{tmp_path}/sidecar.db"
    arguments = ["inspect", store, "a", "--exchange"]
    for each in (first, last):  # the first went as it came, of the last its first turn was left out
        assert await asyncio.to_thread(cli.main, [*arguments, each, "--format", "json"]) == 0
        page = json.loads(capsys.readouterr().out)
        assert page["numbers"]["budget"] == 2920
        assert 2000 < page["numbers"]["tools_tokens"] < 2700
        assert 5 < page["numbers"]["system_tokens"] < 20
        left = page["numbers"]["budget"] - page["numbers"]["tools_tokens"] - page["numbers"]["system_tokens"]
        assert f"left {left} for what was said: fewer tools, or a larger window, leave more" in page["limit"]
        share = round(100 * page["numbers"]["tools_tokens"] / 2920)
        assert page["tools"].endswith(
            f"; by estimate {page['numbers']['tools_tokens']:,} tokens, {share} % of the limit"
        )
        assert "% of the limit" in page["system"]
    assert "of what tools and system prompt leave of the limit" in page["cut"]
    assert await asyncio.to_thread(cli.main, [*arguments, last]) == 0
    told = " ".join(capsys.readouterr().out.split())
    assert f"tools: {page['tools']}" in told
    assert f"left {left} for what was said" in told
    assert page["tools"] in (await visitor.get(f"{await opened(visitor, 'a')}x/{last}")).text


async def test_without_a_limit_nothing_is_said_of_what_they_took(visitor, upstream: Upstream):
    await chat(visitor.sidecar, MANY)
    (only,) = await ids(visitor)
    page = await visitor.value(f"{await opened(visitor, 'a')}x/{only}")
    assert (page["numbers"]["budget"], page["numbers"]["tools_tokens"], page["tools"]) == (None, 0, "sent")
    assert CODE not in await hints(visitor)


async def test_the_doctor_says_that_tools_leave_little_room_and_where_open_webui_has_them(visit):
    visitor = await visit(trim=WINDOW)
    await chat(visitor.sidecar, MANY)
    hint = (await hints(visitor))[CODE]
    assert hint["level"] == "hint"
    assert "In 1 of 1 request tools and system prompt take more than half" in hint["found"]
    shares = r"the newest the tools ([\d,]+) tokens and the system prompt ([\d,]+), of 2,920 by estimate"
    ((tools, system),) = re.findall(shares, hint["found"])
    assert int(tools.replace(",", "")) > 1460 > int(system.replace(",", ""))
    assert "capability Builtin Tools" in hint["cure"]


async def test_to_other_programs_the_doctor_does_not_speak_of_open_webui(visit):
    visitor = await visit(trim=WINDOW)
    await chat(visitor.sidecar, MANY, agent="agent/1")
    assert "Open WebUI" not in (await hints(visitor))[CODE]["cure"]


async def test_of_tools_that_leave_most_of_the_room_the_doctor_says_nothing(visit):
    visitor = await visit(trim=WINDOW)
    await chat(visitor.sidecar, MANY[:8])
    assert CODE not in await hints(visitor)


async def test_one_full_prompt_among_many_is_no_hint(visit):
    visitor = await visit(trim=WINDOW)
    await chat(visitor.sidecar, MANY)
    await chat(visitor.sidecar, MANY[:2], turns=4)
    assert CODE not in await hints(visitor)
