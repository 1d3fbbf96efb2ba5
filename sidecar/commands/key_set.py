"""`sidecar keys set`: other limits for a key, which keeps its secret and its conversations."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Callable
from typing import Any

from msgspec.structs import replace

from sidecar.access.client_keys import ClientKey
from sidecar.access.slots import MOST_AT_ONCE, MOST_IN_A_MINUTE
from sidecar.commands.client_keys import change, duration, limit, limits_of, models_of
from sidecar.errors import SidecarError
from sidecar.printable import printable
from sidecar.settings import Settings
from sidecar.store_factory import open_existing

__all__ = ["add_arguments", "run"]

_NONE = "none"


def add_arguments(parser: ArgumentParser) -> None:
    """Which, and what becomes of its limits; what is not said stays as it is."""
    parser.add_argument("name", metavar="NAME", help="the key's name, or its id")
    parser.add_argument(
        "--models",
        metavar="PATTERN",
        action="append",
        help="only models that fit, in place of those before; several with commas ('*': all)",
    )
    for flag, most, what in (
        ("--parallel", MOST_AT_ONCE, "requests at once"),
        ("--rpm", MOST_IN_A_MINUTE, "requests in a minute"),
    ):
        parser.add_argument(
            flag,
            metavar="N",
            type=_or_none(limit(most)),
            help=f"at most so many {what} (none: any number)",
        )
    parser.add_argument(
        "--expires",
        metavar="TIME",
        type=_or_none(duration),
        help="valid for so long from now on, such as 90d (none: for ever)",
    )


async def run(settings: Settings, args: Namespace) -> int:
    """Do it."""
    given = {name: getattr(args, name) for name in ("models", "parallel", "rpm", "expires")}
    if all(each is None for each in given.values()):
        raise SidecarError("say what to change: --models, --parallel, --rpm or --expires")

    def work(key: ClientKey, now: float) -> ClientKey:
        new: dict[str, Any] = {
            name: None if given[name] == _NONE else given[name]
            for name in ("parallel", "rpm")
            if given[name] is not None
        }
        if given["models"] is not None:
            new["models"] = models_of(given["models"])
        if given["expires"] is not None:
            new["expires_at"] = None if given["expires"] == _NONE else now + given["expires"]
        return replace(key, **new)

    async with open_existing(settings) as store:
        key = await change(store, args.name, work)
    about = printable(limits_of(key))
    sys.stderr.write(f"sidecar: the key {printable(key.name)} ({key.id}), within 5 seconds: {about}\n")
    return 0


def _or_none(read: Callable[[str], float]) -> Callable[[str], float | str]:
    def either(text: str) -> float | str:
        try:
            return _NONE if text == _NONE else read(text)
        except ArgumentTypeError as error:
            raise ArgumentTypeError(f"{error}, or none") from error

    return either
