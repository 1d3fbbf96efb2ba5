"""`sidecar serve | check | check-config | doctor`, and the commands of `sidecar.commands`.

Rule: each mistake is reported in one line, never as a traceback. Exit codes: 0 success, 1 failure,
2 the command line or the settings are wrong (`check-config`: 1, since finding that is its job).
`doctor`: 0 nothing needs to change, 1 something does, 2 the sidecar could not be reached.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import json
import logging
import os
import signal
import sys
from collections.abc import Sequence
from typing import Any

from sidecar import __version__, logs
from sidecar.commands import parsers
from sidecar.errors import SidecarError
from sidecar.printable import in_json, printable
from sidecar.server.metrics_folder import metrics_folder
from sidecar.settings import Settings, SettingsError, exposed_files, load, origins, summary
from sidecar.store.migrations import newest_schema

__all__ = ["main"]

log = logging.getLogger("sidecar")

#: What to do behind each command; the help says so.
_NEXT = {
    "sidecar": "Begin with `sidecar serve --upstream URL`, the base URL that you would give to an SDK;"
    " `sidecar check --upstream URL` says beforehand what it is. Then `sidecar doctor` says what clients"
    " send, and what to change. Every setting can also be set by an environment variable (SIDECAR_...) or in"
    " the file.",
    "serve": "Without --upstream it serves the demo. Next: give clients the address that it prints as their"
    " base URL; then `sidecar doctor` says what arrives, and what to change.",
    "check": "It asks no model. Next: `sidecar serve` with the same flags, and the settings that it names.",
    "check-config": "Next: `sidecar check` asks the upstream, `sidecar serve` serves, with the same flags.",
    "upgrade": "Make a backup and stop the sidecar before: an older version refuses what this leaves. Next:"
    " `sidecar verify`, then `sidecar serve`, which upgrades by itself as well.",
    "doctor": "Exit code 0: nothing has to be changed; 1: something has; 2: no sidecar could be asked. Next:"
    " `sidecar inspect ID` shows what happened in one conversation.",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command, `argv` without the program's name; returns the exit code."""
    _have_somewhere_to_write()
    parser, given = _parser(), sys.argv[1:] if argv is None else argv
    if not given:
        parser.exit(2, parser.format_help())
    arguments = vars(parser.parse_args(given))
    run = arguments.pop("run")
    try:
        code: int = run(arguments)
        # A closed pipe is noticed here and not when the interpreter exits.
        sys.stdout.flush()
        return code
    except SettingsError as error:
        _complain(*error.mistakes)
        return 2
    except SidecarError as error:
        _complain(error.message)
    except BrokenPipeError:
        return _reader_left()
    except OSError as error:
        _complain(str(error))
        _let_go_of_output()
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # the rule above; where it came from is for whoever looks for the fault
        log.debug("the command failed", exc_info=error)
        _complain(
            f"this is a bug in the sidecar ({type(error).__name__}): please report it, with the output of"
            " SIDECAR_LOGS__LEVEL=debug"
        )
    return 1


def _have_somewhere_to_write() -> None:
    """Python has no stream where the caller closed one, and cannot write every character to others."""
    sys.stdout, sys.stderr = (
        stream or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115 - as long as the process
        for stream in (sys.stdout, sys.stderr)
    )
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _parser() -> argparse.ArgumentParser:
    config = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    config.add_argument(
        "--config", metavar="FILE", help="TOML file with settings (else SIDECAR_CONFIG, else none)"
    )
    store = argparse.ArgumentParser(add_help=False, allow_abbrev=False, parents=[config])
    store.add_argument("--store", metavar="URL", help='"sqlite:///PATH", "postgresql://…" or "memory:"')
    serving = argparse.ArgumentParser(add_help=False, allow_abbrev=False, parents=[store])
    serving.add_argument(
        "--upstream", metavar="URL|demo", help="OpenAI base URL, or `demo` for the built-in demo server"
    )
    serving.add_argument(
        "--listen", metavar="HOST:PORT", help="address to listen on; port 0 picks a free one"
    )
    serving.add_argument("--workers", metavar="N", help="number of worker processes")

    parser = argparse.ArgumentParser(
        prog="sidecar",
        description="A reverse proxy that gives stateless chat requests a memory.",
        epilog=_NEXT["sidecar"],
        allow_abbrev=False,
    )
    parser.add_argument(
        "--version", action=_Version, help="print the version, and the schemas that it keeps stores in"
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    serve = commands.add_parser("serve", parents=[serving], help="serve until stopped", allow_abbrev=False)
    serve.set_defaults(run=_serve)
    upstream = commands.add_parser(
        "check", parents=[serving], help="say what the upstream is and takes", allow_abbrev=False
    )
    upstream.set_defaults(run=_check)
    check = commands.add_parser(
        "check-config",
        parents=[serving],
        help="validate the settings and report every mistake",
        allow_abbrev=False,
    )
    check.set_defaults(run=_check_config)
    doctor = commands.add_parser(
        "doctor",
        parents=[config],
        help="show what clients really send, and what to change",
        allow_abbrev=False,
    )
    doctor.add_argument("--url", metavar="URL", help="the running sidecar (default: where `listen` says)")
    doctor.add_argument(
        "--last", metavar="N", type=_number, help="only look at the newest N messages and their tasks"
    )
    doctor.add_argument("--json", action="store_true", help="print the report as JSON")
    doctor.set_defaults(run=_doctor)
    parsers.add(commands, config, store, _load)
    for name, each in commands.choices.items():
        each.epilog = _NEXT.get(name)
    return parser


class _Version(argparse.Action):
    """Prints it. Not argparse's own, for which the migrations would be read at every command."""

    def __init__(self, option_strings: Sequence[str], dest: str, help: str) -> None:
        super().__init__(option_strings, argparse.SUPPRESS, nargs=0, help=help)

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        schemas = newest_schema(), newest_schema("postgres")
        print("sidecar {} (store schemas: SQLite {}, PostgreSQL {})".format(__version__, *schemas))
        parser.exit()


def _number(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of requests, 1 or more")
    return int(text)


def _load(arguments: dict[str, str | None]) -> Settings:
    settings = load(arguments)
    logs.configure(settings.logs.level, settings.logs.format, requests=settings.logs.requests)
    for each in exposed_files(arguments, settings):
        log.warning(each)
    return settings


def _serve(arguments: dict[str, str | None]) -> int:
    settings = _load(arguments)
    with metrics_folder(settings.workers) as folder:
        # Imported here: the other commands need no web server, mistakes in the settings show at once, and
        # the folder has to be there before.
        from sidecar.server.serve import serve

        return serve(settings, origins(arguments), folder)


def _check(arguments: dict[str, str | None]) -> int:
    settings = _load(arguments)
    # Imported here: the other commands need no HTTP client.
    from sidecar.commands import check

    return asyncio.run(check.run(settings))


def _check_config(arguments: dict[str, str | None]) -> int:
    try:
        settings = load(arguments)
    except SettingsError as error:
        _complain(*error.mistakes)
        return 1
    _complain(*exposed_files(arguments, settings))
    print(summary(settings), end="")
    return 0


def _doctor(arguments: dict[str, Any]) -> int:
    from sidecar.doctor import ask
    from sidecar.doctor.text import text

    url, last, as_json = arguments.pop("url"), arguments.pop("last"), arguments.pop("json")
    try:
        settings = load(arguments)
        url = ask.base(url or ask.address(settings))
        report = ask.ask(url, last, settings.admin.token.get_secret_value())
    except ask.CannotAsk as error:
        _complain(error.message)
        return 2
    told = printable(text(report, url), lines=True).rstrip()
    print(in_json(json.dumps(report, indent=2, ensure_ascii=False)) if as_json else told)
    return 0 if report["ok"] else 1


def _complain(*sentences: str) -> None:
    for sentence in sentences:
        print(f"sidecar: {printable(sentence)}", file=sys.stderr)


def _reader_left() -> int:
    _let_go_of_output()
    return 128 + signal.SIGPIPE


def _let_go_of_output() -> None:
    """Drop what could not be written, if anything could not be."""
    try:
        sys.stdout.flush()
        return
    except (OSError, ValueError):
        pass
    # The interpreter flushes standard output once more at its end; let it have somewhere to go.
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
