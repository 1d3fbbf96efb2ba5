"""A store with keys, as the settings give them."""

from __future__ import annotations

import base64
import json
import sqlite3
from contextlib import closing

import pytest

from tests.commands.conftest import talk as talks

FIRST, SECOND = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))


@pytest.fixture
def with_keys(monkeypatch):
    def with_keys(*keys):
        monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY", ",".join(keys))

    return with_keys


def words(folder):
    return b"".join(each.read_bytes() for each in folder.iterdir() if each.is_file())


SAID = [("a", "the xyzzy question", {}), ("a", "and then?", {}), ("b", "hi", {"api-key": "k"})]


def test_a_sidecar_with_a_key_does_all_it_does_without_one(run, file, with_keys):
    talks(file, *SAID, encryption={"key": FIRST})
    assert b"xyzzy" not in words(file.parent)

    code, out, err = run("export")
    assert (code, out) == (1, "")
    assert "is encrypted: set encryption.key or encryption.key_file" in err
    with_keys(FIRST)
    exported = [json.loads(line) for line in run("export")[1].splitlines()]
    assert [len(each["messages"]) for each in exported] == [4, 2]
    assert [each["outcome"] for line in exported for each in line["exchanges"]] == [
        "start",
        "append",
        "start",
    ]
    assert exported[0]["messages"][0]["message"]["content"] == "the xyzzy question"
    assert run("verify")[2] == "sidecar: 2 conversations with 6 messages: all as it was recorded\n"
    assert run("conversations", "list", "--credential", "api-key: k")[1].count("\n") == 2
    assert run("delete", "--credential", "api-key: k", "--yes")[0] == 0
    assert run("conversations", "list")[1].count("\n") == 2


def test_rekey_takes_a_store_from_no_key_to_one_and_to_the_next(run, file, with_keys):
    talks(file, *SAID)
    before = run("export")[1]
    assert b"xyzzy" in words(file.parent)

    with_keys(FIRST)
    assert run("rekey") == (0, "", "sidecar: encrypted 2 conversations with the first key\n")
    assert b"xyzzy" not in words(file.parent)
    assert run("export")[1] == before
    with_keys(SECOND)
    assert "none of encryption.key" in run("export")[2]
    with_keys(SECOND, FIRST)
    assert run("rekey")[2] == "sidecar: encrypted 2 conversations with the first key\n"
    assert run("rekey")[2] == "sidecar: encrypted 0 conversations with the first key\n"
    with_keys(SECOND)
    assert run("export")[1] == before
    assert run("verify")[0] == 0


def test_without_a_key_there_is_nothing_to_encrypt_with(run, file):
    talks(file, *SAID)

    assert "there is no key to encrypt with" in run("rekey")[2]


def test_migrating_encrypts_the_copy_and_leaves_the_store_as_it_is(run, file, tmp_path, with_keys):
    talks(file, *SAID)
    before, plain = run("export")[1], run("export")[1]
    other = tmp_path / "other" / "sidecar.db"
    other.parent.mkdir()
    urls = ["--from", f"sqlite:///{file}", "--to", f"sqlite:///{other}"]
    with_keys(FIRST)
    for _ in range(2):
        assert run("migrate", *urls, store=None)[0] == 0

    assert b"xyzzy" not in words(other.parent)
    assert run("export", store=other)[1] == before
    third = tmp_path / "third.db"
    urls = ["--from", f"sqlite:///{other}", "--to", f"sqlite:///{third}"]
    assert run("migrate", *urls, store=None)[0] == 0
    assert run("export", store=third)[1] == before
    with_keys()
    assert run("export")[1] == plain


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("short", "is not a list of keys"),
        ("", "is not a list of keys"),
        (b"\xff\xfe", "is not text"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_holds_no_key_is_said_so(run, file, tmp_path, monkeypatch, content, said):
    talks(file, *SAID)
    key_file = tmp_path / "keys" / "key"
    key_file.parent.mkdir()
    if content is not None:
        key_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY_FILE", str(key_file))
    code, _, err = run("export")

    assert code == 1
    assert f"encryption.key_file {key_file} {said}" in err


def test_a_file_holds_a_key_on_each_line(run, file, tmp_path, monkeypatch):
    talks(file, *SAID, encryption={"key": FIRST})
    (tmp_path / "key").write_text(f"{SECOND}\n{FIRST}\n")
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY_FILE", str(tmp_path / "key"))

    assert sum('"messages"' in line for line in run("export")[1].splitlines()) == 2


def test_a_key_that_is_none_is_a_mistake_in_the_settings_and_never_shown(run, with_keys):
    with_keys("c2hvcnQ=")
    code, _, err = run("check-config", store=None)

    assert code == 1
    assert "encryption.key (environment variable SIDECAR_ENCRYPTION__KEY): is not a list of keys" in err
    assert "c2hvcnQ" not in err
    with_keys(FIRST)
    code, out, _ = run("check-config", store=None)
    assert (code, "encryption.key = (set)" in out, FIRST in out) == (0, True, False)


def test_a_key_and_a_file_with_one_are_too_much(run, with_keys, monkeypatch):
    with_keys(FIRST)
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY_FILE", "key")

    assert "the key is given twice" in run("check-config", store=None)[2]


def test_verify_says_which_conversation_was_tampered_with_and_goes_on(run, file, with_keys):
    talks(file, *SAID, encryption={"key": FIRST})
    with_keys(FIRST)
    with closing(sqlite3.connect(file)) as connection, connection:
        other = "SELECT body FROM message WHERE number = 2"
        connection.execute(f"UPDATE message SET body = ({other}) WHERE number = 1")
    code, out, err = run("verify")

    assert code == 1
    assert ": cannot be read: the body of b2:" in out
    assert "is not what was written there: it was changed, or is from elsewhere" in out
    assert err == "sidecar: 1 conversations with 2 messages: 1 things are wrong\n"
