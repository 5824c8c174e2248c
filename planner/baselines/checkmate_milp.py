"""Checkmate: the fastest schedule in stages, by an integer program (Jain et al., MLSys 2020).

SCIP stands in for the paper's Gurobi. The model is quadratic in the ops, so it is for graphs of up
to about 200; larger ones are refused. `threads` does nothing here (SCIP has one), `seed` is
SCIP's. A cancel is heard before the solver starts, then only when the time is up.
"""

from __future__ import annotations

from ortools.math_opt.python import mathopt

from fastsa.planner.baselines.baseline import Effort, Found
from fastsa.planner.baselines.staged import Stages
from fastsa.planner.baselines.staged_model import StagedModel, check_size
from fastsa.planner.baselines.units import Units
from fastsa.planner.graph import Graph

MAX_VARIABLES = 150_000
KEPT = 0.5


def find(graph: Graph, budget_bytes: int, effort: Effort) -> Found:
    """The best order in stages; `proven` if there is no faster one that fits.

    Raises BadInput for a graph of more than MAX_VARIABLES variables.
    """
    stages = Stages(graph)
    check_size("checkmate-milp", stages, MAX_VARIABLES)
    model = StagedModel(stages, Units(graph, budget_bytes), integer=True, effort=effort)
    solution = model.solve(mathopt.SolverType.GSCIP)
    if solution is None:
        return Found(None)
    advised = [{v for v, share in kept.items() if share > KEPT} for kept in solution.kept]
    return Found(stages.order(advised), solution.optimal)
