"""A pytest plugin (`-p support.covered`): coverage.py notes which test has run a line.

Other processes take the name from the environment: see `context` in CONFIG.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest

TEST = "COVERAGE_TEST"
"""Environment variable: the test that runs."""

CONFIG = """
[run]
branch = true
parallel = true
patch = subprocess, _exit
sigterm = true
data_file = {data}
context = ${{COVERAGE_TEST-}}
source =
{rooms}
"""

# The runtime leaves a script alone that traces its own Python; coverage.py is none of the script's.
OBSTACLE = "sys.gettrace() is not None"
NO_OBSTACLE = "type(sys.gettrace()).__module__ not in ('builtins', 'coverage.tracer')"


def config(root: Path, data: Path) -> str:
    """The text of a .coveragerc for a checkout."""
    rooms = sorted({path.parent for path in root.glob("*/__init__.py")} | {root / "src"})
    return CONFIG.format(data=data, rooms="\n".join(f"    {room}" for room in rooms))


def let_coverage_trace(root: Path) -> None:
    """Change a copy of the checkout so that models are captured although coverage.py traces."""
    path = root / "capture" / "capturable.py"
    text = path.read_text("utf-8")
    assert text.count(OBSTACLE) == 1
    path.write_text(text.replace(OBSTACLE, NO_OBSTACLE), "utf-8")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """What runs from here on is of this test."""
    os.environ[TEST] = item.nodeid
    measured = coverage.Coverage.current()
    if measured is not None:
        measured.switch_context(item.nodeid)
    return (yield)
