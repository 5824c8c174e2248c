"""The validator with one thing changed: the C++ tests of the validator must notice each."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.paths import ROOT

SOURCE = ROOT / "planner" / "core" / "validate.cpp"
TEST = ROOT / "tests" / "cpp" / "validate_test.cpp"
COMPILE = ("g++", "-std=c++20", "-O0", f"-I{ROOT / 'planner'}", f"-I{ROOT / 'tests' / 'cpp'}")

# What a slip of the hand makes of it. A reason that is not given is the most common one.
SWAPS = (
    (r"\{(Reason::k(?!None)\w+)", "{Reason::kNone"),
    (r"return (Reason::k(?!None)\w+);", "return Reason::kNone;"),
    (r" <= ", " < "),
    (r" < ", " <= "),
    (r" >= ", " > "),
    (r" != ", " == "),
    (r"(?<!&)&& ", "|| "),
    (r" \+ graph", " - graph"),
    (r"ran\[op\] = 1", "ran[op] = 0"),
    (r"wanted\[value\] = 0", "wanted[value] = 1"),
    (r"alive -= ", "alive += "),
)

pytestmark = [
    pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++"),
    pytest.mark.skipif(not Path("/usr/include/gtest/gtest.h").exists(), reason="needs GoogleTest"),
]


def mutants() -> Iterator[tuple[str, str]]:
    """(what was changed, the whole source with it), within the checks, not the words."""
    source = SOURCE.read_text(encoding="utf-8")
    checks = source.index("struct Words")
    for pattern, replacement in SWAPS:
        for match in re.finditer(pattern, source[:checks]):
            line = source.count("\n", 0, match.start()) + 1
            text = source.splitlines()[line - 1].strip()
            if text.startswith(("//", "for (", "#include")):
                continue  # a loop's end changed is a crash, or nothing
            changed = source[: match.start()] + replacement + source[match.end() :]
            yield f"line {line}: {text} -> {replacement.strip()}", changed


@pytest.mark.promise("fault-21")
def test_every_mutant_is_noticed(tmp_path: Path) -> None:
    core = SOURCE.parent
    objects = []
    for source in (core / "graph.cpp", core / "simulate.cpp", TEST):
        objects.append(str(tmp_path / f"{source.stem}.o"))
        subprocess.run([*COMPILE, "-c", source, "-o", objects[-1]], check=True)
    assert passes(SOURCE.read_text(encoding="utf-8"), objects, tmp_path)
    found = list(mutants())
    assert len(found) > 30
    survivors = [what for what, source in found if passes(source, objects, tmp_path)]
    assert survivors == [], "\n".join(survivors)


def passes(source: str, objects: list[str], folder: Path) -> bool:
    """Whether all tests pass with this validator."""
    mutant, program = folder / "mutant.cpp", folder / "mutant"
    mutant.write_text(source, encoding="utf-8")
    subprocess.run(
        [*COMPILE, mutant, *objects, "-o", program, "-lgtest", "-lgtest_main", "-lpthread"],
        check=True,
    )
    done = subprocess.run([program], capture_output=True, timeout=60, check=False)
    return done.returncode == 0
