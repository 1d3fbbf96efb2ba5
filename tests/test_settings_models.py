"""The settings of single models: a list of tables."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from sidecar.settings import Settings, SettingsError, load, summary

BUDGETS = """
[trim]
max_input_tokens = "none"
[[trim.models]]
match = "gpt-4o*"
window = 128000
max_turns = 40
[[trim.models]]
match = "*"
max_input_tokens = "AUTO"
"""


def of_environment(text: str) -> Settings:
    return load({}, {"SIDECAR_TRIM__MODELS": text})


def only_mistake(text: str) -> str:
    with pytest.raises(SettingsError) as caught:
        of_environment(text)
    (mistake,) = caught.value.mistakes
    return mistake


def test_tables_come_from_the_file_and_say_only_what_they_say(tmp_path: Path):
    file = tmp_path / "models.toml"
    file.write_text(BUDGETS)
    first, second = load({"config": str(file)}, {}).trim.models
    assert (first.match, first.window, first.max_turns) == ("gpt-4o*", 128000, 40)
    assert first.model_fields_set == {"match", "window", "max_turns"}
    assert (second.max_input_tokens, second.window) == ("auto", None)


def test_in_the_environment_they_are_json_and_take_the_place_of_the_files(tmp_path: Path):
    file = tmp_path / "models.toml"
    file.write_text(BUDGETS)
    environ = {"SIDECAR_TRIM__MODELS": '[{"match":"a","max_messages":"none","max_input_tokens":9}]'}
    (only,) = load({"config": str(file)}, environ).trim.models
    assert (only.match, only.max_messages, only.max_input_tokens) == ("a", None, 9)


@pytest.mark.parametrize(
    ("tables", "says"),
    [
        ([{"window": 4096}], " [1].match: is missing"),
        ([{"match": ""}], " [1].match: is empty and matches no model"),
        ([{"match": 1}], " [1].match: 1 is not text"),
        ([{"match": "a", "window": 8}], " [1].window: 8 is too small; give 256 or more"),
        ([{"match": "a", "max_turn": 8}], " [1].max_turn: there is no such key"),
        ([{"match": "a"}, {"match": "b", "max_turns": "x"}], ' [2].max_turns: "x" is not a whole number'),
        ([{"match": "a", "max_input_tokens": "8k"}], ' [1].max_input_tokens: "8k" is not a whole number'),
        (["gpt"], ': "gpt" is not a table; write {match = "…"}'),
        (
            [{"match": "*"}, {"match": "b"}],
            ": the table for 'b' is never reached, since '*' stands before it; put it first or take it out",
        ),
        ([{"match": "a"}, {"match": "a"}], ": the table for 'a' is never reached"),
    ],
)
def test_a_table_that_cannot_work_is_named_with_its_cure(tables, says):
    mistake = only_mistake(json.dumps(tables))
    assert mistake.startswith(f"trim.models (environment variable SIDECAR_TRIM__MODELS){says}")


def test_what_is_no_json_is_shown_how():
    assert "write a JSON array" in only_mistake("gpt-4o,o3")
    assert "is not a JSON array" in only_mistake("[{")


def test_a_table_may_not_be_too_tight_for_the_first_turn():
    with pytest.raises(SettingsError, match="1 is not enough for the first turn and the newest"):
        load(
            {},
            {
                "SIDECAR_TRIM__MODELS": '[{"match": "a", "max_turns": 1}]',
                "SIDECAR_TRIM__KEEP_FIRST_TURN": "true",
            },
        )


def test_the_summary_shows_tables_as_they_may_be_written():
    rules = [{"match": "a", "window": 4096, "max_turns": None}, {"match": "*"}]
    line = summary(Settings.model_validate({"trim": {"models": rules}})).splitlines()[-1]
    assert line == 'trim.models = [{match = "a", window = 4096, max_turns = "none"}, {match = "*"}]'
    assert len(Settings(trim=tomllib.loads(line)["trim"]).trim.models) == 2
