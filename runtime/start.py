"""Start: a planned region out of torch's cache if an earlier start left it there, else traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import fx

from fastsa.cache.starts import Start, Starts
from fastsa.cache.store import Store
from fastsa.capture.region import compile_region
from fastsa.errors import FastsaError
from fastsa.runtime import aot_cache
from fastsa.runtime.aot_cache import Lookup, Made
from fastsa.runtime.decider import recall
from fastsa.runtime.decision import Decision

if TYPE_CHECKING:
    from fastsa.runtime.job import Job
    from fastsa.runtime.planned_region import PlannedRegion


def compile_planned(
    job: Job, region: PlannedRegion, gm: fx.GraphModule, example_inputs: Sequence[Any]
) -> Any:
    """Compile a Dynamo graph as a planned region, without tracing it if that was done before."""
    key = aot_cache.program_key(gm, example_inputs) if aot_cache.usable() else None
    place = _place(job)
    if key is None or place is None:
        return compile_region(region, gm, example_inputs)
    starts = Starts(place)
    start = starts.get(key)
    decision = _recalled(job, start) if start is not None else None
    lookup = _lookup(region, start, decision)
    region.lookup, region.recalled = lookup, decision
    with aot_cache.looking(lookup):
        compiled = compile_region(region, gm, example_inputs, lookup.code)
    if lookup.hit:
        assert decision is not None and start is not None
        job.planned(decision, region, torch.device(start.device), None)
    elif lookup.made is not None:
        starts.put(key, _noted(start, lookup, lookup.made))
    return compiled


def _place(job: Job) -> Any:
    try:
        with Store.open(job.settings.store) as store:
            return store.path
    except FastsaError:
        return None  # whoever decides will say so


def _recalled(job: Job, start: Start) -> Decision | None:
    """The decision for the graph an earlier start captured, if nothing is left to find out."""
    covering = job.covering(start.captured)
    if covering is not None:
        return covering
    try:
        with Store.open(job.settings.store) as store:
            return recall(
                start.captured,
                torch.device(start.device),
                job.settings,
                store,
                model=job.model,
                shape=job.shape,
                budget_bytes=job.budget_bytes,
            )
    except (FastsaError, RuntimeError):
        return None  # whoever decides will say so


def _lookup(region: PlannedRegion, start: Start | None, decision: Decision | None) -> Lookup:
    if start is None or decision is None or decision.plan_id is None:
        return Lookup(region, None, None)
    order = decision.order(start.captured).digest()
    return Lookup(region, Made(order, start.captured), start.tokens.get(order))


def _noted(start: Start | None, lookup: Lookup, made: Made) -> Start:
    earlier = start.tokens if start is not None and start.captured == made.captured else {}
    tokens = {**earlier, made.order: lookup.token}
    return Start("fastsa.start/1", made.captured, str(lookup.device), tokens)
