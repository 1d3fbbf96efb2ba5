"""The house rules that a machine can check: what may import what, and how long things may be."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SIDECAR = Path(__file__).parent.parent / "sidecar"
FILES = sorted(SIDECAR.rglob("*.py"))
PURE = ("conversation", "streaming", "exchange")
# Everything may import what stands in a line above its own; a line's own modules may import each other.
LAYERS = [
    {"errors", "printable"},
    {"conversation", "streaming"},
    {"exchange"},
    {"store"},
    {"settings", "logs", "metrics", "aiohttp_internals"},
    {"doctor", "opened", "retention"},
    {"upstream"},
    {"proxy", "export", "demo"},
    {"commands"},
    {"cli", "__main__"},
]
WORLD = {"aiohttp", "sqlite3", "logging", "time", "os"}


def module_of(file):
    return ".".join(file.relative_to(SIDECAR.parent).with_suffix("").parts).removesuffix(".__init__")


def part_of(module):
    """`store` of `sidecar.store.base`; nothing of `sidecar`."""
    return module.split(".")[1] if "." in module else ""


def imports_of(file):
    """The full names of all modules and members that a file imports."""
    package = module_of(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def layer_of(part):
    return next(at for at, layer in enumerate(LAYERS) if part in layer)


def parametrized(files):
    return pytest.mark.parametrize("file", files, ids=[module_of(file) for file in files])


def test_every_part_of_the_package_has_its_place():
    parts = {part_of(module_of(file)) for file in FILES} - {""}
    assert parts == set().union(*LAYERS)


@parametrized([file for file in FILES if part_of(module_of(file)) in PURE])
def test_pure_modules_touch_nothing_of_the_world(file):
    assert not WORLD & {name.split(".")[0] for name in imports_of(file)}


@parametrized([file for file in FILES if part_of(module_of(file))])
def test_imports_run_one_way(file):
    own = layer_of(part_of(module_of(file)))
    used = {part_of(name) for name in imports_of(file) if name.startswith("sidecar.")}
    above = {part for part in used if part != "__version__" and layer_of(part) > own}
    assert not above


@parametrized([file for file in FILES if part_of(module_of(file)) in ("conversation", "streaming")])
def test_conversation_and_streaming_do_not_know_each_other(file):
    others = {"conversation", "streaming"} - {part_of(module_of(file))}
    assert not others & {part_of(name) for name in imports_of(file) if name.startswith("sidecar.")}


@parametrized([file for file in FILES if part_of(module_of(file)) not in ("upstream", "aiohttp_internals")])
def test_only_the_package_that_calls_upstreams_uses_the_http_client(file):
    names = {
        node.attr
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "aiohttp"
    }
    used = names | {name.split(".")[-1] for name in imports_of(file) if name.startswith("aiohttp.")}
    assert not {name for name in used if name.startswith(("Client", "TCPConnector", "request"))}


@parametrized([file for file in FILES if module_of(file) != "sidecar.upstream.credentials"])
def test_one_module_alone_decides_on_the_credentials_that_go_to_an_upstream(file):
    assert '["Authorization"] =' not in file.read_text(encoding="utf-8")


@parametrized(FILES)
def test_files_and_functions_stay_short(file):
    source = file.read_text(encoding="utf-8")
    functions = [
        node
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    too_long = [each.name for each in functions if (each.end_lineno or 0) - each.lineno + 1 > 60]
    assert (len(source.splitlines()) <= 400, too_long) == (True, [])


@pytest.mark.parametrize("file", [each for each in FILES if each != SIDECAR / "__init__.py"], ids=module_of)
def test_every_module_is_on_the_map_of_its_package(file):
    name = module_of(file).split(".")[-1]
    folder = file.parent.parent if file.name == "__init__.py" else file.parent
    told = (folder / "__init__.py").read_text("utf-8").split('"""')[1]
    assert re.search(rf"^ *(\w+, )*{name}\b", told, re.MULTILINE) or name == "__main__"
