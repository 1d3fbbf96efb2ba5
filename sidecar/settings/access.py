"""The sections on who may come near: web pages, and whoever looks after the sidecar."""

from __future__ import annotations

from pydantic import Field, SecretStr

from sidecar.settings.section import Section
from sidecar.settings.values import HostName, ListenOrNone, Origin, Secret

__all__ = ["Access", "Admin"]


class Access(Section):
    """Which web pages may talk to the sidecar through a browser. Programs may always."""

    hosts: tuple[HostName, ...] = Field(
        (),
        description="Names, without a port, by which the sidecar is called beside addresses, names without a"
        " dot (a container's) and those of local networks; another one gets 421. Empty: only on loopback,"
        " where it may be the name of a web page that points here. `*` for any.",
    )
    origins: tuple[Origin, ...] = Field(
        (),
        description="Web pages of other sites, such as `https://chat.example.com`, that may send requests for"
        " which a browser does not ask first: neither JSON nor a credential; others get 403. `*` for any.",
    )


class Admin(Section):
    """Where `/-/metrics` and `/-/doctor` are, and for whom."""

    listen: ListenOrNone = Field(
        "",
        description="A second HOST:PORT, for `/-/metrics` and `/-/doctor` alone; empty: they are on that of"
        " `listen`. `/-/live` and `/-/ready` are on both.",
    )
    token: Secret = Field(
        SecretStr(""),
        description="Whoever reads these two pages has to send it as a bearer token; empty: anybody may.",
    )
