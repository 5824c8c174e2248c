"""The house rules that no linter knows: rooms, links, sizes, and who may import what."""

import ast
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

from support.paths import ROOT, TESTS

PACKAGE = ROOT / "src" / "fastsa"
ROOMS = sorted(path.parent.name for path in ROOT.glob("*/__init__.py"))
CORE = ROOT / "planner" / "core"


def python_files(*rooms: str) -> Iterator[Path]:
    for room in rooms:
        yield from (ROOT / room).rglob("*.py")
    yield from PACKAGE.glob("*.py")


def source_files() -> Iterator[Path]:
    folders = [*ROOMS, "src", "tests", "examples", "benchmarks"]
    for folder in folders:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in {".py", ".pyi", ".cpp", ".h"}:
                yield path


def nodes(path: Path, *words: str) -> Iterator[ast.AST]:
    """All of a file's syntax tree; nothing if none of the words is in it."""
    source = path.read_text()
    if any(word in source for word in words):
        yield from ast.walk(ast.parse(source))


def calls(path: Path, name: str) -> bool:
    """Whether a file calls a function of a name."""
    return any(
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name
        for node in nodes(path, name)
    )


def imports(path: Path, names: set[str]) -> bool:
    """Whether a file imports one of some modules."""
    for node in nodes(path, *names):
        if isinstance(node, ast.Import) and names & {alias.name for alias in node.names}:
            return True
        if isinstance(node, ast.ImportFrom) and node.module in names:
            return True
    return False


def test_the_rooms_are_the_folders_of_the_package() -> None:
    assert {"planner", "profiler", "runtime", "cache", "report", "cli"} <= set(ROOMS)
    assert not {"tests", "support", "src"} & set(ROOMS)


def test_each_room_is_a_link_in_the_package() -> None:
    links = {path.name: str(path.readlink()) for path in PACKAGE.iterdir() if path.is_symlink()}
    assert links == {room: f"../../{room}" for room in ROOMS}


def test_no_room_may_be_imported_by_its_folder_name() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        lint = tomllib.load(file)["tool"]["ruff"]["lint"]
    assert sorted(lint["flake8-tidy-imports"]["banned-api"]) == ROOMS


def test_no_file_is_over_600_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in source_files()}
    assert {Path(__file__), TESTS / "support" / "tiers.py", CORE / "graph.h"} <= set(lengths)
    assert {str(path): lines for path, lines in lengths.items() if lines > 600} == {}


def test_only_commands_and_reports_print() -> None:
    quiet_rooms = set(ROOMS) - {"cli", "report"}
    assert [str(path) for path in python_files(*quiet_rooms) if calls(path, "print")] == []


def test_nothing_is_pickled() -> None:
    """One file reads other programs' pickles: as data, with nothing that could be called.

    Another writes plain data for one.
    """
    banned = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    found = [path for path in python_files(*ROOMS) if imports(path, banned)]
    writer = ROOT / "report" / "memory_viz.py"
    assert found == [ROOT / "profiler" / "pickle_reader.py", writer]
    assert set(re.findall(r"\bpickle\.\w+", writer.read_text())) == {"pickle.dumps"}


def test_the_validator_shares_no_code_with_the_solver() -> None:
    """The closure of its includes holds what a graph is and the names of the reasons."""
    headers, pending = set[str](), ["core/validate.h", "core/validate.cpp"]
    while pending:
        header = pending.pop()
        headers.add(header)
        found = re.findall(r'^#include "(.+)"', (ROOT / "planner" / header).read_text(), re.M)
        pending += set(found) - headers
    allowed = {"validate.cpp", "validate.h", "graph.h", "status.h", "types.h"}
    assert headers <= {f"core/{name}" for name in allowed}


def test_the_core_knows_nothing_of_python() -> None:
    files = [*CORE.glob("*.h"), *CORE.glob("*.cpp")]
    assert files
    assert [path.name for path in files if re.search(r"Python\.h|pybind11", path.read_text())] == []
