"""A value into HTML by its template, or into JSON as it is. May take milliseconds: to be run in a thread."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import msgspec

from sidecar import __version__
from sidecar.inspector import shown
from sidecar.inspector.fences import blocks
from sidecar.inspector.marks import LEGEND
from sidecar.inspector.query import FILTERS
from sidecar.inspector.wording import SHORT
from sidecar.printable import in_json

if TYPE_CHECKING:
    from jinja2 import Environment

__all__ = ["as_html", "as_json", "asset"]


def as_html(template: str, root: str, **values: Any) -> bytes:
    """The page. `root`: the way from it to the list, since all links are relative."""
    page = _environment().get_template(template).render(root=root, version=__version__, **values)
    return page.encode("utf-8", "backslashreplace")


def as_json(value: Any) -> bytes:
    """The same value, in which nothing steers a terminal."""
    return in_json(msgspec.json.encode(value).decode()).encode() + b"\n"


@cache
def asset(name: str) -> bytes:
    """The one style sheet, or the one script."""
    return files("sidecar.inspector").joinpath(f"static/{name}").read_bytes()


@cache
def _environment() -> Environment:
    # Imported here: it takes memory, which a sidecar that nobody looks into need not spend.
    from jinja2 import Environment, PackageLoader, StrictUndefined

    made = Environment(
        loader=PackageLoader("sidecar.inspector"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    made.filters |= {
        "blocks": blocks,
        "count": shown.count,
        "moment": shown.moment,
        "seconds": shown.seconds,
        "size": shown.size,
        "part": lambda text: quote(text, safe=""),
    }
    made.globals |= {"filters": FILTERS, "outcomes": SHORT, "legend": LEGEND}
    return made
