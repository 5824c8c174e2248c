"""What is loaded by an import, and what is not: a command is quick because of it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

STATEMENTS = (
    "import fastsa",
    "import fastsa; fastsa.profile",
    "import fastsa.planner.solve",
    "import fastsa.planner.compare, fastsa.cli.plan",
    "import fastsa.cache.store",
)
PROGRAM = """
import json, sys
found = {}
for statement in sys.argv[1:]:
    exec(statement)
    found[statement] = list(sys.modules)
print(json.dumps(found))
"""
Modules = dict[str, set[str]]


@pytest.fixture(scope="module")
def modules() -> Modules:
    """Every module that is loaded after each of the statements, one after the other."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *STATEMENTS], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return {statement: set(names) for statement, names in json.loads(done.stdout).items()}


def test_importing_fastsa_is_light(modules: Modules) -> None:
    heavy = {"torch", "numpy", "rich", "click", "sqlite_utils", "fastsa.planner._core"}
    assert heavy & modules["import fastsa"] == set()


@pytest.mark.parametrize("statement", STATEMENTS)
def test_none_of_them_needs_torch(statement: str, modules: Modules) -> None:
    assert "torch" not in modules[statement]


def test_nothing_of_ortools_is_loaded_before_it_is_needed(modules: Modules) -> None:
    loaded = modules["import fastsa.planner.compare, fastsa.cli.plan"]
    assert "fastsa.planner.baselines" in loaded
    assert not {"ortools", "matplotlib", "pandas", "numpy"} & loaded
