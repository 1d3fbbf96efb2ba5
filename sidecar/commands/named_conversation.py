"""Which conversation a command means: it is named by its id, or by the client's id for it.

Rule: a name means one conversation or none. Two users may call theirs the same, so a name that several have
is refused, unless the flags say whose is meant. An id names its own, whatever clients call theirs.
"""

from __future__ import annotations

from argparse import ArgumentParser

from sidecar.commands import tenant_selector
from sidecar.errors import SidecarError
from sidecar.settings import Settings
from sidecar.store import Store

__all__ = ["NAME", "add_whose", "only"]

#: What the help says of a name.
NAME = "its id, or the client's id for it"
_SHOWN = 8  # ids of which the refusal tells, before the rest is a number


def add_whose(parser: ArgumentParser) -> None:
    """The flags that say whose conversation it is."""
    tenant_selector.add_arguments(parser)
    tenant_selector.add_key(parser)


async def only(settings: Settings, store: Store, name: str, tenant: bytes | None) -> str:
    """The id of the one conversation that is meant, of this tenant if there is one. Raises `SidecarError` if
    there is none, or several."""
    found = [each.id async for each in store.conversation_stats(tenant=tenant, name=name, sized=False)]
    if name in found:
        return name
    if not found:
        of = "" if tenant is None else " of this tenant"
        raise SidecarError(f"there is no conversation {name!r}{of} in {settings.store_shown}")
    if len(found) > 1:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        whose = "" if tenant is not None else "; or say whose it is, with --user and --credential"
        raise SidecarError(
            f"{name!r} is the key of several conversations; name one by its id: {', '.join(found[:_SHOWN])}"
            f"{more}{whose}"
        )
    return found[0]
