"""Each private name of a library that the sidecar overrides is there, and is called in a served request."""

from __future__ import annotations

import ast
import asyncio
import importlib
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import FunctionType
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.client_proto import ResponseHandler
from aiohttp.http_parser import HttpRequestParser

from sidecar.aiohttp_internals import client, relayed, server
from sidecar.aiohttp_internals.client import ClientConnection, Connector, TellingConnector
from sidecar.aiohttp_internals.relayed import RelayedResponse
from sidecar.aiohttp_internals.server import RequestParser, Server, ServerConnection
from tests.proxy.conftest import Start
from tests.proxy.mock_upstream import Exchange, Upstream
from tests.proxy.server.test_slow_clients import HEAD, closed, connected

pytest_plugins = ("tests.proxy.conftest",)

OVERRIDES = [
    (ClientConnection, ResponseHandler, "set_exception"),
    (ClientConnection, ResponseHandler, "set_response_params"),
    (ClientConnection, ResponseHandler, "_reschedule_timeout"),
    (ClientConnection, ResponseHandler, "_on_read_timeout"),
    (Connector, aiohttp.TCPConnector, "_get"),
    (TellingConnector, aiohttp.TCPConnector, "_get"),
    (RequestParser, HttpRequestParser, "feed_data"),
    (ServerConnection, web.RequestHandler, "connection_made"),
    (ServerConnection, web.RequestHandler, "connection_lost"),
    (ServerConnection, web.RequestHandler, "_process_keepalive"),
    (ServerConnection, web.RequestHandler, "handle_error"),
    (Server, web.Server, "__call__"),
    (RelayedResponse, web.StreamResponse, "_prepare_headers"),
]


@pytest.mark.parametrize(("ours", "theirs", "name"), OVERRIDES)
def test_what_is_overridden_is_a_method_of_the_library(ours: type, theirs: type, name: str):
    assert issubclass(ours, theirs)
    assert callable(getattr(theirs, name))
    assert name in vars(ours)


@pytest.mark.parametrize("module", [client, relayed, server])
def test_every_override_is_on_the_list(module: Any):
    made = [
        each
        for each in vars(module).values()
        if isinstance(each, type) and each.__module__ == module.__name__
    ]
    found = {
        (each, name)
        for each in made
        for name, member in vars(each).items()
        if isinstance(member, FunctionType) and name != "__init__"
        if any(hasattr(library, name) for library in _libraries(each))
    }
    assert found == {(ours, name) for ours, _, name in OVERRIDES if ours.__module__ == module.__name__}


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> set[tuple[str, str]]:
    """Which of the overrides have been called."""
    seen: set[tuple[str, str]] = set()

    def counting(ours: type, name: str, method: Any) -> Any:
        def count(*arguments: Any, **named: Any) -> Any:
            seen.add((ours.__name__, name))
            return method(*arguments, **named)

        return count

    for ours, _, name in OVERRIDES:
        monkeypatch.setattr(ours, name, counting(ours, name, vars(ours)[name]))
    return seen


async def test_each_override_is_called_where_requests_are_served(
    called: set[tuple[str, str]], start: Start, upstream: Upstream
):
    async def silent(exchange: Exchange) -> None:
        await exchange.head(200, {}, None)
        await asyncio.Event().wait()

    other = {"name": "other", "url": upstream.url, "models": ["none"]}
    sidecar = await start(timeouts={"idle": 0.1, "keep_alive": 0.2, "request_head": 0.2}, targets=[other])
    transport, idle = await connected(sidecar)
    transport.write(b"GET /-/live HTTP/1.1\r\nHost: x\r\n\r\n")
    for _ in range(2):
        await sidecar.ask("hi", id="a")
    upstream.will(silent)
    with pytest.raises(aiohttp.ClientError):
        await sidecar.send("GET", "/v1/x")
    transport, refused = await connected(sidecar)
    transport.write(HEAD + b"nonsense\r\n\r\n")
    await closed(refused)
    await closed(idle)
    assert {(ours.__name__, name) for ours, _, name in OVERRIDES} - called == set()


#: Private names of objects that aiohttp does not let one set in public; a `hasattr` for each.
ATTRIBUTES: dict[type, str] = {
    ResponseHandler: "_parser _payload _read_timeout _read_timeout_handle _drop_timeout _loop",
    web.RequestHandler: "_close _force_close _keepalive_handle _loop _manager _max_msg_queue_size _messages"
    " _msg_queue_resume_size _next_keepalive_close_time _parser _read_bufsize _reading_paused _buffer_paused"
    " _request_count _request_factory _current_request _keepalive_timeout _task_handler _waiter",
}


async def test_each_attribute_that_is_used_is_one_of_the_library():
    async def nothing(_request: web.BaseRequest) -> web.Response:
        raise AssertionError

    plain = web.Server(nothing)
    made = {ResponseHandler: ResponseHandler(asyncio.get_running_loop()), web.RequestHandler: plain()}
    for kind, names in ATTRIBUTES.items():
        assert [name for name in names.split() if not hasattr(made[kind], name)] == []
    assert [name for name in ("_loop", "_connections") if not hasattr(plain, name)] == []
    assert hasattr(web.StreamResponse(), "_send_headers_immediately")
    assert {"_message", "_protocol"} <= set(web.BaseRequest.__init__.__code__.co_names)
    async with aiohttp.TCPConnector() as connector:
        assert hasattr(connector, "_factory")


SIDECAR = Path(client.__file__).parents[1]
OTHERS = [file for file in sorted(SIDECAR.rglob("*.py")) if file.parent.name != "aiohttp_internals"]
#: Public in spite of their names.
PUBLIC = {"_replace", "_make", "_fields", "_asdict", "_exit"}


def _libraries(kind: type) -> list[type]:
    """The classes of other people's packages that a class is made from."""
    roots = {each: each.__module__.split(".")[0] for each in kind.__mro__}
    return [each for each, root in roots.items() if root != "sidecar" and root not in sys.stdlib_module_names]


@cache
def _tree(file: Path) -> ast.AST:
    return ast.parse(file.read_text("utf-8"))


def _private(tree: ast.AST, *, own: bool) -> set[str]:
    """The private attributes that are used, of `self` or of other objects."""
    return {
        each.attr
        for each in ast.walk(tree)
        if isinstance(each, ast.Attribute)
        and each.attr.startswith("_")
        and not each.attr.endswith("__")
        and (isinstance(each.value, ast.Name) and each.value.id in ("self", "cls")) is own
    }


def _made() -> Iterator[str]:
    """The private names that are made outside of the package for such things."""
    for file in OTHERS:
        tree = _tree(file)
        yield from _private(tree, own=True)
        for each in ast.walk(tree):
            if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                yield each.name
            elif isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name):
                yield each.target.id


@pytest.fixture(scope="module")
def made() -> set[str]:
    return set(_made())


@pytest.mark.parametrize("file", OTHERS, ids=lambda file: str(file.relative_to(SIDECAR)))
def test_no_other_module_uses_a_private_name_of_a_library(file: Path, made: set[str]):
    tree = _tree(file)
    assert _private(tree, own=False) - PUBLIC - made == set()
    imported = [
        alias.name
        for each in ast.walk(tree)
        if isinstance(each, ast.ImportFrom) and not (each.module or "").startswith("sidecar")
        for alias in each.names
    ]
    assert [name for name in imported if name.startswith("_") and name != "__version__"] == []
    name = ".".join(file.relative_to(SIDECAR.parent).with_suffix("").parts).removesuffix(".__init__")
    for each in ast.walk(tree):
        if isinstance(each, ast.ClassDef) and name != "sidecar.__main__":
            kind = getattr(importlib.import_module(name), each.name, None)
            used = _private(each, own=True) | {
                node.name
                for node in ast.walk(each)
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            theirs = {
                one
                for library in (_libraries(kind) if kind is not None else ())
                for one in (*vars(library), *ATTRIBUTES.get(library, "").split())
            }
            assert {one for one in used & theirs if one.startswith("_") and not one.endswith("__")} == set()
