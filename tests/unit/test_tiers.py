"""The sample of the nightly tests, and the faults that are put into code."""

from __future__ import annotations

import ast
import textwrap

from hypothesis import given
from hypothesis import strategies as st

from support.mutants import changes, mutants, parsed
from support.paths import ROOT
from support.tiers import MOST_SAMPLED, sample

SECONDS = {f"test_{number}": float(number % 7 + 1) for number in range(200)}
NAMES = sorted(SECONDS)


@given(st.text())
def test_a_tenth_of_the_seconds(seed: str) -> None:
    drawn = sample(NAMES, seed, SECONDS)
    assert drawn == sample(NAMES, seed, SECONDS)
    spent, whole = sum(SECONDS[name] for name in drawn), sum(SECONDS.values())
    assert 0.1 * whole - 1 <= spent <= 0.1 * whole


def test_every_test_is_drawn_some_time() -> None:
    assert set[str]().union(*(sample(NAMES, str(n), SECONDS) for n in range(100))) == set(NAMES)


def test_no_sample_takes_longer_than_its_bound() -> None:
    slow = dict.fromkeys(NAMES, 60.0)
    assert sum(slow[name] for name in sample(NAMES, "seed", slow)) <= MOST_SAMPLED


def test_faults_are_of_what_runs() -> None:
    text = '''
    from typing import TYPE_CHECKING
    if TYPE_CHECKING:
        LIMIT = 3
    def f(x: Literal[7]) -> int:
        """Text."""
        return x + 1 if x < 2 else g(x)
    '''
    found = {
        f"{ast.unparse(node)}: {field}"
        for node, field, _ in changes(ast.parse(textwrap.dedent(text)))
    }
    assert found == {
        "return x + 1 if x < 2 else g(x): value",
        "x + 1 if x < 2 else g(x): test",
        "x < 2: ops",
        "x + 1: op",
        "1: value",
        "2: value",
    }


def test_a_seed_draws_the_same_faults() -> None:
    first, second = (list(mutants(ROOT, ("cache",), 5, "seed")) for _ in range(2))
    assert first == second
    assert len({(mutant.path, mutant.fault, mutant.line) for mutant in first}) == 5
    for mutant in first:
        assert ast.dump(ast.parse(mutant.text)) != ast.dump(parsed(mutant.path))
