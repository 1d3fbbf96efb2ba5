"""The flags of the commands that work on a store."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Callable, Coroutine
from typing import Any

from sidecar.settings import Settings

__all__ = ["add"]

_Load = Callable[[dict[str, Any]], Settings]
#: Given the flags of its own and the settings, what the command does.
_Work = Callable[[Settings, dict[str, Any]], Coroutine[Any, Any, int]]
_Parser = argparse.ArgumentParser
_Commands = Any  # argparse has no public name for it


def add(commands: _Commands, config: _Parser, store: _Parser, load: _Load) -> None:
    """Add them to the command line. `config` and `store` have flags of settings, which `load` makes."""

    def command(group: _Commands, name: str, help: str, work: _Work, *parents: _Parser) -> _Parser:
        parser: _Parser = group.add_parser(name, help=help, parents=[store, *parents], allow_abbrev=False)
        parser.set_defaults(run=lambda arguments: _run(arguments, load, work))
        return parser

    whose, final = _whose(), _final()
    group = commands.add_parser("conversations", help="list, show or delete them", allow_abbrev=False)
    verbs = group.add_subparsers(title="what to do", required=True, metavar="WHAT")
    listing = command(verbs, "list", "what there is", _list, whose)
    listing.add_argument("--format", choices=("text", "jsonl"), default="text", help="default: text")
    show = command(verbs, "show", "print one", _show)
    show.add_argument("name", metavar="NAME", help="its id, or the client's id for it")
    show.add_argument("--format", choices=("jsonl", "markdown"), default="markdown", help="default: markdown")
    delete = command(verbs, "delete", "delete some, for ever", _delete_named, final)
    delete.add_argument("names", nargs="+", metavar="NAME", help="its id, or the client's id for it")
    delete = command(
        commands, "delete", "delete all of a user, or all there is, for ever", _delete, whose, final
    )
    delete.add_argument("--all", action="store_true", help="everything of everybody")
    prune = command(commands, "prune", "delete what [retention] keeps no longer", _prune)
    prune.add_argument("--dry-run", action="store_true", help="only say how much that is")
    prune.add_argument("--compact", action="store_true", help="then make the file as small as it can be")
    command(commands, "verify", "derive every hash anew and report each that is wrong", _verify)
    backup = command(commands, "backup", "copy the store while it is used", _backup)
    backup.add_argument("file", metavar="FILE", help="where to; must not be there")
    command(commands, "rekey", "encrypt with the first key whatever is not", _rekey)
    _add_migrate(commands, config, load)
    group = commands.add_parser("import", help="bring in chats from elsewhere", allow_abbrev=False)
    sources = group.add_subparsers(title="from where", required=True, metavar="WHERE")
    openwebui = command(sources, "openwebui", "the chats of an Open WebUI", _import, whose)
    openwebui.add_argument("file", metavar="FILE", help="its webui.db, which is only read")
    openwebui.add_argument(
        "--uploads", metavar="DIR", help="the folder with its images; default: uploads beside the file"
    )
    openwebui.add_argument(
        "--header-config",
        dest="says",
        choices=("chat-and-user", "chat", "nothing"),
        default="chat-and-user",
        help="what its requests say of themselves, see the README; default: chat-and-user",
    )


def _add_migrate(commands: _Commands, config: _Parser, load: _Load) -> None:
    parser = commands.add_parser(
        "migrate", help="copy all of one store into another", parents=[config], allow_abbrev=False
    )
    parser.add_argument("--from", dest="source", metavar="URL", required=True, help="the store that there is")
    parser.add_argument("--to", metavar="URL", required=True, help="an empty one, or one copied to before")

    def run(arguments: dict[str, Any]) -> int:
        from sidecar.commands.migrate import run

        stores = (arguments["source"], arguments["to"])
        source, target = (load({"config": arguments["config"], "store": store}) for store in stores)
        return asyncio.run(run(source, target))

    parser.set_defaults(run=run)


def _whose() -> _Parser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--user", metavar="ID", help="the user id that the client sends")
    parser.add_argument(
        "--credential",
        metavar="KEY",
        action="append",
        default=[],
        help='the API key that the client sends, or a header such as "api-key: KEY"; - reads it from input',
    )
    parser.add_argument("--no-credential", action="store_true", help="the client sends none")
    parser.add_argument("--tenant", metavar="HEX", help="a tenant as `sidecar conversations list` shows it")
    return parser


def _final() -> _Parser:
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--no-compact",
        dest="compact",
        action="store_false",
        help="leave the file as large as it is: others need not wait; what was deleted is overwritten",
    )
    return parser


def _run(arguments: dict[str, Any], load: _Load, work: _Work) -> int:
    known = ("config", "store")
    settings = load({name: arguments.pop(name) for name in known})
    return asyncio.run(work(settings, arguments))


def _who(flags: dict[str, Any]) -> Any:
    from sidecar.commands.whose import Who

    return Who(flags["user"], flags["credential"], flags["no_credential"], flags["tenant"])


async def _list(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.commands.holdings import show_list

    return await show_list(settings, _who(flags), format=flags["format"], out=sys.stdout)


async def _show(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.export import write

    return await write(settings, conversation=flags["name"], format=flags["format"], out=sys.stdout)


async def _delete_named(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.commands.holdings import delete_named

    return await delete_named(settings, flags["names"], yes=flags["yes"], compact=flags["compact"])


async def _delete(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.commands.holdings import delete_of

    who = None if flags["all"] else _who(flags)
    return await delete_of(settings, who, yes=flags["yes"], compact=flags["compact"])


async def _prune(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.commands.prune import run

    return await run(settings, dry_run=flags["dry_run"], compact=flags["compact"])


async def _verify(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.commands.verify import verify

    return await verify(settings, out=sys.stdout)


async def _backup(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.commands.backup import run

    return await run(settings, file=flags["file"])


async def _rekey(settings: Settings, _flags: dict[str, Any]) -> int:
    from sidecar.commands.rekey import run

    return await run(settings)


async def _import(settings: Settings, flags: dict[str, Any]) -> int:
    from sidecar.commands.openwebui.bring import run

    file, uploads, says = flags["file"], flags["uploads"], flags["says"]
    return await run(settings, file=file, uploads=uploads, who=_who(flags), says=says)
