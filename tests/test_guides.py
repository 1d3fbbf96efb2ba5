"""The guides can be followed: their commands and settings are taken. `./dev e2e` runs their programs."""

from __future__ import annotations

import ast
import json
import re
import tomllib
from pathlib import Path

import pytest

import sidecar
from sidecar import cli
from sidecar.settings import load
from tests import docs
from tests.e2e.openwebui.server import RESPONSES, settings_of
from tests.guides import FOLDER, GUIDES, blocks, commands, text_of

pytestmark = pytest.mark.usefixtures("undisturbed")

_SCREEN = 60  # lines
_CODE = re.compile(r"`([a-z_]+)`")
#: Errors that no client gets: a command says their messages.
_OF_COMMANDS = {"cannot_ask", "invalid_settings"}
_PROGRAMS = {"sidecar", "llama-server", "codex", "npm", "open-webui"}
each_guide = pytest.mark.parametrize("guide", GUIDES)


@each_guide
def test_it_fits_on_a_screen_and_the_list_of_recipes_leads_to_it(guide: str):
    assert len(text_of(guide).splitlines()) <= _SCREEN
    assert f"({guide}.md)" in (FOLDER / "clients.md").read_text("utf-8")


@each_guide
def test_its_commands_are_taken(guide: str, monkeypatch: pytest.MonkeyPatch):
    told = commands(guide)
    assert {command[0] for _, command in told} <= _PROGRAMS
    ours = [(variables, command[1:]) for variables, command in told if command[0] == "sidecar"]
    for variables, arguments in ours:
        given = vars(cli._parser().parse_args(arguments))
        del given["run"]
        if arguments[0] == "serve":
            for name, value in variables.items():
                monkeypatch.setenv(name, value)
            settings = load(given)
            assert (settings.responses.upstream, settings.listen) == ("translate", "127.0.0.1:8790")
            (engine,) = (command for _, command in told if command[0] == "llama-server")
            assert settings.upstream == f"http://127.0.0.1:{engine[engine.index('--port') + 1]}/v1"
    assert [arguments[0] for _, arguments in ours].count("serve") == 1


def test_its_programs_can_be_read():
    for guide in GUIDES:
        for text in blocks(guide, "python"):
            ast.parse(text)
        for text in blocks(guide, "toml"):
            tomllib.loads(text)


def test_open_webui_is_told_what_its_guide_and_the_tests_with_it_tell():
    ((variables, _),) = [each for each in commands("openwebui-responses") if each[1][0] == "open-webui"]
    connections = json.loads(variables["OPENAI_API_CONFIGS"])
    assert connections == json.loads(settings_of(RESPONSES)["OPENAI_API_CONFIGS"])
    assert json.dumps(connections["0"]["headers"], separators=(",", ":")) in docs.OPENWEBUI.read_text("utf-8")
    (pasted,) = blocks("openwebui", "json")
    assert json.loads(pasted) == connections["0"]["headers"]


def codes_of_errors() -> set[str]:
    """What the sidecar's errors may have for a code: of their classes, and where they are raised."""
    found = set()
    for file in Path(sidecar.__file__).parent.rglob("*.py"):
        for each in ast.walk(ast.parse(file.read_text("utf-8"))):
            match each:
                case ast.keyword("code", ast.Constant(str(code))) | ast.Assign(
                    [ast.Name("code")], ast.Constant(str(code))
                ):
                    found.add(code)
                case _:
                    pass
    return found


def test_every_code_of_an_error_is_explained_by_symptom():
    guide = (FOLDER / "troubleshooting.md").read_text("utf-8")
    told = {code for line in guide.splitlines() if line.startswith("| ") for code in _CODE.findall(line)}
    assert {"invalid_user_token", "internal_error", "store_unavailable"} <= codes_of_errors()
    assert codes_of_errors() - told == _OF_COMMANDS
