"""Shortage: the profile of a script that ended for want of memory."""

from __future__ import annotations

import msgspec
import torch
from torch import nn

from fastsa.capture.minimum_budget import MinimumBudget, ModelCall, minimum_budget
from fastsa.instrumentation.storages import pending_optimizer_bytes
from fastsa.profiler.assembly import assemble
from fastsa.profiler.out_of_memory import describe, requested_bytes, snapshot
from fastsa.profiler.recorded import Recorded
from fastsa.records.profile import Profile

ONLY_ALIVE = "the script ran out of memory in a step that was not recorded: what was alive is here"


def snapshot_profile(
    error: BaseException,
    roots: list[nn.Module],
    device: torch.device,
    *,
    script: str,
    arguments: tuple[str, ...],
    shape: str,
) -> Profile:
    """What is alive on `device` while `error` is on its way out."""
    alive = snapshot(device, error, roots)
    return assemble(
        Recorded(alive, (), (), (), alive.resident_bytes, None, ()),
        roots,
        device,
        script=script,
        arguments=arguments,
        shape=shape,
        missing=(ONLY_ALIVE,),
        ended=describe(error),
    )


def with_minimum(
    profile: Profile,
    error: BaseException,
    root: nn.Module,
    call: ModelCall,
    device: torch.device,
    resident_bytes: int,
) -> Profile:
    """The profile with the smallest budget that would have fitted, predicted, or why it is unknown.

    `resident_bytes` are those of a step's beginning; what the optimizers will still add is added.
    The model is traced for it, not run.
    """
    resident = resident_bytes + pending_optimizer_bytes(device)
    found: MinimumBudget = minimum_budget(root, call, resident, requested_bytes(describe(error)))
    missing = (*profile.missing, found.missing) if found.missing else profile.missing
    return msgspec.structs.replace(profile, minimum_budget_bytes=found.bytes, missing=missing)
