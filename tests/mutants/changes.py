"""The faults that can be put into a source text: each is one small change in one place.

Nothing that no test could see is changed: annotations, docstrings, assertions, decorators and the keywords of
classes (slots, frozen), what is exported, `strict` of `zip`, the words of a `Literal`, the names that `cast`
and `TypeVar` take, and which of the false values a function gives that says no.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, cast

_COMPARED: dict[type, str] = {
    ast.Lt: "<=",
    ast.LtE: "<",
    ast.Gt: ">=",
    ast.GtE: ">",
    ast.Eq: "!=",
    ast.NotEq: "==",
    ast.Is: "is not",
    ast.IsNot: "is",
    ast.In: "not in",
    ast.NotIn: "in",
}
_CALCULATED: dict[type, type] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
    ast.Mod: ast.FloorDiv,
    ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr,
    ast.BitOr: ast.BitAnd,
    ast.BitXor: ast.BitOr,
    ast.LShift: ast.RShift,
    ast.RShift: ast.LShift,
}
_FOR_TYPES = frozenset(("cast", "TypeVar", "ParamSpec", "NewType"))
_NO = ("None", "False")
_TYPE = re.compile(r"[A-Z]\w*|int|str|bytes|float|bool|None|dict|list|tuple|set|frozenset|Any")


@dataclass(frozen=True)
class Mutant:
    """One change of one file. `start` and `end`: what of its bytes `new` takes the place of.

    `lines`: those of the statement, of a compound one its head. `bound`: the names that stand outside of
    functions and hold what was changed; none where it runs with the function that it is in.
    """

    file: str
    start: int
    end: int
    new: str
    old: str
    lines: range
    bound: tuple[str, ...] = ()

    def applied(self, text: bytes) -> bytes:
        """The text with this fault in it."""
        return text[: self.start] + self.new.encode() + text[self.end :]

    def __str__(self) -> str:
        """Its place and what differs, with a few characters of what stands around it."""
        same = _alike(self.old, self.new)
        rest = _alike(self.old[same:][::-1], self.new[same:][::-1])
        old, new = (_short(each, same, len(each) - rest) for each in (self.old, self.new))
        return f"{self.file}:{self.lines.start}  {old}  ->  {new}"


def mutants_of(file: str, text: bytes) -> list[Mutant]:
    """All faults of this file, in the order of their places."""
    return sorted(_Faults(file, text).found(), key=lambda each: (each.start, each.end, each.new))


class _Faults:
    def __init__(self, file: str, text: bytes) -> None:
        self._file = file
        self._text = text
        self._begins = [0]
        for line in text.splitlines(keepends=True):
            self._begins.append(self._begins[-1] + len(line))

    def found(self) -> Iterator[Mutant]:
        for statement in ast.parse(self._text).body:
            yield from self._statement(statement, _names(statement))

    def _statement(self, node: ast.stmt, bound: tuple[str, ...]) -> Iterator[Mutant]:
        if _says_nothing(node):
            return
        for changed, new in _changes_of_statement(node):
            yield self._mutant(changed, new, node, bound)
        for field in _expressions(node):
            for changed, new in _changes_within(field):
                yield self._mutant(changed, new, node, bound)
        inner = () if isinstance(node, ast.FunctionDef) else bound
        for child in _statements(node):
            names = _names(child) if isinstance(node, ast.ClassDef) else ()
            yield from self._statement(child, (*inner, *names) if inner else ())

    def _mutant(self, changed: ast.expr | ast.stmt, new: str, of: ast.stmt, bound: tuple[str, ...]) -> Mutant:
        assert changed.end_lineno is not None
        assert changed.end_col_offset is not None
        start = self._begins[changed.lineno - 1] + changed.col_offset
        end = self._begins[changed.end_lineno - 1] + changed.end_col_offset
        # Without brackets in a pattern of `match`, where a constant is all that is changed.
        if isinstance(changed, ast.expr) and not isinstance(changed, ast.Constant):
            new = f"({new})"
        old = ast.unparse(changed)
        old = f"({old})" if new[0] == "(" else old
        return Mutant(self._file, start, end, new, old, _lines(of), bound)


def _alike(one: str, other: str) -> int:
    """How many characters both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))


def _short(text: str, begin: int, end: int, around: int = 30) -> str:
    begin, end = max(0, begin - around), end + around
    return ("…" if begin else "") + text[begin:end] + ("…" if end < len(text) else "")


def _names(node: ast.stmt) -> tuple[str, ...]:
    if isinstance(node, ast.FunctionDef | ast.ClassDef):
        return (node.name,)
    targets = {ast.Assign: "targets", ast.AnnAssign: "target", ast.For: "target"}.get(type(node))
    found = getattr(node, targets) if targets else node
    each = found if isinstance(found, list) else [found]
    names = [inner.id for one in each for inner in ast.walk(one) if isinstance(inner, ast.Name)]
    return tuple(dict.fromkeys(names))


def _says_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assert | ast.Import | ast.ImportFrom | ast.AsyncFunctionDef):
        return True
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True
    if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
        return True
    if isinstance(node, ast.FunctionDef):
        return any(ast.unparse(each).endswith("overload") for each in node.decorator_list)
    return isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) in ("__all__", "__slots__")


def _lines(node: ast.stmt) -> range:
    body = getattr(node, "body", None) or getattr(node, "cases", None)
    if body:
        first = body[0]
        line = first.pattern.lineno if isinstance(first, ast.match_case) else first.lineno
        return range(node.lineno, max(node.lineno + 1, line))
    return range(node.lineno, (node.end_lineno or node.lineno) + 1)


def _statements(node: ast.stmt) -> Iterator[ast.stmt]:
    for field in ("body", "orelse", "finalbody"):
        yield from getattr(node, field, ())
    for part in (*getattr(node, "handlers", ()), *getattr(node, "cases", ())):
        yield from part.body


def _expressions(node: ast.stmt) -> Iterator[ast.AST]:
    """What of a statement may be changed, without the statements in it."""
    if isinstance(node, ast.FunctionDef):
        yield from (each for each in (*node.args.defaults, *node.args.kw_defaults) if each is not None)
    elif isinstance(node, ast.AnnAssign):
        if node.value is not None:
            yield node.value
    elif isinstance(node, ast.Match):
        yield node.subject
        for case in node.cases:
            yield case.pattern
            if case.guard:
                yield case.guard
    elif not isinstance(node, ast.ClassDef):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.expr | ast.withitem):
                yield child


def _changes_of_statement(node: ast.stmt) -> Iterator[tuple[ast.expr | ast.stmt, str]]:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        yield node, "pass"
    elif isinstance(node, ast.Return) and node.value is not None and ast.unparse(node.value) not in _NO:
        yield node, "return None"
    elif isinstance(node, ast.Break):
        yield node, "continue"
    elif isinstance(node, ast.Continue):
        yield node, "break"
    elif isinstance(node, ast.AugAssign) and type(node.op) in _CALCULATED:
        yield node, ast.unparse(ast.AugAssign(node.target, _CALCULATED[type(node.op)](), node.value))
    elif isinstance(node, ast.If | ast.While) and (negated := _negated(node.test)):
        yield node.test, negated


def _changes_within(node: ast.AST) -> Iterator[tuple[ast.expr, str]]:
    if isinstance(node, ast.JoinedStr):  # the places of what stands in it are wrong before Python 3.12
        return
    if isinstance(node, ast.Subscript) and ast.unparse(node.value) == "Literal":
        return
    if isinstance(node, ast.expr):
        for new in _changes_of(node):
            yield node, new
    for child in _children(node):
        yield from _changes_within(child)


def _children(node: ast.AST) -> Iterator[ast.AST]:
    if isinstance(node, ast.Call):
        yield node.func
        if ast.unparse(node.func).rpartition(".")[2] in _FOR_TYPES:
            yield from node.args[1:]
            return
        yield from node.args
        yield from (each.value for each in node.keywords if each.arg != "strict")
    elif isinstance(node, ast.Lambda):
        yield from (*node.args.defaults, node.body)
    else:
        yield from ast.iter_child_nodes(node)


def _changes_of(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Compare):
        yield from _compared(node)
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield ast.unparse(ast.BoolOp(other, node.values))
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield ast.unparse(node.operand)
    elif isinstance(node, ast.BinOp) and not _is_type(node):
        yield ast.unparse(ast.BinOp(node.left, _CALCULATED[type(node.op)](), node.right))
    elif isinstance(node, ast.Constant):
        yield from _constant(node.value)
    elif isinstance(node, ast.IfExp) and (negated := _negated(node.test)):
        yield ast.unparse(ast.IfExp(_parsed(negated), node.body, node.orelse))
    else:
        yield from _with_less(node)


def _with_less(node: ast.expr) -> Iterator[str]:
    if isinstance(node, ast.Call):
        for at, each in enumerate(node.keywords):
            if each.arg not in (None, "strict"):
                rest = [*node.keywords[:at], *node.keywords[at + 1 :]]
                yield ast.unparse(ast.Call(node.func, node.args, rest))
    elif isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        yield from _sliced(node, node.slice)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        yield from _filtered(node)


def _compared(node: ast.Compare) -> Iterator[str]:
    terms = [f"({ast.unparse(each)})" for each in (node.left, *node.comparators)]
    signs = [_sign(each) for each in node.ops]
    for at, each in enumerate(node.ops):
        changed = [*signs[:at], _COMPARED[type(each)], *signs[at + 1 :]]
        pairs = zip(changed, terms[1:], strict=True)
        yield " ".join((terms[0], *(part for pair in pairs for part in pair)))


def _sign(node: ast.cmpop) -> str:
    plain = ast.unparse(ast.Compare(ast.Name("a"), [node], [ast.Name("b")]))
    return plain.removeprefix("a ").removesuffix(" b")


def _negated(test: ast.expr) -> str | None:
    """Nothing of what has a change of its own that means the same."""
    if isinstance(test, ast.Compare | ast.BoolOp | ast.Constant | ast.UnaryOp):
        return None
    return f"not ({ast.unparse(test)})"


def _constant(value: Any) -> Iterator[str]:
    if isinstance(value, bool):
        yield repr(not value)
    elif isinstance(value, int | float):
        yield repr(value + 1)
    elif isinstance(value, str):
        yield repr(f"{value}XX")
    elif isinstance(value, bytes):
        yield repr(value + b"XX")


def _sliced(node: ast.Subscript, within: ast.Slice) -> Iterator[str]:
    parts = (within.lower, within.upper, within.step)
    for at, part in enumerate(parts):
        if part is not None:
            rest = [None if place == at else each for place, each in enumerate(parts)]
            yield ast.unparse(ast.Subscript(node.value, ast.Slice(*rest), ast.Load()))


def _filtered(node: Any) -> Iterator[str]:
    """A comprehension with one of its conditions turned round."""
    whole = ast.unparse(node)
    for at, each in enumerate(node.generators):
        for which, condition in enumerate(each.ifs):
            if negated := _negated(condition):
                copy = cast(ast.ListComp, _parsed(whole))  # or one of its kin, which have the same fields
                copy.generators[at].ifs[which] = _parsed(negated)
                yield ast.unparse(copy)


def _is_type(node: ast.BinOp) -> bool:
    """`A | None` outside of annotations."""
    sides = (ast.unparse(each) for each in (node.left, node.right))
    return isinstance(node.op, ast.BitOr) and all(_TYPE.match(side.rpartition(".")[2]) for side in sides)


def _parsed(text: str) -> ast.expr:
    return ast.parse(text, mode="eval").body
