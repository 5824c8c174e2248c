"""A job that does not fit unplanned: it is measured op by op, and planned from its first step."""

from __future__ import annotations

from fastsa.cache.store import Store
from support.sandbox import CliSandbox, steps


def test_a_step_above_the_limit_is_planned_before_it_runs(sandbox: CliSandbox) -> None:
    plain = sandbox.plain("plain.py")
    whole = sandbox.fastsa("run", "--budget", "100%", "--time-limit", "0.2", "plain.py")
    with Store.open(sandbox.place) as store:
        unplanned = store.run(store.list_items("run")[0].id).measured_peak_bytes
    assert unplanned
    assert whole.returncode == 0
    limit = int(0.9 * unplanned)
    fresh = str(sandbox.folder / "fresh.db")
    command = ("run", "--store", fresh, "--budget", "auto", "--time-limit", "0.5", "plain.py")
    done = sandbox.fastsa(*command, FASTSA_LIMIT=str(limit))
    assert done.returncode == 0, done.stderr
    assert done.stdout == plain.stdout
    assert steps(done)
    assert done.stderr.index("fastsa: plan made") < done.stderr.index("trained 12 step(s)")
    with Store.open(sandbox.folder / "fresh.db") as store:
        run = store.run(store.list_items("run")[0].id)
        plan = store.plan(run.plan)
    assert run.measured_peak_bytes
    assert run.measured_peak_bytes <= limit < unplanned
    assert plan.extra_seconds > 0
