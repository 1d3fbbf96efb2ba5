"""The tables `[[targets]]`: what cannot work is said at the start, with its cure, and no key is repeated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sidecar.settings import Settings, SettingsError, exposed_files, load, summary

HERE = {"name": "here", "url": "http://127.0.0.1:8081/v1", "models": ["qwen*"], "api_key": "hush"}


def loaded(*tables: Any) -> Settings:
    return load({}, {"SIDECAR_TARGETS": json.dumps(tables)})


def mistakes(*tables: Any) -> str:
    with pytest.raises(SettingsError) as caught:
        loaded(*tables)
    return "\n".join(caught.value.mistakes)


@pytest.mark.parametrize(
    ("given", "cure"),
    [
        ({"name": "Up There"}, "up to 32 of a to z"),
        ({"name": "default"}, "choose another"),
        ({"url": ""}, "give a URL"),
        ({"url": []}, "give a URL"),
        ({"url": "demo"}, "cannot be"),
        ({"url": ["http://a/v1", "http://a/v1"]}, "twice"),
        ({"url": "http://hush:hush@a/v1"}, "take it out of the URL"),
        ({"models": []}, "name the models"),
        ({"models": [""]}, "matches no model"),
        ({"rename": "fast"}, "table of names"),
        ({"rename": {"fast": 1}}, "table of names"),
        ({"parallel": 0}, "too small"),
        ({"priority": -1}, "too small"),
        ({"weight": 2}, "no such key"),
        ({"headers": {"X-Conversation-ID": "hush"}}, "names a conversation"),
        ({"headers": {"Authorization": "hush"}}, "both set Authorization"),
        ({"client_key": "/nowhere/hush.pem"}, "a file that this user can read"),
        ({"ca_file": "/nowhere/hush.pem"}, "a file that this user can read"),
        ({"proxy": "socks5://hush"}, "http://proxy.example:3128"),
        ({"url": "http://127.0.0.1:8790/v1"}, "the sidecar itself"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_a_table_that_cannot_work_is_refused_with_its_cure(given, cure):
    said = mistakes(HERE | given)
    assert said.startswith("targets (environment variable SIDECAR_TARGETS)")
    assert cure in said
    assert "hush" not in said.replace("/nowhere/hush.pem", "")


def test_two_of_one_name_are_refused():
    assert "two of them are called 'here'" in mistakes(HERE, HERE)


def test_what_is_missing_is_said():
    said = mistakes({"name": "here"})
    assert "[1].url: is missing" in said
    assert "[1].models: is missing" in said


def test_a_file_names_them_as_an_array_of_tables(tmp_path: Path):
    file = tmp_path / "sidecar.toml"
    file.write_text(
        'upstream = "http://127.0.0.1:8080/v1"\n'
        '[[targets]]\nname = "here"\nurl = ["http://127.0.0.1:8081", "http://127.0.0.1:8082"]\n'
        'models = "qwen*"\nrename = { fast = "qwen2.5" }\n'
        '[[targets]]\nname = "there"\nurl = "https://there.example/v1"\nmodels = ["*"]\npriority = 1\n'
    )
    here, there = load({"config": str(file)}, {}).targets
    assert here.url == ("http://127.0.0.1:8081", "http://127.0.0.1:8082")
    assert [here.serves(model) for model in ("qwen2.5", "fast", "gpt")] == [True, True, False]
    assert (there.priority, there.parallel, there.serves("")) == (1, None, True)


def test_of_them_name_and_number_of_urls_are_shown():
    two = {"name": "two", "url": ["http://a/v1", "http://b/v1"], "models": ["*"]}
    pods = {"name": "pods", "url": "http://pods/v1", "models": ["*"], "resolve": True}
    shown = "targets = here (1 URL), two (2 URLs), pods (the addresses of one name)\n"
    assert shown in summary(loaded(HERE, two, pods))


def test_their_keys_are_never_shown_and_a_file_with_them_is_to_be_ones_own(tmp_path: Path):
    assert "hush" not in summary(loaded(HERE))
    file = tmp_path / "sidecar.toml"
    file.write_text('[[targets]]\nname = "a"\nurl = "http://a/v1"\nmodels = ["*"]\n')
    file.chmod(0o644)
    flags = {"config": str(file)}
    assert exposed_files(flags, load(flags, {}), {}) == []
    file.write_text(file.read_text() + 'api_key = "hush"\n')
    assert len(exposed_files(flags, load(flags, {}), {})) == 1
