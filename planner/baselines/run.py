"""From a baseline's name to a certified plan."""

from __future__ import annotations

import importlib
import time
from typing import cast

from fastsa.errors import BadInput
from fastsa.planner import _core, baselines
from fastsa.planner.baselines.baseline import Effort, Find
from fastsa.planner.graph import Graph
from fastsa.planner.native import native
from fastsa.planner.options import Cancel, SearchOptions
from fastsa.planner.plan import Plan, Planner
from fastsa.planner.search import PLANNER_VERSION, certify


def plan(
    graph: Graph, budget_bytes: int, options: SearchOptions, *, cancel: Cancel | None = None
) -> Plan:
    """The plan of the baseline named, with the lower bound and checked like any other.

    An unplanned step that fits is left alone, as no baseline would touch it. What a baseline
    without any order amounts to is the unplanned order. The time limit is for the baseline alone:
    the bound has up to a second of its own. Raises BadInput if the baseline's extra is missing or
    the graph is too large for it.
    """
    assert options.time_limit is not None
    find = load(options.algorithm)
    started = time.monotonic()
    deadline = started + options.time_limit
    effort = Effort(deadline, options.seed % 2**31, options.threads, cancel)

    def certified(order: _core.Order, bound_seconds: float) -> Plan:
        made_by = Planner(
            version=PLANNER_VERSION,
            algorithm=options.algorithm,
            seed=options.seed,
            threads=options.threads,
            wall_seconds=time.monotonic() - started,
            iterations=0,
        )
        return certify(graph, order, budget_bytes, planner=made_by, time_limit=bound_seconds)

    unplanned = native(graph).base_order()
    answer = certified(unplanned, 0.0)
    if answer.fits or answer.status == "infeasible":
        return answer
    return certified(find(graph, budget_bytes, effort).order or unplanned, 1.0)


def load(algorithm: str) -> Find:
    """The baseline's function. Raises BadInput if what it needs is not installed."""
    if not baselines.installed(algorithm):
        raise BadInput(
            f"{algorithm} needs OR-Tools, which is not installed",
            hint="run pip install 'fastsa[baselines]'",
        )
    module = importlib.import_module(f"fastsa.planner.baselines.{baselines.BASELINES[algorithm]}")
    return cast(Find, module.find)
