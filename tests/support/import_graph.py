"""The imports between fastsa's own files: all of them, in functions and for type checkers too."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

from support.paths import ROOT

PACKAGE = ROOT / "src" / "fastsa"
TOP, BASE = "fastsa", "errors"

ORDER = (
    TOP,
    "cli",
    "integrations",
    "report",
    "runtime",
    "daemon",
    "profiler",
    "cache",
    "capture",
    "instrumentation",
    "records",
    "config",
    "planner",
    BASE,
)
"""The rooms. A room imports only from those after it."""

_FILES = {"config": "config", "errors": BASE, "version": BASE}  # in src/fastsa; the others are TOP

Edge = tuple[str, str]


def room_of(module: str) -> str:
    """The room of a module's dotted name."""
    parts = module.split(".")
    if len(parts) == 1:
        return TOP
    return parts[1] if (PACKAGE / parts[1]).is_dir() else _FILES.get(parts[1], TOP)


class ImportGraph:
    """`modules`: the file of each; `edges`: who imports whom."""

    @cached_property
    def modules(self) -> dict[str, Path]:
        found = {_name(path): path for path in PACKAGE.glob("*.py")}
        for room in (path for path in PACKAGE.iterdir() if path.is_symlink()):
            found |= {_name(path): path for path in room.resolve().rglob("*.py")}
        return found

    @cached_property
    def edges(self) -> dict[str, set[str]]:
        return {module: set(self._imports(module)) - {module} for module in self.modules}

    @cached_property
    def loaded(self) -> dict[str, set[str]]:
        """Whom each loads: also the packages around what it imports, whose code runs before."""
        return {
            module: {each for name in names for each in self._with_packages(name)} - {module}
            for module, names in self.edges.items()
        }

    def between_rooms(self) -> Counter[Edge]:
        """How many imports lead from one room into another."""
        return Counter(
            (room_of(importer), room_of(imported))
            for importer, all_imported in self.edges.items()
            for imported in all_imported
            if room_of(importer) != room_of(imported)
        )

    def circles(self) -> list[list[str]]:
        """Files that import each other, directly or not (Tarjan's components of two and more)."""
        found: list[list[str]] = []
        number: dict[str, int] = {}
        lowest: dict[str, int] = {}
        stack: list[str] = []

        def visit(module: str) -> None:
            number[module] = lowest[module] = len(number)
            stack.append(module)
            for imported in self.loaded[module]:
                if imported not in number:
                    visit(imported)
                    lowest[module] = min(lowest[module], lowest[imported])
                elif imported in stack:
                    lowest[module] = min(lowest[module], number[imported])
            if lowest[module] == number[module]:
                start = stack.index(module)
                component, stack[start:] = stack[start:], []
                if len(component) > 1:
                    found.append(sorted(component))

        for module in self.modules:
            if module not in number:
                visit(module)
        return found

    def _imports(self, module: str) -> Iterator[str]:
        for node in ast.walk(ast.parse(self.modules[module].read_text("utf-8"))):
            if isinstance(node, ast.Import):
                yield from (
                    self._module(alias.name) for alias in node.names if _is_ours(alias.name)
                )
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names = [f"{node.module}.{alias.name}" for alias in node.names]
                yield from (self._module(name) for name in names if _is_ours(name))

    def _module(self, name: str) -> str:
        """The module that a dotted name is, or is in."""
        while name not in self.modules and "." in name:
            name = name.rpartition(".")[0]
        return name

    def _with_packages(self, name: str) -> Iterator[str]:
        yield name
        while (name := name.rpartition(".")[0]) not in ("", TOP):  # which loads nothing by itself
            if name in self.modules:
                yield name


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] == TOP


def _name(path: Path) -> str:
    base = PACKAGE if path.is_relative_to(PACKAGE) else ROOT
    parts = (TOP, *path.relative_to(base).with_suffix("").parts)
    return ".".join(parts).removesuffix(".__init__")
