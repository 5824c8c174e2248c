"""The guard: a job that takes more than was predicted, and the jobs after it."""

from __future__ import annotations

import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from fastsa.cache.compile_cache_index import CompileCacheIndex
from fastsa.cache.store import Store
from fastsa.planner.budget import parse
from fastsa.records.margin import Margin
from fastsa.records.run import Run
from support.fork_server import Done
from support.sandbox import CliSandbox

MIB = 1 << 20
QUICK = ("--time-limit", "0.2")


def trained(sandbox: CliSandbox, extra: int, budget: str = "50MiB") -> Done:
    """A script that takes `extra` MiB between forward and backward, beside the 40 it needs."""
    done = sandbox.fastsa("run", "--budget", budget, *QUICK, "hungry.py", str(extra))
    assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def margin(sandboxes: Callable[[], CliSandbox]) -> CliSandbox:
    """The step is known, and 6 MiB are to be kept free of its plans."""
    sandbox = sandboxes()
    trained(sandbox, 0)
    trained(sandbox, 0)
    run = latest(sandbox)
    with Store.open(sandbox.place) as store:
        graph = store.plan(run.plan).graph
        store.set_margin(Margin("fastsa.margin/1", graph, run.device, 6 * MIB, run.created))
    return sandbox


def warnings_of(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if "FastsaWarning" in line]


def margins(place: Path) -> list[tuple[int, str | None]]:
    with closing(sqlite3.connect(place)) as connection:
        return connection.execute("SELECT bytes, run FROM margins").fetchall()


def latest(sandbox: CliSandbox) -> Run:
    with Store.open(sandbox.place) as store:
        return store.run(store.list_items("run")[0].id)


@pytest.mark.nightly
def test_a_step_that_is_recorded_as_it_was_needs_no_margin(sandbox: CliSandbox) -> None:
    trained(sandbox, 0)
    shutil.rmtree(
        CompileCacheIndex(sandbox.place).folder
    )  # else the region is not traced, and not recorded
    (line,) = warnings_of(trained(sandbox, 6))
    assert "above the predicted one: the next start plans the step as it was recorded" in line
    assert margins(sandbox.place) == []
    assert warnings_of(trained(sandbox, 6)) == []


@pytest.mark.promise("margin", "fault-23")
class TestMargin:
    def test_a_start_without_tracing_sets_one(self, sandbox: CliSandbox) -> None:
        """The region comes out of torch's cache: what runs around it cannot be recorded."""
        trained(sandbox, 0)
        (line,) = warnings_of(trained(sandbox, 6))
        assert "the next start keeps 6.00 MiB free" in line
        ((size, run),) = margins(sandbox.place)
        assert size == pytest.approx(6 * MIB, rel=0.01)
        assert run == latest(sandbox).id()

    def test_it_is_kept_free(self, margin: CliSandbox, sandbox: CliSandbox) -> None:
        """Within 42 MiB the plan that is there would fit, and with the margin it does not."""
        sandbox.copy_store(margin)
        assert latest(sandbox).predicted_peak_bytes < 42 * MIB
        done = trained(sandbox, 0, "42MiB")
        assert "fastsa: plan made" in done.stderr
        assert re.search(r"resident .* \+ 6\.00 MiB margin \+ .* for the step", done.stderr)
        run = latest(sandbox)
        assert run.measured_peak_bytes
        assert max(run.measured_peak_bytes, run.predicted_peak_bytes) <= 36 * MIB
        assert "kept free: a run took more" in sandbox.fastsa("show", run.plan).stdout

    @pytest.mark.nightly
    def test_it_goes_when_it_is_not_needed(self, margin: CliSandbox, sandbox: CliSandbox) -> None:
        sandbox.copy_store(margin)
        sizes = []
        for _ in range(3):
            trained(sandbox, 0)
            sizes.append([size / MIB for size, _ in margins(sandbox.place)])
            if sizes[-1]:
                assert margins(sandbox.place)[0][1] == latest(sandbox).id()
        assert sizes == [[3.0], [1.5], []]

    @pytest.mark.nightly
    def test_no_plan_fits_with_it(self, margin: CliSandbox, sandbox: CliSandbox) -> None:
        """A margin makes no budget infeasible: the job trains, and says that it keeps none."""
        sandbox.copy_store(margin)
        refused = sandbox.fastsa("run", "--budget", "10MiB", *QUICK, "hungry.py", "0")
        lowest = re.search(r"Give ([\d.]+ MiB)", refused.stderr)
        assert lowest
        done = trained(sandbox, 0, str(int(parse(lowest[1]).amount * 105 // 100)))
        assert re.search(r"margin +no plan fits with the 6\.00 MiB that", done.stderr)

    @pytest.mark.parametrize(
        "damage",
        [
            "payload = x'00'",
            pytest.param("bytes = 9000000000000000000", marks=pytest.mark.nightly),
            pytest.param("device = 'nowhere'", marks=pytest.mark.nightly),
        ],
    )
    def test_a_damaged_one_is_none(
        self, margin: CliSandbox, sandbox: CliSandbox, damage: str
    ) -> None:
        sandbox.copy_store(margin)
        assert margins(sandbox.place)
        with closing(sqlite3.connect(sandbox.place)) as connection, connection:
            connection.execute(f"UPDATE margins SET {damage}")
        done = trained(sandbox, 0)
        assert "margin" not in done.stderr
        assert warnings_of(done) == []


class TestAuto:
    """A device whose free memory is another one at each start."""

    def started(self, sandbox: CliSandbox, limit: str, **more: str) -> Done:
        done = sandbox.fastsa(
            "run", "--budget", "auto", *QUICK, "hungry.py", "0", FASTSA_LIMIT=limit, **more
        )
        assert done.returncode == 0, done.stderr
        assert warnings_of(done) == []
        return done

    @pytest.mark.promise("limit")
    def test_the_limit_is_the_budget(self, sandbox: CliSandbox) -> None:
        done = self.started(sandbox, "33MiB")
        assert "budget    33.00 MiB = " in done.stderr
        run = latest(sandbox)
        assert run.measured_peak_bytes
        assert run.measured_peak_bytes <= 33 * MIB

    @pytest.mark.promise("auto-tighter")
    def test_a_tighter_stored_plan_is_taken(self, sandbox: CliSandbox) -> None:
        """Without planning, when there is less than the wider plan takes."""
        self.started(sandbox, "60MiB")  # from here on the step is known
        made = r"^fastsa: plan made (\w+)"
        (tight,) = re.findall(made, self.started(sandbox, "29MiB").stderr, re.M)
        (wide,) = re.findall(made, self.started(sandbox, "38MiB").stderr, re.M)
        assert tight != wide
        assert f"plan found {wide}" in self.started(sandbox, "37.9MiB").stderr
        assert f"plan found {tight}" in self.started(sandbox, "32MiB").stderr

    def test_not_a_size(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("run", "--budget", "auto", "hungry.py", "0", FASTSA_LIMIT="50%")
        assert "FASTSA_LIMIT: '50%': it must be a size" in done.stderr
