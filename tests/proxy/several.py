"""Several targets: scripted upstreams, and the settings that name them."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import Any

from tests.proxy.mock_upstream import Upstream, says

MODELS = ["m*"]


@asynccontextmanager
async def upstreams(*names: str):
    """Upstreams, each of which answers with its name."""
    made = [Upstream(otherwise=says(f"I am {name}")) for name in names]
    for each in made:
        await each.start()
    yield made
    for each in made:
        await each.stop()


def target(name: str, *servers: Upstream, **options: Any) -> dict[str, Any]:
    """A table of `targets`."""
    urls = [each.url for each in servers]
    return {"name": name, "url": urls, "models": MODELS, **options}


def chats(upstream: Upstream) -> list[Any]:
    """The chats that it was asked for, as JSON."""
    return [each.json for each in upstream.requests if each.target.endswith("/chat/completions")]
