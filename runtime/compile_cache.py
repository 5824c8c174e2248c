"""Compile cache: a planned region out of torch's cache if an earlier start left it there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx

from fastsa.cache.compile_cache_index import CompileCacheEntry, CompileCacheIndex
from fastsa.cache.store import Store
from fastsa.capture.region import compile_region
from fastsa.errors import FastsaError
from fastsa.runtime import aot_cache
from fastsa.runtime.aot_cache import Lookup, Made
from fastsa.runtime.decision import Decision
from fastsa.runtime.planned_region import PlannedRegion

Recall = Callable[[CompileCacheEntry], Decision | None]
"""Finds the decision for the graph an earlier start captured, if nothing is left to find out."""


def compile_planned(
    region: PlannedRegion,
    gm: fx.GraphModule,
    example_inputs: Sequence[Any],
    *,
    store: Path | None,
    recall: Recall,
) -> Any:
    """Compile a Dynamo graph as a planned region, without tracing it if that was done before.

    Args:
        region: What it becomes.
        gm: The graph.
        example_inputs: Of the graph.
        store: Where the store is; None: the user's.
        recall: Tells the decision for what an earlier start has captured.
    """
    key = aot_cache.program_key(gm, example_inputs) if aot_cache.usable() else None
    place = _place(store)
    if key is None or place is None:
        return compile_region(region, gm, example_inputs)
    starts = CompileCacheIndex(place)
    start = starts.get(key)
    decision = recall(start) if start is not None else None
    lookup = _lookup(region, start, decision)
    region.lookup, region.recalled = lookup, decision
    with aot_cache.looking(lookup):
        compiled = compile_region(region, gm, example_inputs, lookup.code)
    if lookup.hit:
        assert decision is not None and start is not None
        region.job.planned(decision, region, torch.device(start.device), None)
    elif lookup.made is not None:
        starts.put(key, _noted(start, lookup, lookup.made))
    return compiled


def _place(path: Path | None) -> Path | None:
    try:
        with Store.open(path) as store:
            return store.path
    except FastsaError:
        return None  # whoever decides will say so


def _lookup(
    region: PlannedRegion, start: CompileCacheEntry | None, decision: Decision | None
) -> Lookup:
    if start is None or decision is None or decision.plan_id is None:
        return Lookup(region, None, None)
    order = decision.order(start.captured).digest()
    return Lookup(region, Made(order, start.captured), start.tokens.get(order))


def _noted(start: CompileCacheEntry | None, lookup: Lookup, made: Made) -> CompileCacheEntry:
    earlier = start.tokens if start is not None and start.captured == made.captured else {}
    tokens = {**earlier, made.order: lookup.token}
    return CompileCacheEntry("fastsa.start/1", made.captured, str(lookup.device), tokens)
