"""What people read is true: links lead somewhere, tables are those of the code, names and commands exist."""

from __future__ import annotations

import json
import re
import shlex
from functools import cache
from pathlib import Path

import pytest

from sidecar import cli, errors
from sidecar.conversation.reconcile import Outcome
from sidecar.server.serve import running
from sidecar.settings import Settings
from sidecar.settings.model import DECLARED, SECTIONS
from sidecar.settings.sections import Responses
from tests import docs
from tests.guides import curls, run_curl

TEXTS = {path.name: path.read_text("utf-8") for path in docs.DOCUMENTS}
_LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)")
_SHELL = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_OF_OPENAIS_SDK = {"responses.create", "responses.retrieve"}
_SETTING = re.compile(r"`(?:SIDECAR_)?([a-z_]+)\.([a-z_]+)(?: = [^`]*)?`")

each_document = pytest.mark.parametrize("document", docs.DOCUMENTS, ids=lambda path: path.name)


@cache
def anchors(file: Path) -> frozenset[str]:
    """What a `#` may name in it: its headings, as GitHub spells them."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"^```.*?^```$", "", file.read_text("utf-8"), flags=re.M | re.S), re.M
    )
    return frozenset(re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings)


@each_document
def test_every_link_into_the_repository_leads_somewhere(document: Path):
    text = re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.M | re.S)
    astray = []
    for place, anchor in _LINK.findall(text):
        target = (document.parent / place).resolve() if place else document
        if not target.exists() or (anchor and anchor not in anchors(target)):
            astray.append(f"{place}#{anchor}")
    assert astray == []


def test_the_readme_leads_to_every_guide():
    assert [each.name for each in docs.GUIDES.glob("*.md") if each.name not in REACHED] == []


@pytest.mark.parametrize("document", docs.GENERATED, ids=lambda path: path.name)
def test_a_generated_table_is_that_of_the_code(document: Path):
    text = document.read_text("utf-8")
    assert docs.is_generated(text)
    assert docs.generated(text) == text


@each_document
def test_every_setting_that_is_named_exists(document: Path):
    named = {
        f"{section}.{key}"
        for section, key in _SETTING.findall(document.read_text("utf-8"))
        if section in SECTIONS
    }
    assert sorted(named - set(DECLARED) - _OF_OPENAIS_SDK) == []


@each_document
def test_every_variable_of_the_environment_that_is_named_sets_something(document: Path):
    known = {setting.environment for setting in DECLARED.values()} | {"SIDECAR_CONFIG"}
    assert sorted(set(re.findall(r"SIDECAR_[A-Z_]+[A-Z]", document.read_text("utf-8"))) - known) == []


@cache
def code() -> str:
    return "".join(path.read_text("utf-8") for path in (docs.ROOT / "sidecar").rglob("*.py"))


#: A type of errors, and no metric.
_NO_METRIC = "error"


@each_document
def test_every_metric_and_header_of_ours_that_is_named_exists(document: Path):
    text = document.read_text("utf-8")
    metrics = re.findall(r"`(?:sidecar_|(?=gen_ai_))([a-z_]+)`", text)
    headers = re.findall(r"`(X-Sidecar-[A-Za-z-]+)", text)
    wanted = [*(f'"{name.removesuffix("_total")}"' for name in metrics if name != _NO_METRIC), *headers]
    assert [name for name in wanted if name not in code()] == []


def test_every_outcome_is_explained():
    row = next(line for line in TEXTS["headers.md"].splitlines() if line.startswith("| `X-Sidecar-Outcome`"))
    assert set(re.findall(r"`([a-z]+)`", row)) == {str(outcome) for outcome in Outcome}


def test_every_response_header_of_ours_is_explained():
    code = "".join(path.read_text("utf-8") for path in (docs.ROOT / "sidecar" / "proxy").glob("*.py"))
    named = set(re.findall(r'"(X-Sidecar-[A-Za-z-]+)"', code))
    assert named
    assert [name for name in sorted(named) if f"`{name}`" not in TEXTS["headers.md"]] == []


def test_every_error_of_ours_that_an_operator_can_cure_is_explained():
    codes = {
        each.code
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, errors.SidecarError)
    }
    told_by_themselves = {
        "internal_error",
        "invalid_request",
        "not_found",
        "request_timeout",
        "unknown_expectation",
    }
    assert (
        sorted(code for code in codes - told_by_themselves if f"`{code}`" not in TEXTS["troubleshooting.md"])
        == []
    )


def test_the_headers_for_open_webui_are_those_of_the_compose_file():
    line = next(line for line in TEXTS["openwebui.md"].splitlines() if line.startswith("OPENAI_API_CONFIGS="))
    (assignment,) = shlex.split(line)  # as a shell, or Compose's .env, would read it
    headers = json.loads(assignment.removeprefix("OPENAI_API_CONFIGS="))["0"]["headers"]
    compose = Path(docs.ROOT / "config" / "compose.yaml").read_text("utf-8")
    assert [name for name, value in headers.items() if f'"{name}": "{value}"' not in compose] == []


async def test_the_chat_of_the_readme_goes_on_over_responses_as_its_guide_says():
    settings = Settings(listen="127.0.0.1:0", store="memory:", responses=Responses(upstream="translate"))
    async with running(settings) as address:
        commands = [*curls(TEXTS["README.md"]), *curls(TEXTS["responses.md"])]
        *_, response, items = [await run_curl(arguments, address) for arguments in commands]
    assert response["answer"]["output"][0]["content"][0]["text"].startswith(
        "I see 5 messages; the first says"
    )
    assert [each["role"] for each in items["answer"]["data"]] == ["user", "assistant"] * 3


def test_every_section_on_a_client_says_whether_and_where_it_is_tested():
    text = TEXTS["clients.md"]
    sections = re.split(r"^## ", text, flags=re.M)[1:]
    clients = [each for each in sections if "```" in each or each.startswith(("n8n", "Cline"))]
    assert len(clients) >= 20
    untold = [
        each.splitlines()[0] for each in clients if not re.search(r"^(Tested: `|Not run\. )", each, re.M)
    ]
    assert untold == []
    named = set(re.findall(r"`(tests/[\w/]+\.py)`", text))
    assert named
    assert [name for name in sorted(named) if not (docs.ROOT / name).exists()] == []


@each_document
def test_every_command_of_the_sidecar_is_one(document: Path):
    for command in sidecar_commands(document.read_text("utf-8")):
        assert is_taken(command), command


def is_taken(command: list[str]) -> bool:
    try:
        return bool(vars(cli._parser().parse_args(command)))
    except SystemExit as done:  # `--version` does its work at once
        return done.code == 0


def sidecar_commands(text: str) -> list[list[str]]:
    """The arguments of every `sidecar …` in its shell blocks, without what is optional."""
    found = []
    for line in "".join(_SHELL.findall(text)).replace("\\\n", " ").splitlines():
        words = shlex.split(re.sub(r"\[.*?\]|\|delete", "", line), comments=True)
        at = next(
            (at for at, word in enumerate(words) if word == "sidecar" or word.endswith("/bin/sidecar")), None
        )
        if at is not None and "docker" not in words[:at] and "kubectl" not in words[:at]:
            found.append(words[at + 1 :])
    return found


def linked_from(document: Path) -> set[str]:
    return {Path(place).name for place, _ in _LINK.findall(document.read_text("utf-8"))}


REACHED = linked_from(docs.README).union(
    *(linked_from(docs.GUIDES / name) for name in ("openwebui.md", "clients.md"))
)
