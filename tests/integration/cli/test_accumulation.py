"""Gradient accumulation and unused outputs: what is planned costs what the plain script does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fastsa.cache.store import Store
from fastsa.records.run import Run
from support.fork_server import Done
from support.sandbox import CliSandbox, steps


def last_run(sandbox: CliSandbox) -> Run:
    with Store.open(sandbox.place) as store:
        return max((store.run(row.id) for row in store.list_items("run")), key=lambda r: r.created)


def is_exact(run: Run) -> bool:
    peak = run.measured_peak_bytes
    return peak is not None and abs(peak / run.predicted_peak_bytes - 1) < 0.01


def trained(sandbox: CliSandbox, budget: str, script: str) -> Run:
    """Run it, with the losses of the plain script."""
    done: Done = sandbox.fastsa("run", "--budget", budget, "--time-limit", "0.2", script)
    assert done.returncode == 0, done.stderr
    assert steps(done)
    assert done.stdout == sandbox.plain(script).stdout
    assert "Warning" not in done.stderr
    return last_run(sandbox)


@pytest.fixture(scope="module")
def sandbox(sandboxes: Callable[[], CliSandbox]) -> CliSandbox:
    made = sandboxes()
    for script in ("heavy.py", "logits.py"):
        assert made.fastsa("profile", script).returncode == 0
    return made


@pytest.mark.promise("micro-batches")
def test_accumulation_as_it_is(sandbox: CliSandbox) -> None:
    """Three micro-batches: at a budget of its own peak nothing is recomputed."""
    run = trained(sandbox, "100%", "heavy.py")
    assert is_exact(run)
    assert run.measured_peak_bytes is not None
    assert run.measured_peak_bytes <= run.process_budget_bytes
    with Store.open(sandbox.place) as store:
        assert store.plan(run.plan).extra_seconds == 0


@pytest.mark.promise("micro-batches", "accumulation")
@pytest.mark.nightly
def test_accumulation_under_a_budget(sandbox: CliSandbox) -> None:
    run = trained(sandbox, "90%", "heavy.py")
    assert is_exact(run)
    assert run.measured_peak_bytes is not None
    assert run.measured_peak_bytes <= run.process_budget_bytes


def test_without_a_profile_the_second_micro_batch_is_planned(
    sandboxes: Callable[[], CliSandbox],
) -> None:
    """The first finds no gradients; the plan for those that do keeps the budget from then on."""
    sandbox = sandboxes()
    first = trained(sandbox, "3.8MiB", "heavy.py")
    assert first.measured_peak_bytes is not None
    assert first.measured_peak_bytes <= first.process_budget_bytes
    assert first.resident_bytes > 3 * 2**20  # two sets of parameters: the gradients are counted
    second = trained(sandbox, "3.8MiB", "heavy.py")  # which knows the step
    assert is_exact(second)


def test_a_budget_below_what_accumulation_needs(sandboxes: Callable[[], CliSandbox]) -> None:
    """It is no longer the first step: it trains with as little as was found, and says so."""
    sandbox = sandboxes()
    done = sandbox.fastsa("run", "--budget", "3.3MiB", "--time-limit", "0.2", "heavy.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout == sandbox.plain("heavy.py").stdout
    assert "cannot be met beside the gradients of earlier micro-batches" in done.stderr


@pytest.mark.promise("unused-outputs")
def test_logits_that_nobody_uses(sandbox: CliSandbox) -> None:
    """torch's zeros for them would not fit: the plain script makes none."""
    run = trained(sandbox, "100%", "logits.py")
    assert is_exact(run)
    assert run.measured_peak_bytes is not None
    assert run.measured_peak_bytes <= run.process_budget_bytes
