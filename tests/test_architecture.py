"""The house rules that a machine can check: what may import what, and how long things may be."""

from __future__ import annotations

import ast
import re
from functools import cache
from itertools import takewhile
from pathlib import Path

SIDECAR = Path(__file__).parent.parent / "sidecar"
FILES = sorted(SIDECAR.rglob("*.py"))
TESTS = sorted(Path(__file__).parent.rglob("*.py"))
PURE = ("conversation", "prompt", "dialects", "exchange")
# Everything may import what stands in a line above its own; a line's own modules may import each other.
LAYERS = [
    {"errors", "printable", "random_ids", "aiohttp_internals"},
    {"conversation"},
    {"prompt"},
    {"dialects"},
    {"exchange"},
    {"store"},
    {"settings"},
    {"logs", "histograms", "metrics", "traces"},
    {"store_factory", "retention", "export", "doctor", "access"},
    {"upstream"},
    {"background"},
    {"proxy"},
    {"state"},
    {"admin"},
    {"inspector"},
    {"server"},
    {"commands"},
    {"cli", "__main__"},
]
# What a pure package may use of the world: values and calculations. No clock, no file, no socket, no log.
HARMLESS = {
    *(
        "__future__",
        "array",
        "binascii",
        "bisect",
        "codecs",
        "collections",
        "contextlib",
        "dataclasses",
        "enum",
        "fractions",
        "functools",
    ),
    *("hashlib", "hmac", "html", "itertools", "json", "math", "operator", "re", "types", "typing"),
    *("unicodedata", "zlib"),
    *("msgspec", "sidecar"),
}


def module_of(file):
    return ".".join(file.relative_to(SIDECAR.parent).with_suffix("").parts).removesuffix(".__init__")


def part_of(module):
    """`store` of `sidecar.store.base`; nothing of `sidecar`."""
    return module.split(".")[1] if "." in module else ""


@cache
def nodes_of(file):
    """All nodes of the syntax tree of a file, which is looked at once for many rules."""
    return tuple(ast.walk(ast.parse(file.read_text(encoding="utf-8"))))


@cache
def imports_of(file):
    """The full names of all modules and members that a file imports."""
    return frozenset(_imports_of(file))


def _imports_of(file):
    package = module_of(file).split(".")
    if file.name != "__init__.py":
        package = package[:-1]
    for node in nodes_of(file):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            name = ".".join([*base, *([node.module] if node.module else [])])
            yield from (f"{name}.{alias.name}" for alias in node.names)


def layer_of(part):
    return next(at for at, layer in enumerate(LAYERS) if part in layer)


def broken(rule, files):
    """What breaks a rule, by the name of the module. All in one test: each costs more than a look."""
    return {module_of(file): wrong for file in files if (wrong := rule(file))}


def test_every_part_of_the_package_has_its_place():
    parts = {part_of(module_of(file)) for file in FILES} - {""}
    assert parts == set().union(*LAYERS)


def test_pure_modules_touch_nothing_of_the_world():
    def harmful(file):
        return {name.split(".")[0] for name in imports_of(file)} - HARMLESS

    assert broken(harmful, [file for file in FILES if part_of(module_of(file)) in PURE]) == {}


def test_imports_run_one_way():
    def above(file):
        own = layer_of(part_of(module_of(file)))
        used = {part_of(name) for name in imports_of(file) if name.startswith("sidecar.")}
        return {part for part in used if part != "__version__" and layer_of(part) > own}

    assert broken(above, [file for file in FILES if part_of(module_of(file))]) == {}


@cache
def map_of(package):
    """The modules of a package, in the order in which its docstring names them: higher ones first."""
    lines = (package / "__init__.py").read_text("utf-8").split('"""')[1].splitlines()
    names = {each.stem if each.suffix else each.name for each in package.iterdir()}
    told = [re.match(r" *((?:\w+, )*\w+)(?:/|  | \w|$)", line) for line in lines]
    return [name for each in told if each for name in each[1].split(", ") if name in names]


def test_within_a_package_imports_run_from_the_end_of_its_map_to_its_beginning():
    def below(file, package):
        inside = module_of(package / "__init__.py") + "."
        order = map_of(package)
        own = module_of(file).removeprefix(inside).split(".")[0]
        used = {
            name.removeprefix(inside).split(".")[0] for name in imports_of(file) if name.startswith(inside)
        }
        return {each for each in used & set(order) if own in order and order.index(each) > order.index(own)}

    def named_after_it(file):
        packages = takewhile(lambda each: each != SIDECAR, file.parents)
        return {package.name: wrong for package in packages if (wrong := below(file, package))}

    assert broken(named_after_it, FILES) == {}


def test_only_the_package_that_calls_upstreams_uses_the_http_client():
    def used_of_the_client(file):
        names = {
            node.attr
            for node in nodes_of(file)
            if isinstance(node, ast.Attribute)
            and isinstance(node.value, ast.Name)
            and node.value.id == "aiohttp"
        }
        used = names | {name.split(".")[-1] for name in imports_of(file) if name.startswith("aiohttp.")}
        return {name for name in used if name.startswith(("Client", "TCPConnector", "request"))}

    others = [file for file in FILES if part_of(module_of(file)) not in ("upstream", "aiohttp_internals")]
    assert broken(used_of_the_client, others) == {}


def test_one_module_alone_decides_on_the_credentials_that_go_to_an_upstream():
    def decides(file):
        return '["Authorization"] =' in file.read_text(encoding="utf-8")

    assert list(broken(decides, FILES)) == ["sidecar.upstream.credentials"]


def test_no_statement_numbers_its_parameters():
    """From Python 3.12.0 to 3.12.3 `?1` counts as a name, and each statement with a sequence warns of it."""

    def numbered(file):
        strings = [each.value for each in nodes_of(file) if isinstance(each, ast.Constant)]
        return [each for each in strings if isinstance(each, str) and re.search(r"[ (=,]\?[0-9]", each)]

    assert broken(numbered, [file for file in FILES if "sqlite" in file.parts]) == {}


def test_no_connection_to_a_file_is_left_to_the_garbage_collector():
    """`with` on one ends a transaction and closes nothing: from Python 3.13 on it warns in another test."""

    def kept_open(file):
        items = [item for each in nodes_of(file) if isinstance(each, ast.With) for item in each.items]
        return [ast.unparse(each) for each in items if ast.unparse(each).startswith("sqlite3.connect(")]

    assert broken(kept_open, [*FILES, *TESTS]) == {}


def test_files_and_functions_stay_short():
    def too_long(file):
        functions = [
            node for node in nodes_of(file) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        ]
        found = [each.name for each in functions if (each.end_lineno or 0) - each.lineno + 1 > 60]
        lines = len(file.read_text(encoding="utf-8").splitlines())
        return found + ([f"{lines} lines"] if lines > 400 else [])

    assert broken(too_long, FILES) == {}


def test_every_module_is_on_the_map_of_its_package():
    def is_missing(file):
        name = module_of(file).split(".")[-1]
        folder = file.parent.parent if file.name == "__init__.py" else file.parent
        told = (folder / "__init__.py").read_text("utf-8").split('"""')[1]
        return name != "__main__" and not re.search(rf"^ *(\w+, )*{name}\b", told, re.MULTILINE)

    assert broken(is_missing, [each for each in FILES if each != SIDECAR / "__init__.py"]) == {}
