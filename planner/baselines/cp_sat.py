"""OR-Tools' constraint solver, with an effort."""

from __future__ import annotations

from ortools.sat.python import cp_model

from fastsa.planner.baselines.baseline import Effort


def solve(model: cp_model.CpModel, effort: Effort) -> cp_model.CpSolver | None:
    """The solver with its best solution, or None if it has none. A cancel is heard at once."""
    if effort.over:
        return None
    solver = cp_model.CpSolver()
    solver.parameters.max_time_in_seconds = effort.seconds_left
    solver.parameters.num_workers = effort.threads
    solver.parameters.random_seed = effort.seed
    solver.parameters.catch_sigint_signal = False  # the caller's; here it would abort Python
    status = effort.run(lambda: solver.solve(model), solver.stop_search)
    return solver if status in (cp_model.OPTIMAL, cp_model.FEASIBLE) else None
