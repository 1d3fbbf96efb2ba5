"""The sections on access: by keys, from web pages, and to the pages for operators."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, SecretStr

from sidecar.settings.section import Section
from sidecar.settings.values import HostName, ListenOrNone, Lower, Origin, Secret

__all__ = ["Access", "Admin", "Keys"]


class Keys(Section):
    """Keys that the operator gives to clients with `sidecar keys add`, and takes back."""

    enforcement: Annotated[Literal["off", "optional", "required"], Lower] = Field(
        "off",
        description="`off`: what clients present is the upstream's business. `optional`: a key of `sidecar"
        " keys` tells its tenant and stays here, `target.api_key` goes upstream in its place, and all others"
        " go as they do without; `required`: whoever has no valid one gets 401, on every path.",
    )


class Access(Section):
    """Which web pages may send requests through a browser. Programs always may."""

    hosts: tuple[HostName, ...] = Field(
        (),
        description="Host names, without a port, to accept besides IP addresses, names without a dot (a"
        " container's) and those of local networks; requests for any other name get 421. If empty, only"
        " requests on loopback are checked, where a web page's own name may point here. `*` accepts any.",
    )
    origins: tuple[Origin, ...] = Field(
        (),
        description="Origins of other sites' web pages, such as `https://chat.example.com`, that may send"
        " requests without a CORS preflight (neither JSON nor a credential); others get 403. `*` for any.",
    )


class Admin(Section):
    """Where `/-/metrics`, `/-/doctor` and the inspector are served, and to whom."""

    listen: ListenOrNone = Field(
        "",
        description="A second HOST:PORT that serves `/-/metrics` and `/-/doctor` instead of `listen`, and the"
        " inspector; empty: these two are served on `listen`, and the inspector at a free port of 127.0.0.1."
        " `/-/live` and `/-/ready` are served on both.",
    )
    token: Secret = Field(
        SecretStr(""),
        description="Bearer token that these two pages require; if empty, they require none.",
    )
    inspector: Annotated[Literal["auto", "on", "off"], Lower] = Field(
        "auto",
        description="The inspector: pages that show every chat to whoever has the address that `serve`"
        " prints, with a new random token in it at each start. `auto`: served at `admin.listen` where that is"
        " on loopback or empty; `on`: at any `admin.listen`; `off`: nowhere.",
    )
