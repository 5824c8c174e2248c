"""The guard: a job that takes more than was predicted, and the jobs after it."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from commands import Desk, Done, steps

from fastsa.cache.store import Store
from fastsa.planner.budget import parse
from fastsa.runtime.run import Run

MIB = 1 << 20
QUICK = ("--time-limit", "0.5")


def trained(desk: Desk, extra: int, budget: str = "50MiB") -> Done:
    """A script that takes `extra` MiB between forward and backward, beside the 40 it needs."""
    done = desk.fastsa("run", "--budget", budget, *QUICK, "hungry.py", str(extra))
    assert done.returncode == 0, done.stderr
    return done


def with_margin(desk: Desk) -> Done:
    """A job out of torch's cache, where nothing is recorded anew, takes 6 MiB more."""
    trained(desk, 0)
    trained(desk, 0)
    return trained(desk, 6)


def warnings_of(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if "FastsaWarning" in line]


def margins(place: Path) -> list[tuple[int, str | None]]:
    with closing(sqlite3.connect(place)) as connection:
        return connection.execute("SELECT bytes, run FROM margins").fetchall()


def latest(desk: Desk) -> Run:
    with Store.open(desk.place) as store:
        return store.run(store.list_items("run")[0].id)


@pytest.fixture(scope="module")
def over(desks: Callable[[], Desk]) -> tuple[Desk, Done]:
    desk = desks()
    return desk, with_margin(desk)


@pytest.fixture(scope="module")
def after(over: tuple[Desk, Done]) -> Done:
    return trained(over[0], 6, "42MiB")


def test_a_step_that_is_recorded_as_it_was_needs_no_margin(desk: Desk) -> None:
    trained(desk, 0)
    done = trained(desk, 6)
    (line,) = warnings_of(done)
    assert "above the predicted one: the next start plans the step as it was recorded" in line
    assert margins(desk.place) == []
    assert warnings_of(trained(desk, 6)) == []


class TestOver:
    def test_one_warning(self, over: tuple[Desk, Done]) -> None:
        _, done = over
        (line,) = warnings_of(done)
        assert re.search(
            r"the measured peak, 4\d\.\d\d MiB, is 6\.0\d MiB above the predicted one: "
            r"the next start keeps 6\.0\d MiB free; record a profile of this job",
            line,
        )

    def test_the_script_s_output_is_its_own(self, over: tuple[Desk, Done]) -> None:
        desk, done = over
        assert done.stdout == desk.plain("hungry.py", "6").stdout

    def test_the_next_start_plans_anew_and_keeps_the_budget(
        self, over: tuple[Desk, Done], after: Done
    ) -> None:
        """Within 42 MiB: the plan alone would fit, and the job would take 46."""
        desk, before = over
        assert "fastsa: plan made" in after.stderr
        assert re.search(r"resident .* \+ 6\.0\d MiB margin \+ .* for the step", after.stderr)
        assert warnings_of(after) == []
        assert "OVER" not in after.stderr
        assert steps(after) == steps(before)
        run = latest(desk)
        assert run.measured_peak_bytes
        assert run.predicted_peak_bytes + 5 * MIB < run.measured_peak_bytes <= run.budget_bytes

    def test_stored_with_the_run_that_set_it(self, over: tuple[Desk, Done], after: Done) -> None:
        desk, _ = over
        with Store.open(desk.place) as store:
            _, row, *_ = store.list_items("run")
        ((size, run_id),) = margins(desk.place)
        assert (round(size / MIB), run_id) == (6, row.id)

    def test_shown_with_the_plan(self, over: tuple[Desk, Done], after: Done) -> None:
        desk, _ = over
        assert "kept free: a run took more" in desk.fastsa("show", latest(desk).plan).stdout


@pytest.mark.slow
class TestAfterwards:
    def test_it_goes_when_it_is_not_needed(self, desk: Desk) -> None:
        with_margin(desk)
        sizes = []
        for extra in (4, 0, 0):
            trained(desk, extra)
            sizes.append([round(size / MIB) for size, _ in margins(desk.place)])
        assert sizes == [[4], [2], []]

    def test_a_job_that_ends_badly_has_set_it(self, desk: Desk) -> None:
        trained(desk, 0)
        trained(desk, 0)
        done = desk.fastsa("run", "--budget", "50MiB", *QUICK, "hungry.py", "6", "raises")
        assert done.returncode == 1
        assert len(warnings_of(done)) == 1
        ((size, run_id),) = margins(desk.place)
        assert (round(size / MIB), run_id) == (6, None)

    def test_no_plan_fits_with_it(self, desk: Desk) -> None:
        """A margin makes no budget infeasible: the job trains, and says that it keeps none."""
        with_margin(desk)
        refused = desk.fastsa("run", "--budget", "10MiB", *QUICK, "hungry.py", "0")
        lowest = re.search(r"Give ([\d.]+ MiB)", refused.stderr)
        assert lowest
        done = trained(desk, 0, str(int(parse(lowest[1]).amount * 105 // 100)))
        assert re.search(r"margin +no plan fits with the 6\.0\d MiB that", done.stderr)

    @pytest.mark.parametrize(
        "damage", ["payload = x'00'", "bytes = 9000000000000000000", "device = 'nowhere'"]
    )
    def test_a_damaged_one_is_none(self, desk: Desk, damage: str) -> None:
        with_margin(desk)
        assert margins(desk.place)
        with closing(sqlite3.connect(desk.place)) as connection, connection:
            connection.execute(f"UPDATE margins SET {damage}")
        done = trained(desk, 0)
        assert "margin" not in done.stderr
        assert warnings_of(done) == []


class TestAuto:
    """A device whose free memory is another one at each start."""

    def started(self, desk: Desk, limit: str, **more: str) -> Done:
        done = desk.fastsa(
            "run", "--budget", "auto", *QUICK, "hungry.py", "0", FASTSA_LIMIT=limit, **more
        )
        assert done.returncode == 0, done.stderr
        assert warnings_of(done) == []
        return done

    def test_the_limit_is_the_budget(self, desk: Desk) -> None:
        done = self.started(desk, "33MiB")
        assert "budget    33.00 MiB = " in done.stderr
        run = latest(desk)
        assert run.measured_peak_bytes
        assert run.measured_peak_bytes <= 33 * MIB

    @pytest.mark.slow
    def test_a_tighter_stored_plan_is_taken(self, desk: Desk) -> None:
        """Without planning, when there is less than the wider plan takes."""
        self.started(desk, "60MiB")  # from here on the step is known
        made = r"^fastsa: plan made (\w+)"
        (tight,) = re.findall(made, self.started(desk, "29MiB").stderr, re.M)
        (wide,) = re.findall(made, self.started(desk, "38MiB").stderr, re.M)
        assert tight != wide
        assert f"plan found {wide}" in self.started(desk, "37.9MiB").stderr
        assert f"plan found {tight}" in self.started(desk, "32MiB").stderr

    def test_not_a_size(self, desk: Desk) -> None:
        done = desk.fastsa("run", "--budget", "auto", "hungry.py", "0", FASTSA_LIMIT="50%")
        assert "FASTSA_LIMIT=50%: not a size" in done.stderr
