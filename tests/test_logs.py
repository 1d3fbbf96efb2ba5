"""Log lines, in both formats, as they arrive on standard error."""

from __future__ import annotations

import json
import logging
import re

import pytest

from sidecar import logs
from sidecar.inspector.door import Door


@pytest.fixture
def said(capsys):
    """Configure, let `speak` log, return the lines."""

    def lines(format, speak, level="info"):
        logs.configure(level, format)
        speak(logging.getLogger("sidecar.store"))
        return capsys.readouterr().err.splitlines()

    return lines


def test_text_is_a_line_with_time_level_logger_message_and_fields(said):
    (line,) = said(
        "text", lambda log: log.info("opened %s", "it", extra={"path": "a.db", "why": "a b", "n": 3})
    )
    time, rest = line.split(" ", 1)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}\+00:00", time)
    assert rest == 'info sidecar.store: opened it path=a.db why="a b" n=3'


def test_json_is_an_object_a_line_with_the_fields_as_members(said):
    (line,) = said(
        "json", lambda log: log.warning("opened %s", "it", extra={"path": "a.db", "n": 3, "of": {1: b"x"}})
    )
    event = json.loads(line)
    assert event.pop("time").endswith("+00:00")
    assert event == {
        "level": "warning",
        "logger": "sidecar.store",
        "message": "opened it",
        "path": "a.db",
        "n": 3,
        "of": {"1": "b'x'"},
    }


def test_a_field_cannot_take_the_place_of_what_every_event_has(said):
    (line,) = said("json", lambda log: log.info("x", extra={"level": "none", "logger": "none"}))
    assert (json.loads(line)["level"], json.loads(line)["logger"]) == ("info", "sidecar.store")


@pytest.mark.parametrize("format", ["text", "json"])
def test_of_a_long_field_only_the_beginning_is_said(said, format):
    (line,) = said(format, lambda log: log.info("x", extra={"model": "m" * 1_000_000}))
    assert "m" * 500 in line
    assert "1000000 characters" in line
    assert len(line) < 1000


def fail(log):
    try:
        raise ValueError("bad\nvalue")
    except ValueError:
        log.exception("it failed", extra={"conversation": "c1"})


def test_a_traceback_follows_its_text_line_indented(said):
    first, *trace = said("text", fail)
    assert first.endswith("error sidecar.store: it failed conversation=c1")
    assert trace[0] == "    Traceback (most recent call last):"
    assert trace[-2:] == ["    ValueError: bad", "    value"]


def test_a_traceback_is_a_member_of_its_json_object(said):
    (line,) = said("json", fail)
    assert json.loads(line)["exception"].endswith("ValueError: bad\nvalue")


def test_what_a_client_sent_cannot_make_a_line_of_its_own(said):
    evil = "a\nerror sidecar: \x1b[31mfake\u2028"
    (line,) = said("text", lambda log: log.info("got %s", evil, extra={"id": evil, "empty": ""}))
    assert r"got a\nerror sidecar: \x1b[31mfake\u2028 id=" in line
    assert line.endswith(' empty=""')
    assert "\x1b" not in line
    assert len(line.splitlines()) == 1


@pytest.mark.parametrize("format", ["text", "json"])
def test_nothing_that_looks_like_a_credential_gets_out(said, format):
    def speak(log):
        log.info("sent Bearer hunter2.hunter2", extra={"Authorization": "hunter2", "api_key": "hunter2"})
        log.info("key sk-hunter2-hunter2", extra={"cookie": b"hunter2", "user_jwt_secret": "hunter2"})
        try:
            raise ValueError("authorization: bearer hunter2hunter2")
        except ValueError:
            log.exception("failed")

    text = "\n".join(said(format, speak))
    assert "hunter2" not in text
    assert text.count("(hidden)") == 8


def test_the_level_is_the_least_that_is_said(said):
    def speak(log):
        log.debug("one")
        log.warning("two")

    assert len(said("text", speak, "debug")) == 2
    assert len(said("text", speak, "info")) == 1
    assert said("text", speak, "error") == []


def test_libraries_speak_in_the_same_format_when_something_is_wrong(said):
    def speak(_log):
        logging.getLogger("aiohttp.server").info("not this")
        logging.getLogger("aiohttp.server").error("but this")

    (line,) = said("json", speak, "debug")
    assert json.loads(line)["message"] == "but this"


def test_configured_twice_it_says_everything_once(said):
    said("text", lambda log: None)
    assert len(said("json", lambda log: log.info("once"))) == 1


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    "address",
    [
        "http://up/v1/models?key=SECRET",
        "/v1/chat/completions?x=1&api-key=SECRET",
        "/x?%6bey=SECRET#here",
        "http://up/?token=SECRET,",
        "('/x?access_token=SECRET',)",
    ],
)
def test_no_parameter_of_an_address_is_said(capsys: pytest.CaptureFixture[str], format: str, address: str):
    logs.configure("info", format)
    try:
        raise ValueError(f"cannot read {address}")
    except ValueError:
        logging.getLogger("sidecar.test").exception("at %s", address, extra={"path": address})
    said = capsys.readouterr().err
    assert said.count("?(hidden)") >= 3
    assert "SECRET" not in said


@pytest.mark.parametrize(
    "name", ['m?key=" status=200 other="', "m?key=\\", 'm?key=","level":"error","x":"', 'sk-12345678/" a="b']
)
def test_what_is_hidden_of_a_name_does_not_take_the_end_of_its_quotation_along(said, name):
    def speak(log):
        log.info("exchange", extra={"model": name, "all": [{"of": (name, 1)}], "status": 500})

    (line,) = said("json", speak)
    event = json.loads(line)
    assert event["level"] == "info"
    assert event["status"] == 500
    assert "(hidden)" in event["model"]
    assert event["all"] == [{"of": [event["model"], 1]}]
    (line,) = said("text", speak)
    (shown,) = re.findall(r' model=("(?:[^"\\]|\\.)*"|[^ "=\\]+) all=', line)
    assert (json.loads(shown) if shown.startswith('"') else shown) == event["model"]


@pytest.mark.parametrize("format", ["text", "json"])
@pytest.mark.parametrize(
    "place", ["/-/inspect/", "//-/inspect//", "/-/inspect%2F", "http://127.0.0.1:1/-/inspect/"]
)
def test_the_token_of_the_inspector_is_not_said(said, format, place):
    token = Door().token
    (line,) = said(format, lambda log: log.info("refused", extra={"path": f"{place}{token}/c/x/"}))
    assert token not in line
    assert "inspect" in line


def test_of_what_a_library_says_again_and_again_one_line_a_minute_is_said(said, monkeypatch):
    for _ in range(2):  # the last call counts
        logs.say_seldom("chatty", 60.0)
    now = 1000.0
    monkeypatch.setattr("sidecar.logs.time.monotonic", lambda: now)

    def speak(_log):
        nonlocal now
        for second in range(130):
            now = 1000.0 + second
            logging.getLogger("chatty").warning("try %s", second)

    lines = [line.split(" ", 1)[1] for line in said("text", speak)]
    assert lines == [
        "warning chatty: try 0",
        "warning chatty: try 60 left_out=59",
        "warning chatty: try 120 left_out=59",
    ]
