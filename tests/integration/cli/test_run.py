"""`fastsa run`: real scripts, trained under a plan, to the same bits."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Callable, Sequence

import msgspec
import pytest

from fastsa.cache.store import Store
from fastsa.records.run import Run
from support.fork_server import Done
from support.paths import SCRIPTS
from support.sandbox import CliSandbox, steps

QUICK = ("--time-limit", "0.2")


class Trained:
    """One script, trained; and what it does in plain python."""

    def __init__(self, sandbox: CliSandbox, options: Sequence[str], *arguments: str) -> None:
        self.sandbox = sandbox
        self.plain = sandbox.plain(*arguments)
        self.done = sandbox.fastsa("run", *options, *QUICK, *arguments)

    def same(self) -> None:
        assert self.done.returncode == self.plain.returncode == 0, self.done.stderr
        assert steps(self.done)
        assert self.done.stdout == self.plain.stdout
        assert "left behind: nothing" in self.done.stdout


def runs(sandbox: CliSandbox) -> list[Run]:
    with Store.open(sandbox.place) as store:
        return [store.run(row.id) for row in store.list_items("run")]


def warnings_of(done: Done) -> list[str]:
    return [line for line in done.stderr.splitlines() if "FastsaWarning" in line]


@pytest.fixture(scope="module")
def first(sandboxes: Callable[[], CliSandbox]) -> Trained:
    return Trained(sandboxes(), ["--budget", "80%"], "plain.py")


@pytest.fixture(scope="module")
def second(first: Trained) -> Trained:
    return Trained(first.sandbox, ["--budget", "80%"], "plain.py")


@pytest.mark.nightly
def test_a_profile_without_a_step_time(sandbox: CliSandbox) -> None:
    """Its bytes are measured and its graph is used; the step's seconds are the ops' sum."""
    assert sandbox.fastsa("profile", "plain.py").returncode == 0
    with Store.open(sandbox.place) as store:
        (row,) = store.list_items("profile")
        profile = store.profile(row.id)
        store.remove(store.resolve(row.id))
        store.add_profile(msgspec.structs.replace(profile, step_seconds=None))
    done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "plain.py")
    assert done.returncode == 0
    assert "unplanned (measured)" in done.stderr
    assert "s unplanned, the sum of the times of the captured ops" in done.stderr
    (run,) = runs(sandbox)
    assert run.predicted_step_seconds > 0


class TestTwice:
    def test_same_losses(self, first: Trained, second: Trained) -> None:
        assert len(steps(first.done)) == 12
        first.same()
        second.same()

    @pytest.mark.promise("plan-lookup")
    def test_made_then_found(self, first: Trained, second: Trained) -> None:
        """The first start has seen the step: what it planned is found as a plan of that."""
        assert len(re.findall(r"^fastsa: plan made (\w+): ", first.done.stderr, re.M)) == 1
        (found,) = re.findall(r"^fastsa: plan found (\w+): ", second.done.stderr, re.M)
        assert f"trained 12 step(s) with plan found {found}" in second.done.stderr
        with Store.open(first.sandbox.place) as store:
            assert store.plan(store.resolve(found).id).extra_seconds > 0
        assert warnings_of(second.done) == []

    @pytest.mark.promise("budget-bytes", "measured-peak")
    def test_stored_runs(self, first: Trained, second: Trained) -> None:
        latest, earliest = runs(first.sandbox)
        assert (earliest.plan_origin, latest.plan_origin) == ("made", "found")
        with Store.open(first.sandbox.place) as store:
            plans = [store.plan(run.plan) for run in (earliest, latest)]
        assert plans[0].extra_seconds == pytest.approx(plans[1].extra_seconds, abs=1e-9)
        for run in (earliest, latest):
            assert run.steps == 12
            assert run.predicted_peak_bytes <= run.process_budget_bytes
            assert run.measured_peak_bytes
            assert abs(run.measured_peak_bytes / run.predicted_peak_bytes - 1) < 0.01
        assert sorted(first.sandbox.kinds()) == ["graph", "graph", "plan", "plan", "run", "run"]

    def test_counted(self, first: Trained, second: Trained) -> None:
        assert first.sandbox.counters["plan.hit"] == 1
        assert first.sandbox.counters["plan.miss.absent"] == 1

    @pytest.mark.promise("fails-plan")
    def test_a_damaged_plan_is_made_again(self, second: Trained, sandbox: CliSandbox) -> None:
        sandbox.copy_store(second.sandbox)
        with sqlite3.connect(sandbox.place) as connection:
            number, payload = connection.execute(
                "SELECT number, payload FROM plans ORDER BY number DESC"
            ).fetchone()
            middle = len(payload) // 2
            flipped = payload[:middle] + bytes([payload[middle] ^ 255]) + payload[middle + 1 :]
            connection.execute("UPDATE plans SET payload = ? WHERE number = ?", [flipped, number])
        connection.close()
        third = Trained(sandbox, ["--budget", "80%"], "plain.py")
        third.same()
        assert "fastsa: plan made " in third.done.stderr
        assert sandbox.counters["plan.damaged"] == 1
        assert sandbox.counters["plan.miss.damaged"] == 1
        assert sandbox.kinds().count("plan") == 2


@pytest.fixture(scope="module")
def refused(sandboxes: Callable[[], CliSandbox]) -> Trained:
    return Trained(sandboxes(), ["--budget", "20%"], "plain.py")


class TestBudget:
    @pytest.mark.promise("infeasible", "fault-18")
    def test_below_the_minimum(self, refused: Trained) -> None:
        assert refused.done.returncode == 3
        assert refused.done.stdout == "left behind: nothing\n"
        assert re.fullmatch(
            r"fastsa: a budget of .* cannot be met: the minimum is .* MiB \(.* resident \+ .* for "
            r"aten\.\S+ \S+ \S+tiny\.py:\d+\), the lowest peak found is (.* MiB)\. "
            r"Give \1, more --time-limit, or --best-effort .*\n",
            refused.done.stderr,
        )
        assert "plan" not in refused.sandbox.kinds()
        assert "run" not in refused.sandbox.kinds()

    @pytest.mark.nightly
    def test_the_minimum_is_one(self, refused: Trained) -> None:
        """Just below what the refusal says is refused, twice as much is not."""
        found = re.search(r"minimum is ([\d.]+) MiB", refused.done.stderr)
        assert found
        minimum = float(found[1])
        below = refused.sandbox.fastsa(
            "run", "--budget", f"{minimum - 0.02}MiB", *QUICK, "plain.py"
        )
        assert below.returncode == 3

    @pytest.mark.nightly
    def test_what_the_refusal_advises_works(self, refused: Trained) -> None:
        found = re.search(r"Give ([\d.]+ MiB)", refused.done.stderr)
        assert found
        done = refused.sandbox.fastsa("run", "--budget", found[1], "plain.py")
        assert done.returncode == 0

    @pytest.mark.promise("best-effort")
    def test_best_effort(self, sandbox: CliSandbox) -> None:
        trained = Trained(sandbox, ["--budget", "20%", "--best-effort"], "plain.py")
        trained.same()
        assert "OVER      the budget cannot be met" in trained.done.stderr
        assert "above the budget" in trained.done.stderr

    @pytest.mark.parametrize(
        "arguments", [pytest.param([], marks=pytest.mark.nightly), ["everything"]]
    )
    def test_a_script_that_catches(self, sandbox: CliSandbox, arguments: list[str]) -> None:
        """However it takes the refusal, no step is trained over the budget."""
        done = sandbox.fastsa("run", "--budget", "20%", *QUICK, "careful.py", *arguments)
        assert done.returncode == 3
        assert not re.search("^step [0-9]+ -?0x", done.stdout, re.M)
        assert done.stderr.count("\n") == 1

    def test_no_time(self, sandbox: CliSandbox) -> None:
        """What is found in no time fits, or is refused with the lowest peak reached."""
        done = sandbox.fastsa("run", "--budget", "80%", "--time-limit", "0", "plain.py")
        assert done.returncode in (0, 3)
        if done.returncode:
            assert "the lowest peak found is" in done.stderr
            assert steps(done) == []
        else:
            assert steps(done) == steps(sandbox.plain("plain.py"))
            (run,) = runs(sandbox)
            assert run.predicted_peak_bytes <= run.process_budget_bytes

    @pytest.mark.parametrize("budget", ["lots", "", "-5", "0%", "5 parsecs"])
    def test_no_budget(self, sandbox: CliSandbox, budget: str) -> None:
        done = sandbox.fastsa("run", "--budget", budget, "plain.py")
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr.startswith(f"fastsa: budget {budget!r}: ")
        assert done.stderr.count("\n") == 1

    @pytest.mark.promise("budget-auto")
    def test_auto(self, sandbox: CliSandbox) -> None:
        trained = Trained(sandbox, ["--budget", "auto"], "plain.py")
        trained.same()
        assert "0.0% extra time" in trained.done.stderr

    def test_missing(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("run", "plain.py")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--budget" in done.stderr


@pytest.mark.promise("fails-script")
class TestEndings:
    def test_exception(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "plain.py", "--raise-at", "6")
        assert done.returncode == 1
        assert len(steps(done)) == 6
        assert "Traceback (most recent call last):\n" in done.stderr
        assert done.stderr.endswith('    raise ValueError("mine")\nValueError: mine\n')
        assert "left behind: nothing" in done.stdout
        assert "run" not in sandbox.kinds()

    @pytest.mark.nightly
    def test_exit_code(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "plain.py", "--exit-at", "6", "7")
        assert done.returncode == 7
        assert "left behind: nothing" in done.stdout
        assert "run" not in sandbox.kinds()

    def test_exit_0(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "plain.py", "--exit-at", "6", "0")
        assert done.returncode == 0
        assert [run.steps for run in runs(sandbox)] == [6]

    def test_never_trains(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("run", "--budget", "80%", "surroundings.py", "--budget", "x")
        assert done.returncode == 0
        assert f'argv ["{SCRIPTS / "surroundings.py"}", "--budget", "x"]' in done.stdout
        assert done.stderr == (
            "fastsa: no training step was seen (a model in training mode), so nothing was planned\n"
        )
        assert sandbox.kinds() == []

    def test_interrupted(self, sandbox: CliSandbox) -> None:
        """Ctrl-C is the script's: torch makes of it exit code 1, under plain python too."""
        plain = sandbox.plain("endless.py", "5")
        done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "endless.py", "5")
        assert done.returncode == plain.returncode != 0
        assert done.stderr.endswith("\nKeyboardInterrupt\n")
        assert "endless.py" in done.stderr
        assert "left behind: nothing" in done.stdout
        assert sorted(sandbox.kinds()) == ["graph", "graph", "plan", "plan"]


class TestUnplanned:
    """Whatever fastsa cannot do, the script trains."""

    def told(self, trained: Trained, words: str) -> None:
        trained.same()
        (line,) = warnings_of(trained.done)
        assert words in line
        assert trained.done.stderr.endswith("fastsa: trained unplanned\n")
        assert "run" not in trained.sandbox.kinds()

    @pytest.mark.promise("fails-capture")
    def test_not_captured(self, sandbox: CliSandbox) -> None:
        self.told(
            Trained(sandbox, ["--budget", "80%"], "opaque.py"), "captured: it trains unplanned"
        )

    def test_compiled_by_the_script(self, sandbox: CliSandbox) -> None:
        trained = Trained(sandbox, ["--budget", "80%"], "compiles.py", "hooked")
        self.told(trained, "compiles its model itself: it trains unplanned")

    @pytest.mark.promise("own-profiler")
    def test_profiled_by_the_script(self, sandbox: CliSandbox) -> None:
        trained = Trained(sandbox, ["--budget", "80%"], "profiles.py", "0")
        self.told(trained, "torch.profiler")
        assert "seen: True" in trained.done.stdout

    def test_switched_off(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("run", "--budget", "1", "plain.py", FASTSA_DISABLE="1")
        assert done.returncode == 0
        assert done.stdout == sandbox.plain("plain.py").stdout
        assert done.stderr == "fastsa: switched off by FASTSA_DISABLE: training unplanned\n"
        assert not sandbox.place.exists()


class TestStore:
    @pytest.mark.nightly
    def test_unusable(self, sandbox: CliSandbox) -> None:
        sandbox.place.mkdir()
        trained = Trained(sandbox, ["--budget", "80%"], "plain.py")
        trained.same()
        assert len(warnings_of(trained.done)) == 1
        assert "the store is not used" in trained.done.stderr
        assert "fastsa: plan made (not stored): " in trained.done.stderr

    def test_chosen(self, sandbox: CliSandbox) -> None:
        chosen = sandbox.folder / "other" / "store.db"
        done = sandbox.fastsa("run", "--budget", "80%", *QUICK, "--store", str(chosen), "plain.py")
        assert done.returncode == 0
        assert not sandbox.place.exists()
        with Store.open(chosen) as store:
            assert len(store.list_items("run")) == 1


@pytest.mark.nightly
def test_the_scripts_own_compiler_is_left_out(sandbox: CliSandbox) -> None:
    trained = Trained(sandbox, ["--budget", "80%"], "compiles.py")
    trained.same()
    (line,) = warnings_of(trained.done)
    assert "compiles its model itself: while it trains, the plan's order runs instead" in line
    (run,) = runs(sandbox)
    assert run.measured_peak_bytes
    assert run.measured_peak_bytes <= run.process_budget_bytes


class TestScripts:
    """Ways to train, each with the losses of plain python."""

    @pytest.mark.parametrize(
        ("budget", "arguments"),
        [
            pytest.param("80%", ["accumulates.py"], marks=pytest.mark.nightly),
            ("80%", ["loader.py"]),
            pytest.param("80%", ["loader.py", "spawn"], marks=pytest.mark.nightly),
            pytest.param("80%", ["evaluates.py"], marks=pytest.mark.nightly),
            pytest.param("80%", ["compiles.py", "inside"], marks=pytest.mark.nightly),
            pytest.param("80%", ["autocast.py"], marks=pytest.mark.nightly),
            ("100%", ["branches.py"]),
            pytest.param("100%", ["two_modules.py"], marks=pytest.mark.nightly),
            ("100%", ["last_batch.py"]),
        ],
        ids=str,
    )
    def test_same_losses(self, sandbox: CliSandbox, budget: str, arguments: list[str]) -> None:
        trained = Trained(sandbox, ["--budget", budget], *arguments)
        trained.same()
        (run,) = runs(sandbox)
        assert run.measured_peak_bytes
        assert run.predicted_peak_bytes <= run.process_budget_bytes


class TestProfiled:
    """What a profile knows that the first step does not."""

    @pytest.mark.promise("resident")
    def test_accumulated_gradients_count(self, sandbox: CliSandbox) -> None:
        sandbox.fastsa("profile", "accumulates.py")
        Trained(sandbox, ["--budget", "85%"], "accumulates.py").same()
        (run,) = runs(sandbox)
        assert run.measured_peak_bytes
        assert abs(run.measured_peak_bytes / run.predicted_peak_bytes - 1) < 0.01
        assert run.measured_peak_bytes <= run.process_budget_bytes

    @pytest.mark.promise("budget-share")
    @pytest.mark.nightly
    def test_a_smaller_batch_has_the_same_budget_and_stops_nothing(
        self, sandbox: CliSandbox
    ) -> None:
        sandbox.fastsa("profile", "last_batch.py")
        trained = Trained(sandbox, ["--budget", "60%", "--time-limit", "1"], "last_batch.py")
        trained.same()
        budgets = re.findall(r"^  budget +(.*) = ", trained.done.stderr, re.M)
        assert len(set(budgets)) == 1


class TestModelCode:
    """`torch.compile(model, backend="fastsa", options=...)` in a script run by python."""

    @pytest.mark.promise("backend")
    def test_same_losses(self, sandbox: CliSandbox) -> None:
        done = sandbox.plain("backend.py", "budget=80%")
        assert done.returncode == 0, done.stderr
        assert steps(done) == steps(sandbox.plain("backend.py"))
        (run,) = runs(sandbox)
        assert run.steps == 12

    @pytest.mark.promise("backend-options")
    def test_unknown_option(self, sandbox: CliSandbox) -> None:
        done = sandbox.plain("backend.py", "budget=80%", "budgets=1")
        assert done.returncode == 1
        assert "fastsa has no option budgets" in done.stderr
        assert steps(done) == []

    def test_infeasible(self, sandbox: CliSandbox) -> None:
        done = sandbox.plain("backend.py", "budget=20%")
        assert done.returncode == 1
        assert "InfeasibleBudget: a budget of" in done.stderr
        assert "the minimum is" in done.stderr
        assert steps(done) == []

    def test_switched_off(self, sandbox: CliSandbox) -> None:
        done = sandbox.plain("backend.py", "budget=20%", FASTSA_DISABLE="1")
        assert done.returncode == 0
        assert steps(done) == steps(sandbox.plain("backend.py"))
