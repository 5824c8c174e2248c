"""Out of memory: what is kept of a planned job that ends so."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

import torch
from torch import nn

from fastsa.cache.store import Store
from fastsa.capture.minimum_budget import MinimumBudget, smallest
from fastsa.errors import StoreUnusable, reason
from fastsa.instrumentation.device import device_name, versions
from fastsa.profiler.out_of_memory import describe, origin, requested_bytes, snapshot
from fastsa.records.profile import Profile
from fastsa.runtime.job import Job

ONLY_ALIVE = "the script ran out of memory: only what was alive then is here"


@dataclass(frozen=True)
class Shortage:
    """What was alive when memory ran out, as an incomplete profile, and its id in the store."""

    profile: Profile
    identity: str | None
    requested_bytes: int | None
    process_budget_bytes: int | None


def shortage(job: Job, roots: Iterable[nn.Module], ending: BaseException) -> Shortage | None:
    """Look around, and store what is seen, if `ending` ends a job for want of memory.

    None if it ends for another reason, in a forked child, or if looking around fails: the job has
    its own error to tell, and whatever fails here is one warning beside it.
    """
    error = origin(ending)
    modules = list(roots)
    if error is None or not modules or os.getpid() != job.process:
        return None
    try:
        profile = _profile(job, modules, error)
    except Exception as failure:  # noqa: BLE001  the script's own error must come through
        job.warn(f"what was alive cannot be told: {reason(failure)}")
        return None
    budget = job.decisions.first.process_budget_bytes if job.decisions else None
    return Shortage(profile, _stored(job, profile), requested_bytes(describe(error)), budget)


def _stored(job: Job, profile: Profile) -> str | None:
    try:
        with Store.open(job.settings.store) as store:
            return store.add_profile(profile)
    except StoreUnusable as error:
        job.warn(f"the snapshot is not stored: {error.message}")
    except Exception as error:  # noqa: BLE001  the script's own error must come through
        job.warn(f"the snapshot is not stored: {reason(error)}")
    return None


def _profile(job: Job, modules: list[nn.Module], error: BaseException) -> Profile:
    parameters = {id(p): p for module in modules for p in module.parameters()}
    device = next(iter(parameters.values())).device
    timeline = snapshot(device, error, modules)
    minimum = _minimum(job, device, requested_bytes(describe(error)))
    script, *arguments = job.host.command
    return Profile(
        schema="fastsa.profile/2",
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        script=script,
        arguments=tuple(arguments),
        model=job.model,
        parameters=sum(p.numel() for p in parameters.values()),
        shape=job.shape,
        device=device_name(device),
        versions=versions(),
        resident_bytes=max(
            (d.resident_bytes for d in job.decisions), default=timeline.resident_bytes
        ),
        peak_bytes=timeline.peak_bytes,
        step_seconds=None,
        timeline=timeline,
        saved=(),
        regions=(),  # jobs look measured graphs up by their profile; nothing was measured here
        missing=(ONLY_ALIVE, *([minimum.missing] if minimum.missing else [])),
        ended=describe(error),
        minimum_budget_bytes=minimum.bytes,
    )


def _minimum(job: Job, device: torch.device, requested: int | None) -> MinimumBudget:
    if not job.decisions:
        return MinimumBudget(
            None, "the smallest budget that fits is not known: nothing was planned"
        )
    try:
        return smallest([(d.resident_bytes, d.graph) for d in job.decisions], device, requested)
    except Exception as error:  # noqa: BLE001  what was alive is worth telling without it
        return MinimumBudget(None, f"the smallest budget that fits is not known: {reason(error)}")
