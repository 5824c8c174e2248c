"""RunRecord: what the store is told of a job."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from fastsa.cache.store import Store
from fastsa.errors import StoreUnusable
from fastsa.records.run import Run
from fastsa.runtime.decision import Decision
from fastsa.runtime.guard import Guard
from fastsa.runtime.step_measurement import StepMeasurement


class RunRecord:
    """The plans in use while a job trains, and its run at the end.

    Args:
        store: Its file; None: the user's.
        command: The script and its arguments.
    """

    def __init__(self, store: Path | None, command: tuple[str, ...]) -> None:
        self.guard = Guard(store)
        self.run: Run | None = None
        self.kept_plan: str | None = None  # id of the same plan as one of the step
        self._store = store
        self._command = command
        self._used: set[str] = set()  # ids of plans that the store knows to be in use

    def use(self, plan_id: str) -> None:
        """A plan that a job trains with is no garbage, however old it is."""
        self._used.add(plan_id)
        with suppress(StoreUnusable), Store.open(self._store) as store:
            store.uses.begin(plan_id)

    def keep(self, plan_id: str | None) -> None:
        """The plan was stored once more, as one of the step that was recorded."""
        self.kept_plan = plan_id

    def end(self, decision: Decision, check: StepMeasurement) -> None:
        """The job has ended: store the run, if its plan is stored."""
        self.run = self._run(decision, check)
        if decision.plan_id is None:
            return
        with Store.open(self._store) as store:
            store.uses.end(self._used)
            self.guard.ran(store, store.add_run(self.run))

    def _run(self, decision: Decision, check: StepMeasurement) -> Run:
        return Run(
            schema="fastsa.run/1",
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            script=" ".join(self._command),
            model=decision.model,
            shape=decision.shape,
            device=decision.device,
            versions=decision.versions,
            plan=decision.plan_id or "",
            plan_origin=decision.origin,
            process_budget_bytes=decision.process_budget_bytes,
            resident_bytes=decision.resident_bytes,
            predicted_peak_bytes=decision.predicted_peak_bytes,
            measured_peak_bytes=check.peak_bytes,
            predicted_step_seconds=decision.predicted_step_seconds,
            measured_step_seconds=check.step_seconds,
            steps=check.steps,
        )
