"""The README is true: its tables are those of the code, and its commands do what it says."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import aiohttp

from sidecar.conversation.reconcile import Outcome
from sidecar.server.serve import running
from sidecar.settings import Settings
from sidecar.settings.sections import Responses
from tests import docs

README = docs.README.read_text("utf-8")


def curls() -> list[list[str]]:
    """The arguments of every curl command of the README."""
    text = README.replace("\\\n", " ")
    return [shlex.split(line)[1:] for line in text.splitlines() if line.startswith("curl ")]


async def run_curl(arguments: list[str], address: str) -> dict:
    url = arguments[0].replace("http://127.0.0.1:8790", address)
    if "-d" not in arguments:
        async with aiohttp.ClientSession() as session, session.get(url) as response:
            return {"answer": await response.json(), "headers": response.headers}
    name, value = arguments[arguments.index("-H") + 1].split(": ")
    body = arguments[arguments.index("-d") + 1]
    # curl calls a body given with -d a form, whatever is in it.
    headers = {"Content-Type": "application/x-www-form-urlencoded", name: value}
    async with aiohttp.ClientSession() as session, session.post(url, data=body, headers=headers) as response:
        return {"answer": await response.json(), "headers": response.headers}


def test_the_table_of_settings_is_that_of_the_code():
    assert docs.readme(README) == README


def test_every_outcome_is_explained():
    row = next(line for line in README.splitlines() if line.startswith("| `X-Sidecar-Outcome`"))
    assert set(re.findall(r"`([a-z]+)`", row)) == {str(outcome) for outcome in Outcome}


def test_every_response_header_of_ours_is_explained():
    code = "".join(path.read_text("utf-8") for path in (docs.ROOT / "sidecar" / "proxy").glob("*.py"))
    named = set(re.findall(r'"(X-Sidecar-[A-Za-z-]+)"', code))
    assert named
    assert [name for name in sorted(named) if f"`{name}" not in README] == []


def test_every_link_into_the_repository_leads_somewhere():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert links
    assert [link for link in links if not (docs.ROOT / link).exists()] == []


def test_the_headers_for_open_webui_are_those_of_the_compose_file():
    line = next(line for line in README.splitlines() if line.startswith("OPENAI_API_CONFIGS="))
    (assignment,) = shlex.split(line)  # as a shell, or Compose's .env, would read it
    headers = json.loads(assignment.removeprefix("OPENAI_API_CONFIGS="))["0"]["headers"]
    compose = Path(docs.ROOT / "config" / "compose.yaml").read_text("utf-8")
    assert [name for name, value in headers.items() if f'"{name}": "{value}"' not in compose] == []


async def test_the_two_curl_commands_of_the_start_do_what_the_readme_says():
    async with running(Settings(listen="127.0.0.1:0", store="memory:")) as address:
        said = [await run_curl(arguments, address) for arguments in curls()[:2]]
    answer = said[1]["answer"]["choices"][0]["message"]["content"]
    assert len(said) == 2
    assert answer in README
    assert said[1]["headers"]["X-Sidecar-Outcome"] == "append"
    assert said[1]["headers"]["X-Sidecar-Restored"] == "2"


async def test_the_chat_of_the_start_goes_on_over_responses_as_the_readme_says():
    settings = Settings(listen="127.0.0.1:0", store="memory:", responses=Responses(upstream="translate"))
    async with running(settings) as address:
        *_, response, items = [await run_curl(arguments, address) for arguments in curls()]
    assert response["answer"]["output"][0]["content"][0]["text"].startswith(
        "I see 5 messages; the first says"
    )
    assert [each["role"] for each in items["answer"]["data"]] == ["user", "assistant"] * 3
