"""The command line, in processes of its own where pipes and exit codes are the point."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from types import ModuleType

import pytest

import sidecar
from sidecar import cli
from sidecar.commands.tenant_selector import TenantSelector
from sidecar.errors import StoreUnavailable
from sidecar.store.migrations import migrations
from tests.proxy.process import clean_environment

pytestmark = pytest.mark.usefixtures("undisturbed")


@pytest.fixture
def calls(monkeypatch):
    """What the command line hands to the server and to the export, which have tests of their own."""
    seen = []
    app = ModuleType("sidecar.server.serve")

    def serve(settings, origins, folder):
        assert folder is None  # a single process shares none
        seen.append((settings, origins))
        return 7

    async def exported(settings, whose, **options):
        seen.append((settings, {"whose": whose, **options}))
        return 0

    vars(app)["serve"] = serve
    monkeypatch.setitem(sys.modules, "sidecar.server.serve", app)
    monkeypatch.setattr("sidecar.commands.export.export", exported)
    return seen


def failing(monkeypatch, error):
    app = ModuleType("sidecar.server.serve")

    def serve(settings, origins, folder):
        raise error

    vars(app)["serve"] = serve
    monkeypatch.setitem(sys.modules, "sidecar.server.serve", app)


def run(*arguments, out=subprocess.PIPE, **environment):
    command = [sys.executable, "-m", "sidecar", *arguments]
    env = clean_environment() | environment
    return subprocess.run(
        command, stdout=out, stderr=subprocess.PIPE, text=True, timeout=60, check=False, env=env
    )


def test_the_module_runs_as_a_program():
    done = run("--version")
    schemas = f"SQLite {len(migrations())}, PostgreSQL {len(migrations('postgres'))}"
    assert (done.returncode, done.stdout) == (
        0,
        f"sidecar {sidecar.__version__} (store schemas: {schemas})\n",
    )


def test_what_only_some_settings_need_is_not_loaded_by_all():
    program = "import sys, sidecar.cli, sidecar.server.serve; print(*sys.modules)"
    done = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, text=True, env=clean_environment(), check=True
    )
    loaded = {name.partition(".")[0] for name in done.stdout.split()}
    assert loaded & {"aiohttp", "asyncpg", "cryptography", "jwt", "uvloop"} == {"aiohttp"}


def test_a_thread_with_long_work_keeps_the_loop_waiting_for_half_a_millisecond_at_a_time():
    program = """
import sys
from sidecar.server.serve import _run
async def told():
    print(sys.getswitchinterval())
_run(told())
"""
    done = subprocess.run(
        (sys.executable, "-c", program), capture_output=True, text=True, env=clean_environment(), check=True
    )
    assert float(done.stdout) <= 0.0005


def test_without_a_command_the_usage_is_shown(capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([])
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "usage: sidecar" in said
    assert "Begin with `sidecar serve" in said


def test_on_a_system_without_posix_it_says_where_it_runs_instead():
    # As on Windows, where the import of the store would fail.
    program = """
import os, sys
os.name, sys.modules["fcntl"] = "nt", None
from sidecar.__main__ import main
sys.exit(main())
"""
    done = subprocess.run((sys.executable, "-c", program), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("sidecar: it needs Linux")
    assert "WSL 2" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_flag_is_not_guessed_from_its_beginning(capsys):
    with pytest.raises(SystemExit):
        cli.main(["serve", "--up", "demo"])
    assert "--up" in capsys.readouterr().err


def test_serve_hands_over_the_settings_and_returns_the_servers_code(calls, tmp_path):
    file = tmp_path / "s.toml"
    file.write_text('[logs]\nlevel = "debug"\n')
    arguments = ["--upstream", "http://127.0.0.1:9/x", "--listen", "127.0.0.1:0", "--store", "memory:"]
    assert cli.main(["serve", *arguments, "--config", str(file)]) == 7
    ((settings, origins),) = calls
    assert origins["logs.level"] == f"file {file}, key logs.level"
    assert (str(settings.upstream_base), settings.listen_port, settings.store_path) == (
        "http://127.0.0.1:9/x",
        0,
        None,
    )
    assert logging.getLogger("sidecar").level == logging.DEBUG


def test_serve_lists_every_mistake_on_a_line_of_its_own(calls, capsys, monkeypatch):
    monkeypatch.setenv("SIDECAR_TRIM__STEP", "7")
    assert cli.main(["serve", "--listen", "x", "--store", "y"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3
    assert all(line.startswith("sidecar: ") for line in lines)
    assert calls == []


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StoreUnavailable("sidecar.db is no database"), "sidecar: sidecar.db is no database\n"),
        (OSError(98, "address already in use"), "sidecar: [Errno 98] address already in use\n"),
    ],
)
def test_what_stops_the_server_is_one_line(monkeypatch, capsys, error, line):
    failing(monkeypatch, error)
    assert cli.main(["serve"]) == 1
    assert capsys.readouterr().err == line


def test_an_interrupt_ends_it_quietly(monkeypatch, capsys):
    failing(monkeypatch, KeyboardInterrupt())
    assert cli.main(["serve"]) == 130
    assert capsys.readouterr().err == ""


def test_check_config_shows_what_is_in_force_without_secrets(capsys, monkeypatch):
    monkeypatch.setenv("SIDECAR_SECRET", "hunter2 hunter2 hunter2")
    monkeypatch.setenv("SIDECAR_TRIM__MAX_TURNS", "12")
    assert cli.main(["check-config", "--listen", "[::1]:1"]) == 0
    out = capsys.readouterr().out
    assert 'listen = "[::1]:1"' in out
    assert "trim.max_turns = 12" in out
    assert "secret = (set)" in out
    assert "hunter2" not in out


def test_check_config_reports_all_mistakes_and_fails():
    done = run("check-config", "--upstream", "ftp://x", SIDECAR_LISTEN="x", SIDECAR_TRIMM="1")
    assert done.returncode == 1
    assert done.stdout == ""
    assert [line.split(" ")[1] for line in done.stderr.splitlines()] == ["environment", "upstream", "listen"]


def test_export_hands_over_what_was_asked_for(calls):
    assert cli.main(["export", "--store", "memory:", "--conversation", "c1", "--format", "markdown"]) == 0
    assert cli.main(["export"]) == 0
    assert cli.main(["export", "--user", "ada", "--no-credential"]) == 0
    (first, asked), (_, default), (_, of_one) = calls
    everybody, ada = TenantSelector(credentials=[]), TenantSelector("ada", [], no_credential=True)
    assert first.store == "memory:"
    assert asked == {"whose": everybody, "name": "c1", "format": "markdown", "out": sys.stdout}
    assert default == {"whose": everybody, "name": None, "format": "jsonl", "out": sys.stdout}
    assert of_one == {**default, "whose": ada}


def test_a_reader_that_leaves_early_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "w") as out:
        done = run("check-config", out=out)
    assert (done.returncode, done.stderr) == (141, "")
