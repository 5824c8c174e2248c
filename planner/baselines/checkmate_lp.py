"""Checkmate's approximation: its linear program, rounded in two phases (section 5 of the paper).

Phase one keeps a value into a stage where the relaxed solution keeps more than a threshold of it;
phase two makes what is still missing. Rounding overshoots the budget, so the program is given a
smaller one: the paper takes off a tenth; here less and more is tried as well, and every threshold,
and the fastest that fits is taken. Nothing is proven. `seed` and `threads` do nothing; a cancel
ends it with what has been rounded so far.
"""

from __future__ import annotations

from collections.abc import Iterator

from ortools.math_opt.python import mathopt

from fastsa.planner import _core
from fastsa.planner.baselines.baseline import Effort, Found
from fastsa.planner.baselines.staged import Stages
from fastsa.planner.baselines.staged_model import Solution, StagedModel, check_size
from fastsa.planner.baselines.units import Units
from fastsa.planner.graph import Graph
from fastsa.planner.native import native

MAX_VARIABLES = 150_000
SLACKS = (0.0, 0.05, 0.1, 0.2, 0.3, 0.45)  # taken off the budget
THRESHOLDS = (0.5, 0.01, 0.1, 0.2, 0.3, 0.4, 0.6, 0.7, 0.8, 0.9, 0.99)  # the paper's first


def find(graph: Graph, budget_bytes: int, effort: Effort) -> Found:
    """The fastest rounded order that fits, or else the one with the lowest peak.

    Raises BadInput for a graph of more than MAX_VARIABLES variables.
    """
    stages = Stages(graph)
    check_size("checkmate-lp", stages, MAX_VARIABLES)
    core = native(graph)
    best: tuple[tuple[bool, float], _core.Order] | None = None
    for slack in SLACKS:
        for order in _rounded(stages, int(budget_bytes * (1 - slack)), effort):
            footprint = _core.simulate(core, order)
            over = footprint.peak > budget_bytes
            rank = (over, footprint.peak if over else footprint.seconds)
            if best is None or rank < best[0]:
                best = (rank, order)
        if effort.over or (best is not None and not best[0][0]):
            break  # with less memory, none is faster
    return Found(best[1] if best else None)


def _rounded(stages: Stages, budget_bytes: int, effort: Effort) -> Iterator[_core.Order]:
    units = Units(stages.graph, budget_bytes)
    model = StagedModel(stages, units, integer=False, effort=effort)
    solution = model.solve(mathopt.SolverType.GLOP)
    if solution is None or not solution.optimal:  # out of time: its shares mean nothing yet
        return
    for threshold in THRESHOLDS:
        yield stages.order(_keep(solution, threshold))


def _keep(solution: Solution, threshold: float) -> list[set[int]]:
    return [{v for v, share in kept.items() if share > threshold} for kept in solution.kept]
