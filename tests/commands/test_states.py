"""Every command on every state of a store says in one line what is wrong, and never a traceback."""

from __future__ import annotations

import base64
import os
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing

import pytest

from sidecar.cli import main
from tests.commands.conftest import talk
from tests.commands.webui import Webui, said
from tests.proxy.process import clean_environment

KEY, OTHER_KEY = (base64.b64encode(bytes([number]) * 32).decode() for number in (1, 2))
COMMANDS = {
    "export": ("export",),
    "export markdown": ("export", "--format", "markdown"),
    "list": ("conversations", "list"),
    "list jsonl": ("conversations", "list", "--format", "jsonl"),
    "list of a tenant": ("conversations", "list", "--tenant", "00" * 16),
    "list of a user": ("conversations", "list", "--user", "ada", "--no-credential"),
    "show": ("conversations", "show", "a"),
    "delete one": ("conversations", "delete", "a", "--yes"),
    "delete all": ("delete", "--all", "--yes"),
    "prune": ("prune",),
    "verify": ("verify",),
    "backup": ("backup", "{folder}/copy.db"),
    "rekey": ("rekey",),
    "migrate": ("migrate", "--from", "{store}", "--to", "sqlite:///{folder}/other.db"),
    "import": ("import", "openwebui", "{folder}/webui.db", "--no-credential"),
}
MAKES_A_STORE = {"import"}


@pytest.fixture(scope="module")
def stores(tmp_path_factory):
    """A store in clear and one that is encrypted, each with a conversation; copied for every test."""
    folder = tmp_path_factory.mktemp("stores")
    talk(folder / "clear.db", ("a", "hi", {}))
    talk(folder / "encrypted.db", ("a", "hi", {}), encryption={"key": KEY})
    return folder


def _execute(file, sql):
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.execute(sql)


def _copied(name, *changes):
    def make(stores, file):
        shutil.copy(stores / name, file)
        for each in changes:
            _execute(file, each)

    return make


def _another_program(_stores, file):
    _execute(file, "CREATE TABLE diary (day)")


CUT = "UPDATE secret SET value = CAST(substr(value, 1, 20) AS BLOB)"
STATES = {
    "missing": (lambda _stores, file: None, KEY),
    "no database": (lambda _stores, file: file.write_text("Dear diary, " * 100), ""),
    "a folder": (lambda _stores, file: file.mkdir(), ""),
    "another program's": (_another_program, ""),
    "newer": (_copied("clear.db", "PRAGMA user_version = 999"), ""),
    "encrypted, without a key": (_copied("encrypted.db"), ""),
    "encrypted, with another key": (_copied("encrypted.db"), OTHER_KEY),
    "in clear, with a key": (_copied("clear.db"), KEY),
    "its secret in clear": (_copied("encrypted.db", "UPDATE secret SET value = zeroblob(32)"), KEY),
    "its secret cut": (
        _copied("encrypted.db", "UPDATE secret SET value = CAST(substr(value, 1, 20) AS BLOB)"),
        KEY,
    ),
}
#: What works there: looking into nothing else than the state as it is.
WORKS = {
    ("in clear, with a key", "rekey"),
    ("in clear, with a key", "migrate"),
    ("missing", "import"),
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("command", COMMANDS)
def test_it_is_said_in_one_line(stores, tmp_path, capsys, monkeypatch, state, command):
    make, key = STATES[state]
    file = tmp_path / "sidecar.db"
    make(stores, file)
    Webui(tmp_path / "webui.db").add("chat-1", said("u1", None, "hi"))
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY", key)
    monkeypatch.setenv("SIDECAR_RETENTION__MAX_DAYS", "1")
    words = {"folder": tmp_path, "store": f"sqlite:///{file}"}
    arguments = [each.format(**words) for each in COMMANDS[command]]

    code = main([*arguments, *(() if command == "migrate" else ("--store", words["store"]))])

    out, err = capsys.readouterr()
    if (state, command) in WORKS:
        assert code == 0, err
        return
    assert (code, out) == (1, "")
    assert (err.count("\n"), err.startswith("sidecar: ")) == (1, True), err
    assert "a fault of its own" not in err
    assert file.exists() == (state != "missing")


@pytest.mark.parametrize("tenant", ["", "00", "zz", "00" * 17, "ü", "\x1b[2J"])
@pytest.mark.parametrize("command", [("conversations", "list"), ("delete", "--yes")])
@pytest.mark.parametrize("kind", ["clear", "encrypted"])
def test_a_tenant_that_is_none_is_said(stores, tmp_path, capsys, monkeypatch, kind, command, tenant):
    file = tmp_path / "sidecar.db"
    _copied(f"{kind}.db")(stores, file)
    monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY", KEY if kind == "encrypted" else "")

    code = main([*command, "--tenant", tenant, "--store", f"sqlite:///{file}"])

    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (1, "", 1)
    assert "is not a tenant (16 bytes)" in err
    assert "\x1b" not in err


def test_what_nobody_thought_of_is_one_line_as_well(monkeypatch, capsys):
    def fails(_settings, **_options):
        raise KeyError("s3cret")

    monkeypatch.setattr("sidecar.store_factory.store_of", fails)

    assert main(["verify", "--store", "postgresql://x@127.0.0.1:1/x"]) == 1
    out, err = capsys.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert "this is a bug in the sidecar (KeyError)" in err
    assert "s3cret" not in err


def _run(file, *arguments, environ=None, **options):
    command = [sys.executable, "-m", "sidecar", *arguments, "--store", f"sqlite:///{file}"]
    env = clean_environment() | (environ or {})
    return subprocess.run(command, stderr=subprocess.PIPE, timeout=60, check=False, env=env, **options)


@pytest.mark.parametrize("where", ["full", "closed", "left"])
def test_output_that_cannot_be_written_is_no_traceback(stores, where):
    if where == "full":
        with open("/dev/full", "w") as out:
            done = _run(stores / "clear.db", "export", stdout=out)
        assert (done.returncode, done.stderr) == (1, b"sidecar: [Errno 28] No space left on device\n")
    elif where == "closed":
        done = _run(stores / "clear.db", "export", preexec_fn=lambda: os.close(1))
        assert (done.returncode, done.stderr) == (0, b"")
    else:
        reading, writing = os.pipe()
        os.close(reading)
        with os.fdopen(writing, "w") as out:
            done = _run(stores / "clear.db", "conversations", "list", stdout=out)
        assert (done.returncode, done.stderr) == (141, b"")


def test_an_encoding_that_lacks_a_character_is_no_traceback(tmp_path):
    file = tmp_path / "sidecar.db"
    talk(file, ("a", "Grüße \U0001f600", {}))
    environ = {"PYTHONIOENCODING": "ascii"}
    done = _run(file, "export", "--format", "markdown", stdout=subprocess.PIPE, environ=environ)

    assert (done.returncode, done.stderr) == (0, b"")
    assert rb"Gr\xfc\xdfe \U0001f600" in done.stdout


class TestFilesWithSecrets:
    @pytest.fixture
    def key_file(self, tmp_path, monkeypatch):
        file = tmp_path / "key file"
        file.write_text(KEY)
        monkeypatch.setenv("SIDECAR_ENCRYPTION__KEY_FILE", str(file))
        return file

    @pytest.mark.parametrize(
        ("mode", "done"),
        [
            (0o600, None),
            (0o400, None),
            (0o644, "read"),
            (0o640, "read"),
            (0o666, "changed"),
            (0o620, "changed"),
        ],
    )
    def test_a_key_file_that_others_can_reach_is_said_with_the_cure(self, key_file, capsys, mode, done):
        key_file.chmod(mode)
        others = f"can be {done} by other users of this machine: chmod 600 '{key_file}'"
        told = f"encryption.key_file {key_file} {others}"
        for command in (["check-config"], ["verify", "--store", "memory:"]):
            main(command)
            assert (told in capsys.readouterr().err) == (done is not None)

    @pytest.mark.parametrize(
        ("text", "is_said"),
        [
            ('secret = "0123456789abcdef"\n', True),
            (f'[encryption]\nkey = "{KEY}"\n', True),
            ('store = "postgresql://me:word@127.0.0.1/x"\n', True),
            ('store = "postgresql://me@127.0.0.1/x"\nsecret = ""\n', False),
            ('listen = "127.0.0.1:1"\n', False),
        ],
    )
    def test_a_file_of_settings_is_said_if_there_is_a_secret_in_it(self, tmp_path, capsys, text, is_said):
        file = tmp_path / "s.toml"
        file.write_text(text)
        for mode in (0o644, 0o600):
            file.chmod(mode)
            assert main(["check-config", "--config", str(file)]) == 0
            told = f"the file of settings {file} can be read by other users"
            assert (told in capsys.readouterr().err) == (is_said and mode == 0o644)

    def test_what_is_made_is_for_its_owner_alone(self, stores, tmp_path, capsys):
        former = os.umask(0)
        try:
            file = tmp_path / "sidecar.db"
            talk(file, ("a", "hi", {}))
            assert main(["backup", str(tmp_path / "copy.db"), "--store", f"sqlite:///{file}"]) == 0
        finally:
            os.umask(former)

        modes = {each.name: stat.S_IMODE(each.stat().st_mode) for each in tmp_path.iterdir()}
        assert {"sidecar.db", "copy.db"} <= set(modes)
        assert set(modes.values()) == {0o600}
