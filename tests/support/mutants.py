"""Small faults put into Python code, drawn by a seed: would the tests see them?"""

from __future__ import annotations

import ast
import copy
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS: dict[type[ast.cmpop], type[ast.cmpop]] = {
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
OPERATORS: dict[type[ast.operator], type[ast.operator]] = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.FloorDiv,
    ast.FloorDiv: ast.Mult,
    ast.Div: ast.Mult,
}


@dataclass(frozen=True)
class Mutant:
    """A file with one fault."""

    path: Path
    line: int
    fault: str  # what the line says, and what the fault makes of it
    text: str  # of the whole file


Change = tuple[ast.AST, str, object]  # a node, its field, and what the field becomes


def mutants(root: Path, rooms: tuple[str, ...], count: int, seed: str) -> Iterator[Mutant]:
    """Draw faults at random, each file as often as it has places for one.

    Args:
        root: The checkout.
        rooms: Its folders to draw from.
        count: How many.
        seed: The same seed draws the same faults of the same code.
    """
    files = sorted(path for room in rooms for path in (root / room).rglob("*.py"))
    places = [(path, number) for path in files for number in range(len(changes(parsed(path))))]
    for path, number in random.Random(seed).sample(places, count):
        yield mutant(path, number)


def parsed(path: Path) -> ast.Module:
    """The file's tree."""
    return ast.parse(path.read_text("utf-8"))


def mutant(path: Path, number: int) -> Mutant:
    """The file with its fault of that number."""
    tree = parsed(path)
    node, field, value = changes(tree)[number]
    before = ast.unparse(node)
    setattr(node, field, value)
    text = ast.unparse(ast.fix_missing_locations(tree))
    line = node.lineno if isinstance(node, ast.expr | ast.stmt) else 0
    return Mutant(path, line, f"{before}  ->  {ast.unparse(node)}", text)


def changes(tree: ast.Module) -> list[Change]:
    """Every fault that can be put into a file, in the order of its code."""
    return [change for node in _code(tree) for change in _of(node)]


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """What runs: no annotations, no imports for them."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    yield node
    for field, value in ast.iter_fields(node):
        if field in {"annotation", "returns", "decorator_list"}:
            continue
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, ast.AST):
                yield from _code(each)


def _of(node: ast.AST) -> Iterator[Change]:
    for kind, make in _KINDS:
        if isinstance(node, kind):
            yield from make(node)


def _compare(node: ast.Compare) -> Iterator[Change]:
    other = COMPARISONS[type(node.ops[0])]()
    yield node, "ops", [other, *node.ops[1:]]


def _boolean(node: ast.BoolOp) -> Iterator[Change]:
    yield node, "op", ast.Or() if isinstance(node.op, ast.And) else ast.And()


def _arithmetic(node: ast.BinOp) -> Iterator[Change]:
    text = any(
        isinstance(each, ast.JoinedStr)
        or (isinstance(each, ast.Constant) and isinstance(each.value, str))
        for each in (node.left, node.right)
    )
    if type(node.op) in OPERATORS and not (text and isinstance(node.op, ast.Add)):
        yield node, "op", OPERATORS[type(node.op)]()


def _condition(node: ast.If | ast.IfExp | ast.While) -> Iterator[Change]:
    yield node, "test", ast.UnaryOp(ast.Not(), copy.deepcopy(node.test))


def _constant(node: ast.Constant) -> Iterator[Change]:
    if isinstance(node.value, bool):
        yield node, "value", not node.value
    elif isinstance(node.value, int):
        yield node, "value", node.value + 1


def _returned(node: ast.Return) -> Iterator[Change]:
    if node.value is not None and not isinstance(node.value, ast.Constant):
        yield node, "value", ast.Constant(None)


def _called(node: ast.Expr) -> Iterator[Change]:
    if isinstance(node.value, ast.Call):
        yield node, "value", ast.Constant(...)


_KINDS: tuple[tuple[type | tuple[type, ...], Callable[..., Iterator[Change]]], ...] = (
    (ast.Compare, _compare),
    (ast.BoolOp, _boolean),
    (ast.BinOp, _arithmetic),
    ((ast.If, ast.IfExp, ast.While), _condition),
    (ast.Constant, _constant),
    (ast.Return, _returned),
    (ast.Expr, _called),
)
