"""`fastsa curve` of a measured script: jobs of any budget between its ends find a plan."""

from __future__ import annotations

import gzip
import re
import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest
import torch

from fastsa.cache.store import Store
from fastsa.capture.generators import state_bytes
from fastsa.planner import curve as curves
from fastsa.planner.curve import Curve
from fastsa.planner.plan import Plan
from support.sandbox import CliSandbox

STATES = 64 * 1024  # bytes: more than the states of the generators that plain.py draws from


def made_curve(sandbox: CliSandbox) -> Curve:
    """The curve of tests/scripts/plain.py, measured and stored."""
    profiled = sandbox.fastsa("profile", "plain.py")
    assert profiled.returncode == 0, profiled.stderr
    (profile_id,) = re.findall(r"profile (\w{12}) of", profiled.stdout + profiled.stderr)
    output = sandbox.folder / "curve.json.gz"
    done = sandbox.fastsa("curve", profile_id, "--time-limit", "1", "-o", str(output))
    assert done.returncode == 0, done.stderr
    return curves.decode(gzip.decompress(output.read_bytes()))


@pytest.fixture(scope="module")
def curved(sandboxes: Callable[[], CliSandbox]) -> tuple[CliSandbox, Curve, int]:
    """A store with a curve, that curve, and the bytes resident in its job."""
    sandbox = sandboxes()
    found = made_curve(sandbox)
    with Store.open(sandbox.place) as store:
        (row,) = store.list_items("profile")
        return sandbox, found, store.profile(row.id).resident_beside_graph


class TestJobs:
    """With a curve stored, a job of any budget between its ends plans nothing."""

    def run(self, sandbox: CliSandbox, budget: int) -> tuple[str, str]:
        """Whether the job's plan was found or made, and which it is."""
        done = sandbox.fastsa("run", "--budget", str(budget), "--time-limit", "0.2", "plain.py")
        assert done.returncode == 0, done.stderr
        ((origin, plan_id),) = re.findall(r"^fastsa: plan (found|made) (\w+): ", done.stderr, re.M)
        return origin, plan_id

    @pytest.mark.parametrize("place", [0.1, 0.6, 1.0])
    def test_a_budget_between_its_ends(
        self, curved: tuple[CliSandbox, Curve, int], place: float
    ) -> None:
        sandbox, found, resident = curved
        first, last = found.plans[0], found.plans[-1]
        local = int(
            first.step_budget_bytes - place * (first.step_budget_bytes - last.step_budget_bytes)
        )
        before = len(sandbox.kinds())
        # Beside its plan a job has states of generators to fit.
        origin, plan_id = self.run(sandbox, resident + local + STATES)
        assert origin == "found"
        with Store.open(sandbox.place) as store:
            used = store.plan(store.resolve(plan_id).id)
            graph = store.known_graph(used.graph)

        def fits(each: Plan) -> bool:
            states = state_bytes(graph, each.sequence, torch.device("cpu"))
            return each.peak_bytes + states <= local + STATES

        assert fits(used)
        assert used.seconds == min(each.seconds for each in found.plans if fits(each))
        assert len(sandbox.kinds()) == before + 1, "the run, and no plan"

    @pytest.mark.nightly
    def test_the_curve_of_an_earlier_measurement_is_passed_over(self, sandbox: CliSandbox) -> None:
        first = made_curve(sandbox)
        second = made_curve(sandbox)
        assert first.base_seconds != second.base_seconds
        with Store.open(sandbox.place) as store:
            latest = store.profile(store.list_items("profile")[0].id)
        middle = (second.plans[0].step_budget_bytes + second.plans[-1].step_budget_bytes) // 2
        origin, plan_id = self.run(sandbox, latest.resident_beside_graph + middle)
        assert origin == "found"
        with Store.open(sandbox.place) as store:
            used = store.plan(store.resolve(plan_id).id)
        assert used.base_seconds == second.base_seconds

    def test_a_gap_is_planned_again(
        self, curved: tuple[CliSandbox, Curve, int], sandbox: CliSandbox
    ) -> None:
        """Of a curve that lost its upper plans, what is left must not slow every job."""
        full, found, resident = curved
        sandbox.copy_store(full)
        last = found.plans[-1]
        with closing(sqlite3.connect(sandbox.place)) as connection:
            doomed = connection.execute(
                "SELECT id FROM plans WHERE peak_bytes > ?", [last.peak_bytes]
            ).fetchall()
        removed = sandbox.fastsa("rm", "--yes", *(id for (id,) in doomed))
        assert removed.returncode == 0
        middle = (found.plans[0].step_budget_bytes + last.step_budget_bytes) // 2
        assert self.run(sandbox, resident + middle)[0] == "made"
