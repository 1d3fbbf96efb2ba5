"""The README is true: its commands do what it says, what it shows is what there is, and it stays short."""

from __future__ import annotations

import asyncio
import json
import re

import pytest

from sidecar import cli
from sidecar.server.serve import running
from sidecar.settings import Settings
from tests import docs
from tests.guides import curls, run_curl

README = docs.README.read_text("utf-8")


def test_it_can_be_read_in_a_few_minutes():
    assert 8_000 <= len(README.encode()) <= 10_000


def test_its_picture_is_small():
    assert 10_000 < (docs.GUIDES / "inspector.png").stat().st_size <= 150_000


async def test_its_two_curl_commands_do_what_it_says():
    async with running(Settings(listen="127.0.0.1:0", store="memory:")) as address:
        said = [await run_curl(arguments, address) for arguments in curls(README)]
    answer = said[1]["answer"]["choices"][0]["message"]["content"]
    assert len(said) == 2
    assert answer in README
    assert said[1]["headers"]["X-Sidecar-Outcome"] == "append"
    assert said[1]["headers"]["X-Sidecar-Restored"] == "2"


@pytest.mark.usefixtures("undisturbed")
async def test_what_they_leave_in_the_store_is_what_it_shows(tmp_path, capsys: pytest.CaptureFixture[str]):
    store = f"sqlite:///{tmp_path}/sidecar.db"
    async with running(Settings(listen="127.0.0.1:0", store=store)) as address:
        for arguments in curls(README):
            await run_curl(arguments, address)
    await asyncio.to_thread(cli.main, ["export", "--store", store])
    (exported,) = capsys.readouterr().out.splitlines()
    (example,) = re.findall(r"<!-- data: .*? -->\n```json\n(.*?)```", README, re.DOTALL)
    shown = [json.loads(line) for line in example.splitlines()]
    kept = json.loads(exported)["messages"]
    assert [without_ids(each) for each in shown] == [
        {name: value for name, value in without_ids(each).items() if name in shown[0]} for each in kept
    ]
    # The ids are another's in every store; what follows what is not.
    assert [parents(shown), len({each["id"] for each in shown})] == [parents(kept), len(kept)]


def without_ids(message: dict) -> dict:
    return {name: value for name, value in message.items() if name not in ("id", "parent")}


def parents(messages: list[dict]) -> list[int | None]:
    """Of each message the place of the one that it follows."""
    places = {each["id"]: at for at, each in enumerate(messages)}
    return [each["parent"] and places[each["parent"]] for each in messages]
