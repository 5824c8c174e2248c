"""Status: what is known, while it trains, of the planned job of this process."""

from __future__ import annotations

import os
from typing import Literal, Protocol

import msgspec

from fastsa.runtime.decision import Decision
from fastsa.runtime.step_measurement import StepMeasurement


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that trains now, predicted against measured.

    Bytes are the whole process's on the device, seconds are of one step. What has not been
    measured yet is None: the peak until the third step under this plan has ended, the seconds for
    some steps more.

    Attributes:
        state: `provisional` if the plan will be replaced as soon as the whole step is known.
        plan: The plan's id in the store; None if it is not stored.
        plan_origin: Whether the plan was found in the store or made by this job.
        process_budget_bytes: The budget.
        fits: Whether a plan within the budget was found.
        resident_bytes: What is alive when the forward begins.
        unplanned_peak_bytes: The peak without a plan: measured if there is a profile, else
            predicted.
        predicted_peak_bytes: The peak under the plan.
        measured_peak_bytes: The peak of the recorded step under the plan; None for as long as the
            script uses `torch.profiler` itself.
        predicted_step_seconds: The time of a step under the plan.
        measured_step_seconds: The median of the undisturbed steps under the plan.
        steps: How many steps have begun under fastsa.
    """

    state: Literal["planned", "provisional"]
    plan: str | None  # id in the store
    plan_origin: Literal["found", "made"]
    process_budget_bytes: int
    fits: bool  # whether a plan within the budget was found
    resident_bytes: int
    unplanned_peak_bytes: int
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    predicted_step_seconds: float
    measured_step_seconds: float | None
    steps: int  # begun under fastsa so far

    @classmethod
    def of(cls, decision: Decision, check: StepMeasurement | None) -> Status:
        """Make the status of a job.

        Args:
            decision: The decision that predicts the step's peak.
            check: The measurement of the steps so far; None if no step has been watched.

        Returns:
            The status; what `check` has not measured is None.
        """
        return cls(
            state="provisional" if decision.is_provisional else "planned",
            plan=decision.plan_id,
            plan_origin=decision.origin,
            process_budget_bytes=decision.process_budget_bytes,
            fits=decision.plan.fits,
            resident_bytes=decision.resident_bytes,
            unplanned_peak_bytes=decision.unplanned_peak_bytes,
            predicted_peak_bytes=decision.predicted_peak_bytes,
            measured_peak_bytes=check.peak_bytes if check else None,
            predicted_step_seconds=decision.predicted_step_seconds,
            measured_step_seconds=check.step_seconds if check else None,
            steps=check.steps if check else 0,
        )


class Planned(Protocol):
    """A job that can say how it does."""

    @property
    def process(self) -> int:
        """Id of its process."""
        ...

    def status(self) -> Status | None:
        """None if nothing is planned in it."""
        ...


_jobs: list[Planned] = []


def status() -> Status | None:
    """Report what is known of the planned job of this process.

    Of several jobs (two `torch.compile` with different options) it reports the one that got its
    first plan last. The jobs of a parent process do not count after a fork.

    Returns:
        The status; None if nothing is planned in this process.
    """
    known = (job.status() for job in reversed(_jobs) if job.process == os.getpid())
    return next((each for each in known if each is not None), None)


def register(job: Planned) -> None:
    """A job has got a plan."""
    if job not in _jobs:
        _jobs.append(job)
