"""Status: what is known, while it trains, of the planned job of this process."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Literal

import msgspec

if TYPE_CHECKING:
    from fastsa.runtime.job import Job

_jobs: list[Job] = []


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """The plan that trains now, predicted against measured.

    Bytes are the whole process's on the device. What has not been measured yet is None: the peak
    until the third step has ended, the seconds (a median) for some steps more. While `state` is
    `provisional`, the plan will be replaced as soon as the whole step is known.
    """

    state: Literal["planned", "provisional"]
    plan: str | None  # id in the store
    plan_origin: Literal["found", "made"]
    budget_bytes: int
    fits: bool  # whether a plan within the budget was found
    resident_bytes: int
    unplanned_peak_bytes: int
    predicted_peak_bytes: int
    measured_peak_bytes: int | None
    predicted_step_seconds: float
    measured_step_seconds: float | None
    steps: int  # begun under fastsa so far


def status() -> Status | None:
    """What is known of the planned job of this process; None if nothing is planned in it.

    Of several (two `torch.compile` with different options), the one that was planned last.
    """
    mine = [job for job in _jobs if job.process == os.getpid() and job.decisions]
    return _status(mine[-1]) if mine else None


def register(job: Job) -> None:
    """A job has got a plan."""
    if job not in _jobs:
        _jobs.append(job)


def _status(job: Job) -> Status:
    decision = job.leading
    check = job.watch.check if job.watch is not None else None
    return Status(
        state="provisional" if decision.is_provisional else "planned",
        plan=decision.plan_id,
        plan_origin=decision.origin,
        budget_bytes=decision.budget_bytes,
        fits=decision.plan.fits,
        resident_bytes=decision.resident_bytes,
        unplanned_peak_bytes=decision.unplanned_peak_bytes,
        predicted_peak_bytes=decision.predicted_peak_bytes,
        measured_peak_bytes=check.peak_bytes if check else None,
        predicted_step_seconds=decision.predicted_step_seconds,
        measured_step_seconds=check.step_seconds if check else None,
        steps=check.steps if check else 0,
    )
