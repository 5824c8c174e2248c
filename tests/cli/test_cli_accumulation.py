"""Gradient accumulation and unused outputs: what is planned costs what the plain script does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from commands import Desk, Done, steps

from fastsa.cache.store import Store
from fastsa.runtime.run import Run


def last_run(desk: Desk) -> Run:
    with Store.open(desk.place) as store:
        return max((store.run(row.id) for row in store.list_items("run")), key=lambda r: r.created)


def is_exact(run: Run) -> bool:
    peak = run.measured_peak_bytes
    return peak is not None and abs(peak / run.predicted_peak_bytes - 1) < 0.01


def trained(desk: Desk, budget: str, script: str) -> Run:
    """Run it, with the losses of the plain script."""
    done: Done = desk.fastsa("run", "--budget", budget, "--time-limit", "1", script)
    assert done.returncode == 0, done.stderr
    assert steps(done)
    assert done.stdout == desk.plain(script).stdout
    assert "Warning" not in done.stderr
    return last_run(desk)


@pytest.fixture(scope="module")
def desk(desks: Callable[[], Desk]) -> Desk:
    made = desks()
    for script in ("heavy.py", "logits.py"):
        assert made.fastsa("profile", script).returncode == 0
    return made


def test_accumulation_as_it_is(desk: Desk) -> None:
    """Three micro-batches: at a budget of its own peak nothing is recomputed."""
    run = trained(desk, "100%", "heavy.py")
    assert is_exact(run)
    assert run.measured_peak_bytes is not None
    assert run.measured_peak_bytes <= run.budget_bytes
    with Store.open(desk.place) as store:
        assert store.plan(run.plan).extra_seconds == 0


def test_accumulation_under_a_budget(desk: Desk) -> None:
    run = trained(desk, "90%", "heavy.py")
    assert is_exact(run)
    assert run.measured_peak_bytes is not None
    assert run.measured_peak_bytes <= run.budget_bytes


@pytest.mark.slow
def test_without_a_profile_the_second_micro_batch_is_planned(
    desks: Callable[[], Desk],
) -> None:
    """The first finds no gradients; the plan for those that do keeps the budget from then on."""
    desk = desks()
    first = trained(desk, "3.8MiB", "heavy.py")
    assert first.measured_peak_bytes is not None
    assert first.measured_peak_bytes <= first.budget_bytes
    assert first.resident_bytes > 3 * 2**20  # two sets of parameters: the gradients are counted
    second = trained(desk, "3.8MiB", "heavy.py")  # which knows the step
    assert is_exact(second)


@pytest.mark.slow
def test_a_budget_below_what_accumulation_needs(desks: Callable[[], Desk]) -> None:
    """It is no longer the first step: it trains with as little as was found, and says so."""
    desk = desks()
    done = desk.fastsa("run", "--budget", "3.3MiB", "--time-limit", "0.5", "heavy.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == desk.plain("heavy.py").stdout
    assert "cannot be met beside the gradients of earlier micro-batches" in done.stderr


def test_logits_that_nobody_uses(desk: Desk) -> None:
    """torch's zeros for them would not fit: the plain script makes none."""
    run = trained(desk, "100%", "logits.py")
    assert is_exact(run)
    assert run.measured_peak_bytes is not None
    assert run.measured_peak_bytes <= run.budget_bytes
