"""The house rules that no linter knows: rooms, links, sizes, and who may import what."""

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import ROOT

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


def calls(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def modules_after(statement: str) -> set[str]:
    """Every module that is loaded once a fresh Python has run the statement."""
    code = f"{statement}\nimport sys\nprint(*sys.modules, sep='\\n')"
    process = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert process.returncode == 0, process.stderr
    return set(process.stdout.split())


def test_each_room_is_a_link_in_the_package() -> None:
    links = {path.name: str(path.readlink()) for path in PACKAGE.iterdir() if path.is_symlink()}
    assert links == {room: f"../../{room}" for room in ROOMS}


def test_no_room_may_be_imported_by_its_folder_name() -> None:
    with (ROOT / "pyproject.toml").open("rb") as file:
        lint = tomllib.load(file)["tool"]["ruff"]["lint"]
    assert sorted(lint["flake8-tidy-imports"]["banned-api"]) == ROOMS


def test_no_file_is_over_600_lines() -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in source_files()}
    assert {str(path): lines for path, lines in lengths.items() if lines > 600} == {}


def test_only_commands_and_reports_print() -> None:
    quiet_rooms = set(ROOMS) - {"cli", "report"}
    assert [str(path) for path in python_files(*quiet_rooms) if "print" in calls(path)] == []


def test_nothing_is_pickled() -> None:
    """One file reads other programs' pickles: as data, with nothing that could be called."""
    banned = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
    found = [path for path in python_files(*ROOMS) if banned & set(imports(path))]
    assert found == [ROOT / "profiler" / "pickle_reader.py"]


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


@pytest.mark.parametrize("module", ["fastsa.planner.solve", "fastsa.cache.store"])
def test_planner_and_cache_do_without_torch(module: str) -> None:
    assert "torch" not in modules_after(f"import {module}")


def test_importing_fastsa_is_light() -> None:
    heavy = {"torch", "numpy", "rich", "click", "sqlite_utils", "fastsa.planner._core"}
    assert heavy & modules_after("import fastsa") == set()
