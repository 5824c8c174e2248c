"""Checkmate's linear model of a schedule in stages (Jain et al., MLSys 2020, section 4).

R[t,i] is whether op i runs in stage t, S[t,v] whether value v is kept into stage t, FREE[t,v,k]
whether v is freed after op k of stage t, U[t,k] the bytes alive while op k of stage t runs. Beyond
the paper: values are not ops (an op may make several, or work in a workspace), results live to the
end, ops that may not run again do not, and each value that is in a stage is either kept on or freed
once in it, an equality that is tighter than the paper's FREE and leaves it no need to be integer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TypeAlias

import msgspec
from ortools.math_opt.python import mathopt
from ortools.util.python.solve_interrupter import SolveInterrupter

from fastsa.errors import BadInput
from fastsa.planner.baselines.baseline import Effort
from fastsa.planner.baselines.staged import Stages
from fastsa.planner.baselines.units import Units, relative_costs

# A term is a factor and a variable, or a constant in place of a variable.
Linear: TypeAlias = "mathopt.Variable | float"
Terms = Iterable[tuple[float, Linear]]


class Solution(msgspec.Struct, frozen=True):
    """`kept`: by stage, how much of each value is kept into it: 0 or 1, or between in an LP."""

    kept: list[dict[int, float]]
    optimal: bool


def variables(stages: Stages) -> int:
    """How many variables the model has, about: quadratic in the ops."""
    reads = sum(len(op.inputs) + len(op.outputs) for op in stages.graph.ops)
    return stages.count * (2 * stages.count + len(stages.graph.values) + reads) // 2


def check_size(algorithm: str, stages: Stages, limit: int) -> None:
    """Raises BadInput if the model would have more than `limit` variables."""
    if (count := variables(stages)) > limit:
        raise BadInput(
            f"{algorithm}: {stages.count} ops make a model of {count:,} variables,"
            f" more than the {limit:,} it is built for",
            hint="use --algorithm fastsa, or a smaller graph",
        )


class StagedModel:
    """The model of one graph and budget, integer or relaxed; built once, solved once."""

    def __init__(self, stages: Stages, units: Units, *, integer: bool, effort: Effort) -> None:
        self.stages = stages
        self.units = units
        self.effort = effort
        self.model = mathopt.Model()
        self._new: Callable[[], mathopt.Variable] = (
            self.model.add_binary_variable if integer else self._share
        )
        self._run = [self._runs_of(stage) for stage in range(stages.count)]
        self._kept = [self._kept_into(stage) for stage in range(stages.count)]
        self._kept.append(dict.fromkeys(stages.results, 1.0))
        for stage in range(stages.count):
            if effort.over:
                break
            self._dependencies(stage)
            self._memory(stage, self._frees(stage))
        self._objective()

    def solve(self, solver: mathopt.SolverType) -> Solution | None:
        """The solution, or None if there is none or no time. SCIP does not hear of a cancel."""
        if self.effort.over:
            return None
        parameters = mathopt.SolveParameters(
            time_limit=timedelta(seconds=self.effort.seconds_left),
            random_seed=self.effort.seed,
        )
        interrupter = SolveInterrupter()
        # Given one, SCIP complains on stderr at every solve, and stops late all the same.
        heard = None if solver == mathopt.SolverType.GSCIP else interrupter
        result = self.effort.run(
            lambda: mathopt.solve(self.model, solver, params=parameters, interrupter=heard),
            interrupter.interrupt,
        )
        if not result.has_primal_feasible_solution():
            return None
        values = result.variable_values()
        kept = [{v: values[s] for v, s in stage.items()} for stage in self._kept[:-1]]
        return Solution(kept, result.termination.reason == mathopt.TerminationReason.OPTIMAL)

    def _share(self) -> mathopt.Variable:
        return self.model.add_variable(lb=0.0, ub=1.0)

    def _runs_of(self, stage: int) -> dict[int, Linear]:
        runs = self.stages.runs(stage)
        return {op: 1.0 if op == stage else self._new() for op in runs}

    def _kept_into(self, stage: int) -> dict[int, Linear]:
        return {
            value: self._new()
            for value, op in enumerate(self.stages.producer)
            if 0 <= op < stage and (self.stages.users[value] or value in self.stages.results)
        }

    def _row(self, terms: Terms, *, least: float = float("-inf"), most: float) -> None:
        """Add `least <= sum of the terms <= most`."""
        factors: dict[mathopt.Variable, float] = {}
        constant = 0.0
        for factor, each in terms:
            if isinstance(each, float):
                constant += factor * each
            else:
                factors[each] = factors.get(each, 0.0) + factor
        row = self.model.add_linear_constraint(lb=least - constant, ub=most - constant)
        for variable, factor in factors.items():
            row.set_coefficient(variable, factor)

    def _there(self, stage: int, value: int) -> list[tuple[float, Linear]]:
        """Whether the value is in the stage at all: kept into it, or made in it."""
        return [
            (1.0, self._kept[stage].get(value, 0.0)),
            (1.0, self._run[stage].get(self.stages.producer[value], 0.0)),
        ]

    def _dependencies(self, stage: int) -> None:
        for op, runs in self._run[stage].items():
            for value in self.stages.inputs(op):
                self._row([(1.0, runs), *((-f, x) for f, x in self._there(stage, value))], most=0.0)

    def _frees(self, stage: int) -> dict[int, list[tuple[int, Linear]]]:
        """By op: the values that may be freed after it, each with its FREE."""
        frees: dict[int, list[tuple[int, Linear]]] = {op: [] for op in self._run[stage]}
        for value, producer in enumerate(self.stages.producer):
            if not 0 <= producer <= stage:
                continue
            there = self._there(stage, value)
            self._row(there, most=1.0)  # what is made again is not kept as well
            free = self._free(stage, value)
            later = (-1.0, self._kept[stage + 1].get(value, 0.0))
            self._row([*there, later, *((-1.0, each) for each in free.values())], least=0, most=0)
            for op, each in free.items():
                frees[op].append((value, each))
        return frees

    def _free(self, stage: int, value: int) -> dict[int, Linear]:
        """FREE of a value in a stage: after an op that runs, and before none that reads it."""
        runs = self._run[stage]
        producer = self.stages.producer[value]
        ops = [op for op in (producer, *self.stages.users[value]) if op in runs]
        if stage in ops:  # it runs for certain, and last
            ops = [stage]
        free: dict[int, Linear] = {}
        for op in ops:
            self._row([(1.0, runs[op]), *((1.0, each) for each in free.values())], most=1.0)
            free[op] = self._share()
            self._row([(1.0, free[op]), (-1.0, runs[op])], most=0.0)
        return free

    def _memory(self, stage: int, frees: dict[int, list[tuple[int, Linear]]]) -> None:
        sizes = self.units.values
        alive: list[tuple[float, Linear]] = [(sizes[v], s) for v, s in self._kept[stage].items()]
        for op, runs in self._run[stage].items():
            made = sum(sizes[v] for v in self.stages.graph.ops[op].outputs)
            used = self.model.add_variable(lb=0.0, ub=float(self.units.budget))
            self._row([(1.0, used), *((-f, x) for f, x in alive), (-made, runs)], least=0, most=0)
            if workspace := self.units.workspaces[op]:
                self._row([(1.0, used), (workspace, runs)], most=self.units.budget)
            alive = [(1.0, used), *((-float(sizes[v]), free) for v, free in frees[op])]

    def _objective(self) -> None:
        costs = relative_costs(self.stages.graph)
        objective = mathopt.fast_sum(
            costs[op] * runs
            for each in self._run
            for op, runs in each.items()
            if not isinstance(runs, float)
        )
        self.model.minimize(objective)
