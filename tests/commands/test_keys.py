"""Keys that the operator gives to clients, from the command line."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from contextlib import closing

import pytest

from tests.commands.conftest import talk

KEY = re.compile(r"sk-sc-([0-9a-z]{10})-[0-9A-Za-z]{43}\n")
REQUIRED = {"keys": {"enforcement": "required"}}


def added(run, *arguments):
    code, out, err = run("keys", "add", *arguments)
    assert code == 0, err
    found = KEY.fullmatch(out)
    assert found is not None, "alone on its line, so that it can be read by programs"
    assert "shown this once" in err
    assert out.strip() not in err
    return out.strip(), found[1]


def listed(run):
    code, out, _ = run("keys", "list", "--format", "jsonl")
    assert code == 0
    return [json.loads(line) for line in out.splitlines()]


def test_a_key_is_printed_once_and_listed_without_it(run):
    key, id = added(
        run,
        "ada",
        "--models",
        "qwen*, gpt",
        "--models",
        "b",
        "--parallel",
        "4",
        "--rpm",
        "60",
        "--expires",
        "90d",
    )
    (line,) = listed(run)
    assert line["expires_at"] - line["created_at"] == pytest.approx(90 * 86_400)
    assert abs(line["created_at"] - time.time()) < 60
    about = {name: line[name] for name in ("name", "id", "state", "models", "parallel", "rpm", "last_used")}
    assert about == {
        "name": "ada",
        "id": id,
        "state": "valid",
        "models": ["qwen*", "gpt", "b"],
        "parallel": 4,
        "rpm": 60,
        "last_used": None,
    }
    _, out, _ = run("keys", "list")
    assert re.search(rf"^ada +{id} +valid +\S+ +\S+ +never +4 +60 +qwen\*, gpt, b$", out, re.MULTILINE)
    assert key[17:] not in out + json.dumps(line)


def test_it_is_said_which_store_has_it_and_that_this_is_new(run, file):
    for name, which in (("ada", "a new store, "), ("bob", "the store ")):
        _, _, err = run("keys", "add", name)
        assert re.fullmatch(
            rf"sidecar: the key {name} \(\w+\) in {which}{re.escape(str(file))}, shown this once\n", err
        )


def test_it_admits_its_client_until_it_is_revoked(run, file):
    key, id = added(run, "ada")
    talk(file, ("a", "hi", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    assert listed(run)[0]["last_used"] == time.strftime("%Y-%m-%d", time.gmtime())

    code, out, err = run("keys", "revoke", "ada")
    assert (code, out) == (0, "")
    assert f"ada ({id}) is revoked" in err
    assert listed(run)[0]["state"] == "revoked"
    with pytest.raises(AssertionError, match="invalid_api_key"):
        talk(file, ("a", "hi", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    assert run("keys", "revoke", "ada")[2] == "sidecar: the key ada is revoked\n"


def test_rotated_it_has_the_same_chats_and_the_old_one_goes(run, file):
    old, id = added(run, "ada")
    talk(file, ("a", "hi", {"Authorization": f"Bearer {old}"}), **REQUIRED)
    code, out, err = run("keys", "rotate", id, "--grace", "1h")
    assert (code, out[6:16]) == (0, id)
    assert "valid for 3600 s" in err
    assert listed(run)[0]["state"] == "rotated"
    for key in (out.strip(), old):
        talk(file, ("a", "hi", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    assert len(run("conversations", "list", "--key", "ada")[1].splitlines()) == 2
    assert len(run("conversations", "list")[1].splitlines()) == 2

    code, out, _ = run("keys", "rotate", "ada")
    with pytest.raises(AssertionError, match="invalid_api_key"):
        talk(file, ("a", "hi", {"Authorization": f"Bearer {old}"}), **REQUIRED)
    assert run("delete", "--key", "ada", "--yes")[0] == 0
    assert len(run("conversations", "list")[1].splitlines()) == 1


def test_that_a_key_alone_means_none_of_the_users_behind_it_is_said(run, file):
    key, _ = added(run, "ada")
    talk(file, ("a", "hi", {"Authorization": f"Bearer {key}", "X-User-ID": "u1"}), **REQUIRED)
    for command in ("conversations", "list"), ("export",), ("delete", "--yes"):
        assert "each user behind it is another tenant: add --user ID" in run(*command, "--key", "ada")[2]
    assert run("export", "--key", "ada")[0] == 1
    code, out, err = run("conversations", "list", "--key", "ada", "--user", "u1")
    assert (code, len(out.splitlines()), err) == (0, 2, "")


def test_one_that_has_expired_is_renewed_with_another_secret(run):
    added(run, "ada", "--expires", "0s")
    assert listed(run)[0]["state"] == "expired"
    assert "has expired" in run("keys", "rotate", "ada")[2]
    assert run("keys", "rotate", "ada", "--expires", "1d")[0] == 0
    assert listed(run)[0]["state"] == "valid"


def test_its_limits_are_changed_and_nothing_else_of_it(run, file):
    key, id = added(run, "ada", "--models", "d*", "--parallel", "4", "--rpm", "60", "--expires", "90d")
    talk(file, ("a", "hi", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    (before,) = listed(run)
    code, out, err = run("keys", "set", "ada", "--parallel", "8", "--models", "demo, gpt*")
    assert (code, out) == (0, "")
    assert f"ada ({id}), within 5 seconds: models demo, gpt*, parallel 8, rpm 60, expires 20" in err
    assert listed(run) == [before | {"parallel": 8, "models": ["demo", "gpt*"]}]
    talk(file, ("a", "and?", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    assert len(run("conversations", "list", "--key", "ada")[1].splitlines()) == 2

    every = ("--parallel", "none", "--rpm", "none", "--models", "*", "--expires", "none")
    assert run("keys", "set", id, *every)[2].endswith("models all, parallel any, rpm any, expires never\n")
    assert listed(run) == [before | {"parallel": None, "rpm": None, "models": [], "expires_at": None}]
    run("keys", "set", id, "--expires", "0s")
    assert listed(run)[0]["state"] == "expired"
    run("keys", "set", id, "--expires", "1d", "--rpm", "5")
    assert (listed(run)[0]["state"], listed(run)[0]["rpm"]) == ("valid", 5)


def test_what_of_it_is_to_change_has_to_be_said_of_a_key_that_there_is(run):
    added(run, "ada")
    assert "say what to change" in run("keys", "set", "ada")[2]
    assert "names no model" in run("keys", "set", "ada", "--models", " ,")[2]
    assert "there is no key grace" in run("keys", "set", "grace", "--rpm", "1")[2]
    run("keys", "revoke", "ada")
    assert "is revoked" in run("keys", "set", "ada", "--rpm", "1")[2]


@pytest.mark.parametrize("arguments", [("--parallel", "0"), ("--rpm", "None"), ("--expires", "ever")])
def test_a_limit_that_is_none_is_refused(run, arguments, capsys):
    added(run, "ada")
    with pytest.raises(SystemExit) as caught:
        run("keys", "set", "ada", *arguments)
    assert caught.value.code == 2


def test_a_name_is_one_key_s_as_long_as_that_is_valid(run):
    first, _ = added(run, "ada")
    assert "there is a key ada already" in run("keys", "add", "ada")[2]
    run("keys", "revoke", "ada")
    second, id = added(run, "ada")
    assert first != second
    assert "several keys are called ada" in run("conversations", "list", "--key", "ada")[2]
    assert run("conversations", "list", "--key", id)[0] == 0
    assert run("keys", "revoke", "ada")[0] == 0
    assert "there is no key grace" in run("keys", "rotate", "grace")[2]


@pytest.mark.parametrize(
    "arguments",
    [
        ("",),
        ("a" * 101,),
        ("a\x1b[0m",),
        ("a", "--parallel", "0"),
        ("a", "--parallel", "1001"),
        ("a", "--rpm", "-1"),
        ("a", "--rpm", "x"),
        ("a", "--expires", "90"),
        ("a", "--expires", "d"),
        ("a", "--expires", "1.5h"),
    ],
)
def test_what_cannot_be_meant_is_refused(run, arguments):
    with pytest.raises(SystemExit) as caught:
        run("keys", "add", *arguments)
    assert caught.value.code == 2


def test_a_store_in_memory_has_none(run):
    for command in (("add", "ada"), ("list",)):
        code, _, err = run("keys", *command, "--store", "memory:", store=None)
        assert code == 1
        assert "keeps nothing" in err


def test_verify_tells_of_one_that_is_damaged_and_a_backup_has_them(run, file, tmp_path):
    _, id = added(run, "ada")
    assert run("backup", str(tmp_path / "copy.db"))[0] == 0
    code, out, _ = run("keys", "list", store=tmp_path / "copy.db")
    assert id in out
    assert run("verify")[0] == 0
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute("UPDATE client_key SET data = x'00'")
    code, out, err = run("verify")
    assert code == 1
    assert out == f"key {id}: cannot be read: the client key {id} is not what was written there\n"
    assert "1 things are wrong" in err


def test_migrate_takes_them_along_and_again_what_was_changed(run, file, tmp_path):
    key, _ = added(run, "ada")
    target = tmp_path / "other.db"
    urls = ("--from", f"sqlite:///{file}", "--to", f"sqlite:///{target}")
    assert run("migrate", *urls, store=None)[0] == 0
    talk(target, ("a", "hi", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    run("keys", "revoke", "ada")
    assert run("migrate", *urls, store=None)[0] == 0
    with pytest.raises(AssertionError, match="invalid_api_key"):
        talk(target, ("a", "hi", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    other = tmp_path / "third.db"
    run("keys", "add", "grace", store=other)
    code, _, err = run("migrate", "--from", f"sqlite:///{file}", "--to", f"sqlite:///{other}", store=None)
    assert code == 1
    assert "under another secret" in err


def test_a_client_s_chats_are_found_by_its_key_where_keys_are_on(run, file, monkeypatch):
    key, _ = added(run, "ada")
    talk(file, ("a", "hi", {"Authorization": f"Bearer {key}"}), **REQUIRED)
    assert len(run("conversations", "list", "--credential", key)[1].splitlines()) == 1
    monkeypatch.setenv("SIDECAR_KEYS__ENFORCEMENT", "required")
    assert len(run("conversations", "list", "--credential", key)[1].splitlines()) == 2
    assert "leave out the others" in run("conversations", "list", "--key", "ada", "--credential", "x")[2]
