"""`fastsa check`: a script's planned steps held against its unplanned ones."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from fastsa.cache.store import Store
from fastsa.records.verdict import Verdict
from support.commands import only_json
from support.fork_server import Done
from support.paths import SUPPORT
from support.sandbox import CliSandbox, with_scripts

QUICK = ("--budget", "65%", "--time-limit", "0.2", "--steps", "3")
FORKED = SUPPORT / "forked_check.py"


def check(sandbox: CliSandbox, *arguments: str) -> Done:
    return sandbox.start(FORKED, "check", *with_scripts(arguments)).done()


class Checked:
    """One script, checked."""

    def __init__(self, sandbox: CliSandbox, *arguments: str) -> None:
        self.sandbox = sandbox
        self.done = check(sandbox, *QUICK, *arguments)

    @property
    def verdict(self) -> Verdict:
        with Store.open(self.sandbox.place) as store:
            row = store.list_items("verdict")[-1]  # the one that was shown
            return store.verdict(row.id)


@pytest.fixture(scope="module")
def plain(sandboxes: Callable[[], CliSandbox]) -> Checked:
    return Checked(sandboxes(), "--ops", "plain.py")


class TestHolds:
    def test_exit_code_and_words(self, plain: Checked) -> None:
        assert plain.done.returncode == 0, plain.done.stderr
        assert plain.done.stdout.count("bit-identical") == 2
        assert "kept" in plain.done.stdout
        assert "differences" not in plain.done.stdout
        assert "left behind" not in plain.done.stdout

    @pytest.mark.promise("same-bits")
    def test_what_was_compared(self, plain: Checked) -> None:
        """Three steps of a loss and eight gradients and parameters; ops run again are compared."""
        verdict = plain.verdict
        assert (verdict.steps, verdict.tensors) == (3, 3 * (1 + 8 + 8))
        assert verdict.identical_to_compiled is verdict.identical_to_eager is True
        assert verdict.differences == verdict.warnings == ()
        assert verdict.deterministic is None
        assert verdict.ops is not None
        with Store.open(plain.sandbox.place) as store:
            plan = store.plan(verdict.plan)
        assert len(plan.sequence) > len(set(plan.sequence))
        assert verdict.ops >= 3 * len(set(plan.sequence)) - 3  # without the outside

    @pytest.mark.promise("exact-order")
    def test_what_was_measured(self, plain: Checked) -> None:
        verdict = plain.verdict
        assert verdict.measured_peak_bytes
        assert verdict.measured_peak_bytes <= verdict.process_budget_bytes
        assert abs(verdict.measured_peak_bytes / verdict.predicted_peak_bytes - 1) < 0.01
        assert verdict.eager_peak_bytes
        assert verdict.compiled_peak_bytes
        assert verdict.measured_peak_bytes < 0.7 * verdict.compiled_peak_bytes
        assert verdict.compiled_peak_bytes <= verdict.eager_peak_bytes
        for seconds in (verdict.eager_step_seconds, verdict.measured_step_seconds):
            assert seconds

    def test_nothing_else_is_stored(self, plain: Checked) -> None:
        """Of the region and of the step that it turned out to be: the same plan, checked."""
        assert plain.sandbox.kinds() == ["graph", "graph", "plan", "plan", "verdict", "verdict"]

    def test_beside_the_plan(self, plain: Checked, sandbox: CliSandbox) -> None:
        """Wherever the plan is shown."""
        sandbox.copy_store(plain.sandbox)
        verdict = plain.verdict
        rows = only_json(sandbox.fastsa("list", "--kind", "plan", "--json"))["items"]
        assert verdict.line == f"bit-identical over 3 steps, {verdict.created[:10]}"
        assert {row["checked"] for row in rows} == {verdict.line}
        for command in (["list"], ["show", verdict.plan]):
            assert verdict.line in sandbox.fastsa(*command).stdout
        run = sandbox.fastsa("run", "--budget", "65%", "plain.py")
        assert f"checked   {verdict.line}\n" in run.stderr

    def test_shown(self, plain: Checked) -> None:
        told = plain.sandbox.fastsa("show", plain.verdict.id())
        assert told.stdout == plain.done.stdout


def only_verdict(done: Done) -> dict[str, Any]:
    """The JSON on stdout; how the check goes on is on stderr."""
    assert all(line.startswith("fastsa: check: ") for line in done.stderr.splitlines())
    told = only_json(Done(done.args, 0, done.stdout, ""))
    verdict: dict[str, Any] = told["verdict"]
    assert told["holds"] == (done.returncode == 0)
    return verdict


class TestDiffers:
    def test_a_plan_gone_wrong(self, sandbox: CliSandbox) -> None:
        """The op that is to blame is named: a dropout that is not replayed when it runs again."""
        checked = Checked(sandbox, "--json", "sabotage.py")
        assert checked.done.returncode == 1
        verdict = only_verdict(checked.done)
        assert verdict["identical_to_compiled"] is False
        assert verdict["compiled_identical_to_eager"] is verdict["deterministic"] is True
        first = verdict["differences"][0]
        assert (first["against"], first["step"]) == ("compiled", 0)
        assert first["tensor"].startswith("gradient ")
        assert first["target"] == "aten.native_dropout.default"
        assert first["run"] == 2
        assert "tiny.py:" in first["source"]
        assert "differs from the unplanned compiled graph" in sandbox.fastsa("list").stdout

    def test_a_script_that_differs_from_itself(self, sandbox: CliSandbox) -> None:
        checked = Checked(sandbox, "sabotage.py", "random")
        assert checked.done.returncode == 1
        assert "is not deterministic here" in checked.done.stdout
        assert checked.verdict.deterministic is False

    def test_over_the_budget(self, sandbox: CliSandbox) -> None:
        """Memory that the script takes by itself: the bits are right, the budget is not kept."""
        checked = Checked(sandbox, "hungry.py", "24")
        assert checked.done.returncode == 1
        assert "EXCEEDED" in checked.done.stdout
        assert checked.verdict.identical_to_compiled is True


@pytest.mark.nightly
class TestScripts:
    @pytest.mark.parametrize("arguments", [["loader.py"], ["accumulates.py"]], ids=" ".join)
    def test_holds(self, sandbox: CliSandbox, arguments: list[str]) -> None:
        done = check(sandbox, "--budget", "90%", *QUICK[2:], *arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_unseeded(self, sandbox: CliSandbox) -> None:
        """Two processes of it would never agree, if fastsa did not seed them."""
        done = check(sandbox, "--budget", "95%", *QUICK[2:], "unseeded.py")
        assert done.returncode == 0, done.stdout + done.stderr
        assert "by fastsa: the script seeds nothing" in done.stdout


class TestRefuses:
    def test_an_infeasible_budget(self, sandbox: CliSandbox) -> None:
        done = check(sandbox, "--budget", "20%", "--time-limit", "0.2", "plain.py")
        assert (done.returncode, done.stdout) == (3, "")
        assert "cannot be met: the minimum is" in done.stderr

    def test_nothing_planned(self, sandbox: CliSandbox) -> None:
        done = check(sandbox, *QUICK, "opaque.py")
        assert (done.returncode, done.stdout) == (1, "")
        assert "nothing was planned: nothing of the model could be captured" in done.stderr

    @pytest.mark.nightly
    def test_a_script_that_fails(self, sandbox: CliSandbox) -> None:
        """In cold processes, as it is started by users."""
        done = sandbox.fastsa("check", *QUICK, "plain.py", "--raise-at", "1")
        assert (done.returncode, done.stdout) == (1, "")
        assert "| ValueError: mine\n" in done.stderr
        assert done.stderr.endswith(
            "fastsa: the script failed by itself, in its eager run. See what it said above\n"
        )

    def test_no_script(self, sandbox: CliSandbox) -> None:
        done = check(sandbox, *QUICK, "nowhere.py")
        assert done.returncode == 2
        assert "no such script" in done.stderr

    def test_no_budget(self, sandbox: CliSandbox) -> None:
        done = sandbox.fastsa("check", "plain.py")
        assert (done.returncode, done.stdout) == (2, "")
        assert "--budget" in done.stderr


def test_a_damaged_verdict_stops_nothing(plain: Checked, sandbox: CliSandbox) -> None:
    sandbox.copy_store(plain.sandbox)
    with closing(sqlite3.connect(sandbox.place)) as connection, connection:
        connection.execute("UPDATE verdicts SET payload = x'00'")
    done = sandbox.fastsa("run", "--budget", "65%", "--time-limit", "0.2", "plain.py")
    assert done.returncode == 0
    assert "checked" not in done.stderr
    assert "Warning" not in done.stderr


@pytest.mark.nightly
def test_cold(sandbox: CliSandbox) -> None:
    """A whole check, with every process started as users start it."""
    done = sandbox.fastsa("check", *QUICK, "plain.py")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("bit-identical") == 2
