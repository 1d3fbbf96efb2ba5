"""Where the commands that work on a store stand on the command line; their flags are their own."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, Protocol

from sidecar.commands import (
    backup,
    conversation_delete,
    conversation_list,
    conversation_show,
    delete,
    export,
    inspect,
    key_add,
    key_list,
    key_revoke,
    key_rotate,
    key_set,
    migrate,
    prune,
    rekey,
    upgrade,
    verify,
)
from sidecar.commands.openwebui import bring
from sidecar.settings import Settings

__all__ = ["add"]

_Load = Callable[[dict[str, Any]], Settings]
_Subparsers = Any  # argparse has no public name for it


class Command(Protocol):
    """What the module of a command provides."""

    def add_arguments(self, parser: ArgumentParser, /) -> None:
        """Declare its flags, beyond those of the settings."""
        ...

    async def run(self, settings: Settings, args: Namespace, /) -> int:
        """Do it; returns the exit code."""
        ...


class _Group(NamedTuple):
    help: str
    title: str
    metavar: str


_GROUPS = {
    "conversations": _Group("list, show or delete them", "what to do", "WHAT"),
    "keys": _Group("give keys to clients, and take them back", "what to do", "WHAT"),
    "import": _Group("import chats from elsewhere", "from where", "WHERE"),
}
_COMMANDS: dict[str, tuple[str, Command]] = {
    "export": ("print conversations", export),
    "conversations list": ("list conversations", conversation_list),
    "conversations show": ("print one conversation", conversation_show),
    "conversations delete": ("delete some, permanently", conversation_delete),
    "inspect": ("show what happened in a conversation, or in one exchange", inspect),
    "keys add": ("make a key for a client, and print it", key_add),
    "keys list": ("list all keys, without their secrets", key_list),
    "keys set": ("change what a key may, and nothing else of it", key_set),
    "keys rotate": ("give a key another secret, and print it", key_rotate),
    "keys revoke": ("let a key admit nobody any more", key_revoke),
    "delete": ("delete everything of a user, or everything, permanently", delete),
    "prune": ("delete what [retention] no longer keeps", prune),
    "verify": ("recompute every hash and report each mismatch", verify),
    "backup": ("copy the store while it is in use", backup),
    "upgrade": ("bring the store to this version's schema without serving", upgrade),
    "rekey": ("re-encrypt the whole store with the first key", rekey),
    "migrate": ("copy everything from one store into another", migrate),
    "import openwebui": ("import the chats of an Open WebUI", bring),
}
_WITHOUT_STORE = ("migrate",)  # it names two stores in flags of its own


def add(subparsers: _Subparsers, config: ArgumentParser, store: ArgumentParser, load: _Load) -> None:
    """Add them to the command line. `config` and `store` have flags of settings, which `load` reads."""
    groups = {"": subparsers}
    for path, (help, command) in _COMMANDS.items():
        group, _, name = path.rpartition(" ")
        if group not in groups:
            about = _GROUPS[group]
            parser = subparsers.add_parser(group, help=about.help, allow_abbrev=False)
            groups[group] = parser.add_subparsers(title=about.title, required=True, metavar=about.metavar)
        parents = [config if name in _WITHOUT_STORE else store]
        parser = groups[group].add_parser(name, help=help, parents=parents, allow_abbrev=False)
        command.add_arguments(parser)
        parser.set_defaults(run=partial(_run, command, load))


def _run(command: Command, load: _Load, arguments: dict[str, Any]) -> int:
    settings = load({name: arguments[name] for name in ("config", "store")})
    return asyncio.run(command.run(settings, Namespace(**arguments)))
