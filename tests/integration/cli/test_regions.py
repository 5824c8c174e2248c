"""One budget over several regions, and over several shapes, in real scripts."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from fastsa.cache.store import Store
from fastsa.planner.shared_regions import calls_run_alike, shared_regions
from fastsa.planner.step import region_names
from fastsa.records.run import Run
from support.fork_server import Done
from support.sandbox import CliSandbox, steps

OTHERS = ("calls", "micro", "models")
WAYS = ["breaks", "gan", *(pytest.param(way, marks=pytest.mark.nightly) for way in OTHERS)]
QUICK = ("--time-limit", "0.5")


def latest_run(sandbox: CliSandbox) -> Run:
    with Store.open(sandbox.place) as store:
        return store.run(store.list_items("run")[0].id)


class Trained:
    """A script trained plainly, then with a profile at a budget, all in one store."""

    def __init__(self, sandbox: CliSandbox, way: str) -> None:
        self.sandbox = sandbox
        self.plain = sandbox.plain("regions.py", way)
        self.profiled = sandbox.fastsa("profile", "regions.py", way)
        self.done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "regions.py", way)


@pytest.fixture(scope="module", params=WAYS)
def trained(request: pytest.FixtureRequest, sandboxes: Callable[[], CliSandbox]) -> Trained:
    return Trained(sandboxes(), request.param)


def same(done: Done, plain: Done) -> None:
    assert done.returncode == plain.returncode == 0, done.stderr
    assert steps(done)
    assert done.stdout == plain.stdout


@pytest.mark.promise("one-budget", "fault-24")
def test_the_budget_rules_the_whole_step(trained: Trained) -> None:
    same(trained.done, trained.plain)
    assert "FastsaWarning" not in trained.done.stderr
    run = latest_run(trained.sandbox)
    assert run.measured_peak_bytes
    assert run.measured_peak_bytes == pytest.approx(run.predicted_peak_bytes, rel=0.01)
    assert run.measured_peak_bytes <= run.process_budget_bytes


def test_the_unplanned_step_has_the_peak_that_was_measured(trained: Trained) -> None:
    """The order in the graph, simulated, against the recorded plain step of the same script."""
    with Store.open(trained.sandbox.place) as store:
        profile = store.profile(store.list_items("profile")[0].id)
        graph = profile.step
        assert graph is not None
        plans = [store.plan(row.id) for row in store.list_items("plan")]
    base = graph.resident_bytes + plans[0].base_peak_bytes
    # The tracer drops some of what eager autograd keeps, and eager code what it need not hold.
    assert base == pytest.approx(profile.peak_bytes, rel=0.25)
    assert base <= 1.01 * profile.peak_bytes


@pytest.mark.promise("shared-regions")
def test_calls_of_one_piece_run_alike(trained: Trained) -> None:
    with Store.open(trained.sandbox.place) as store:
        plan = store.plan(store.list_items("plan")[0].id)
        graph = store.known_graph(plan.graph)
    assert any(region_names(graph))
    assert calls_run_alike(graph, plan)


@pytest.mark.promise("step-seen")
@pytest.mark.parametrize(
    "way",
    [
        "calls",
        pytest.param("breaks", marks=pytest.mark.nightly),
        pytest.param("micro", marks=pytest.mark.nightly),
        pytest.param("models", marks=pytest.mark.nightly),
        pytest.param("gan", marks=pytest.mark.nightly),
    ],
)
def test_a_step_that_nobody_knows_is_seen_first(sandbox: CliSandbox, way: str) -> None:
    done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "regions.py", way)
    same(done, sandbox.plain("regions.py", way))
    run = latest_run(sandbox)
    assert run.measured_peak_bytes
    assert run.measured_peak_bytes == pytest.approx(run.predicted_peak_bytes, rel=0.02)
    with Store.open(sandbox.place) as store:
        graph = store.known_graph(store.plan(run.plan).graph)
    assert (way in ("calls", "gan")) == bool(shared_regions(graph))


@pytest.mark.promise("step-stored")
def test_the_next_start_knows_the_step(sandbox: CliSandbox) -> None:
    first = sandbox.fastsa("run", "--budget", "80%", *QUICK, "regions.py", "breaks")
    second = sandbox.fastsa("run", "--budget", "80%", *QUICK, "regions.py", "breaks")
    assert "not known yet" in first.stderr
    assert "not known yet" not in second.stderr
    assert "plan found" in second.stderr
    assert steps(first) == steps(second)


@pytest.mark.nightly
def test_another_script_with_the_same_first_region(sandbox: CliSandbox) -> None:
    """The step that was profiled is not the one that runs: the next start knows the right one."""
    sandbox.fastsa("profile", "regions.py", "breaks")
    for _ in range(2):
        done = sandbox.fastsa("run", "--budget", "90%", *QUICK, "regions.py", "micro")
        same(done, sandbox.plain("regions.py", "micro"))
    run = latest_run(sandbox)
    assert run.measured_peak_bytes
    assert run.measured_peak_bytes == pytest.approx(run.predicted_peak_bytes, rel=0.02)


@pytest.mark.promise("smaller-shapes")
class TestShapes:
    def test_smaller_shapes_run_in_the_order_of_a_larger(self, sandbox: CliSandbox) -> None:
        plain = sandbox.plain("shapes.py")
        sandbox.fastsa("profile", "shapes.py")
        done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "shapes.py")
        same(done, plain)
        plans = re.findall(r"^fastsa: plan (?:made|found)", done.stderr, re.MULTILINE)
        # 800, and perhaps once with sizes that the tracer left open, and once for 1024.
        assert 1 <= len(plans) <= 3

    @pytest.mark.promise("fault-24")
    def test_the_last_batch_is_not_planned_again(self, sandbox: CliSandbox) -> None:
        sandbox.fastsa("profile", "last_batch.py")
        done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "last_batch.py")
        same(done, sandbox.plain("last_batch.py"))
        assert len(re.findall(r"^fastsa: plan ", done.stderr, re.MULTILINE)) == 1


@pytest.mark.promise("step-too-large")
def test_a_step_that_turns_out_not_to_fit(sandbox: CliSandbox) -> None:
    """A first start has no reason yet to refuse it."""
    command = ("run", "--budget", "12MiB", *QUICK, "regions.py", "breaks")
    first = sandbox.fastsa(*command)
    same(first, sandbox.plain("regions.py", "breaks"))
    (warning,) = [line for line in first.stderr.splitlines() if "FastsaWarning" in line]
    assert "is the lowest peak found" in warning
    assert "OVER" in first.stderr
    second = sandbox.fastsa(*command)
    assert (second.returncode, steps(second)) == (3, [])
    assert "a budget of 12.00 MiB cannot be met: the minimum is" in second.stderr
