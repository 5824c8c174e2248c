"""Small faults in the Python code: the tests that every change must pass see most of them.

Which tests run a line is measured first; then each fault is put into a copy of the checkout and
those tests are run, the quickest first. `FASTSA_MUTANTS` and `FASTSA_MUTANTS_SEED` draw others.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import coverage
import pytest

from support import covered
from support.checkout import Checkout
from support.mutants import Mutant, mutants
from support.tiers import read_seconds

ROOMS = ("runtime", "profiler", "cache", "capture", "instrumentation", "records")
COUNT = int(os.environ.get("FASTSA_MUTANTS", "40"))
SEED = os.environ.get("FASTSA_MUTANTS_SEED", "fastsa")
LEAST = 0.75  # of the faults must be seen
MOST_TESTS = 60  # that are tried for one fault
SECONDS = 240.0  # for them; a fault that makes a program hang is seen too


class Suite:
    """The fast tiers in a copy of the checkout, and what each test of them has run."""

    def __init__(self, checkout: Checkout, folder: Path) -> None:
        self.checkout = checkout
        self.data = folder / "coverage" / "data"
        self.data.parent.mkdir()
        self.seconds = read_seconds()
        covered.let_coverage_trace(checkout.root)

    def measure(self) -> str:
        """Run all tests once; what pytest says at the end."""
        rcfile = self.checkout.root / ".coveragerc"
        rcfile.write_text(covered.config(self.checkout.root, self.data), "utf-8")
        pytest_command = ("-m", "pytest", "-p", "support.covered", "-n", "2", "-q")
        done = self.checkout.run("-m", "coverage", "run", *pytest_command, COVERAGE_TEST="")
        self.checkout.run("-m", "coverage", "combine", "-q")
        return done.stdout

    def tests_of(self, mutant: Mutant) -> list[str]:
        """The tests that run the line, or those of the file if it ran at import; quickest first."""
        data = coverage.CoverageData(str(self.data))
        data.read()
        lines = data.contexts_by_lineno(str(mutant.path))
        tests = {name for name in lines.get(mutant.line, []) if "::" in name}
        if len(tests) < 2:
            tests |= {name for names in lines.values() for name in names if "::" in name}
        return sorted(tests, key=lambda name: (self.seconds.get(name, 0.0), name))[:MOST_TESTS]

    def notices(self, mutant: Mutant) -> bool:
        """Whether a test fails, or hangs, with the fault."""
        tests = self.tests_of(mutant)
        if not tests:
            return False
        before = mutant.path.read_text("utf-8")
        mutant.path.write_text(mutant.text, "utf-8")
        try:
            command = ("-m", "pytest", "-x", "-q", "-p", "no:randomly", *tests)
            return self.checkout.run(*command, timeout=SECONDS).returncode != 0
        except subprocess.TimeoutExpired:
            return True
        finally:
            mutant.path.write_text(before, "utf-8")


def test_most_faults_are_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkout = Checkout(tmp_path)
    drawn = list(mutants(checkout.root, ROOMS, COUNT, SEED))
    suite = Suite(checkout, tmp_path)
    said = suite.measure()
    assert " passed" in said, said
    survivors = []
    for mutant in drawn:
        seen = suite.notices(mutant)
        where = f"{mutant.path.relative_to(checkout.root)}:{mutant.line}"
        with capsys.disabled():
            print(f"{'seen    ' if seen else 'SURVIVES'} {where}  {mutant.fault}", flush=True)
        if not seen:
            survivors.append(where)
    assert len(survivors) <= (1 - LEAST) * COUNT, survivors
