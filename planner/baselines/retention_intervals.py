"""Moccasin: the fastest schedule in stages, by constraint programming over intervals (Bartan et
al., ICML 2023).

Each value has up to C retention intervals, C = 2 as in the paper: made by a run of its op, kept
until an end. Time is slots, one per stage and op; a run's slot is that of its op in the stage it
runs in. Every run reads its inputs within some interval of each, and at no slot do the intervals
weigh more than the budget. Linear in the ops where Checkmate's program is quadratic. As in the
paper, a first phase lowers the peak from the unplanned order's to the budget, and a second one
minimises the time from there. OR-Tools' CP-SAT takes `seed` and `threads`; a cancel ends it with
the best so far.
"""

from __future__ import annotations

from collections.abc import Sequence

from ortools.sat.python import cp_model

from fastsa.errors import BadInput
from fastsa.planner import _core
from fastsa.planner.baselines import cp_sat
from fastsa.planner.baselines.baseline import Effort, Found
from fastsa.planner.baselines.staged import Stages
from fastsa.planner.baselines.units import Units, relative_costs
from fastsa.planner.graph import Graph

INTERVALS = 2  # C: runs of an op at most
MAX_OPS = 2000
COST_DIGITS = 1000  # a cost of the mean op, as an integer


def find(graph: Graph, budget_bytes: int, effort: Effort) -> Found:
    """The best order found in which no op runs more than INTERVALS times.

    `proven` is with costs rounded to a thousandth of the mean. Raises BadInput for a graph of
    more than MAX_OPS ops.
    """
    if len(graph.ops) > MAX_OPS:
        raise BadInput(
            f"retention-intervals: {len(graph.ops)} ops, more than the {MAX_OPS} it is built for",
            hint="use --algorithm fastsa, or a smaller graph",
        )
    model = _Model(Stages(graph), Units(graph, budget_bytes))
    model.lower_peak()
    low = cp_sat.solve(model.cp, effort)
    if low is None:
        return Found(None)
    if low.value(model.peak) > model.units.budget:
        return Found(model.order(low))
    model.lower_time(low)
    fast = cp_sat.solve(model.cp, effort)
    if fast is None:
        return Found(model.order(low))
    return Found(model.order(fast), fast.best_objective_bound >= fast.objective_value)


class _Run:
    """One run of an op: whether it takes place, at which slot, and how long its values stay."""

    def __init__(self, op: int, present: cp_model.IntVar | int, slot: cp_model.LinearExprT) -> None:
        self.op = op
        self.present = present
        self.slot = slot
        self.ends: dict[int, cp_model.IntVar] = {}  # by value: the last slot it is kept at


class _Model:
    """The program of one graph and budget, for both phases."""

    def __init__(self, stages: Stages, units: Units) -> None:
        self.stages = stages
        self.units = units
        self.cp = cp_model.CpModel()
        self.end = stages.count * stages.count - 1
        self.runs = [self._runs_of(op) for op in range(stages.count)]
        whole = sum(units.values) + max(units.workspaces, default=0)
        self.peak = self.cp.new_int_var(units.budget, max(whole, units.budget), "")
        self._memory()
        self._reads()
        self._results()
        self._hint_unplanned()

    def lower_peak(self) -> None:
        """Phase one: down to the budget, whatever it costs."""
        self.cp.minimize(self.peak)

    def lower_time(self, start: cp_model.CpSolver) -> None:
        """Phase two: the least time within the budget, from a solution that fits."""
        costs = [round(COST_DIGITS * cost) for cost in relative_costs(self.stages.graph)]
        self.cp.add(self.peak <= self.units.budget)
        self.cp.minimize(sum(costs[run.op] * run.present for runs in self.runs for run in runs))
        self.cp.clear_hints()  # type: ignore[no-untyped-call]
        for index in range(len(self.cp.proto.variables)):
            variable = self.cp.get_int_var_from_proto_index(index)
            self.cp.add_hint(variable, start.value(variable))

    def order(self, solution: cp_model.CpSolver) -> _core.Order:
        """The order that keeps into each stage the values whose intervals reach into it."""
        count = self.stages.count
        kept: list[set[int]] = [set() for _ in range(count)]
        for run in (run for runs in self.runs for run in runs if solution.value(run.present)):
            first = solution.value(run.slot) // count + 1
            for value, end in run.ends.items():
                for stage in range(first, solution.value(end) // count + 1):
                    kept[stage].add(value)
        return self.stages.order(kept)

    def _runs_of(self, op: int) -> list[_Run]:
        """The first run, in the op's own stage, and those that may follow, later and later."""
        count = self.stages.count
        runs = [_Run(op, 1, op * count + op)]
        later = [t for t in range(op + 1, count) if self.stages.may_run_again(t, op)]
        for _ in range(INTERVALS - 1 if later else 0):
            stage = self.cp.new_int_var_from_domain(cp_model.Domain.from_values(later), "")
            run = _Run(op, self.cp.new_bool_var(""), stage * count + op)
            self.cp.add(run.slot > runs[-1].slot)
            self.cp.add_implication(run.present, runs[-1].present)
            runs.append(run)
        for run in runs:
            for value in self.stages.graph.ops[op].outputs:
                run.ends[value] = self.cp.new_int_var(0, self.end, "")
        return runs

    def _memory(self) -> None:
        intervals: list[cp_model.IntervalVar] = []
        demands: list[int] = []
        for run in (run for runs in self.runs for run in runs):
            for value, end in run.ends.items():
                length = self.cp.new_int_var(1, self.end + 1, "")
                intervals.append(
                    self.cp.new_optional_interval_var(run.slot, length, end + 1, run.present, "")
                )
                demands.append(self.units.values[value])
            if workspace := self.units.workspaces[run.op]:
                intervals.append(
                    self.cp.new_optional_fixed_size_interval_var(run.slot, 1, run.present, "")
                )
                demands.append(workspace)
        self.cp.add_cumulative(intervals, demands, self.peak)

    def _reads(self) -> None:
        for readers in self.runs:
            for reader in readers:
                for value in self.stages.inputs(reader.op):
                    self._read(reader, value, self.runs[self.stages.producer[value]])

    def _read(self, reader: _Run, value: int, makers: Sequence[_Run]) -> None:
        """A run that takes place reads the value within one of its intervals."""
        chosen: list[cp_model.IntVar] = []
        for position, maker in enumerate(makers):
            within = self.cp.new_bool_var("")
            chosen.append(within)
            self.cp.add_implication(within, maker.present)
            self.cp.add(maker.slot < reader.slot).only_enforce_if(within)
            self.cp.add(maker.ends[value] >= reader.slot).only_enforce_if(within)
            self.cp.add_hint(within, position == 0)
        self.cp.add_bool_or(chosen).only_enforce_if(reader.present)

    def _results(self) -> None:
        """A result is in some interval that lasts to the end."""
        for value in self.stages.results:
            lasting: list[cp_model.IntVar] = []
            for position, maker in enumerate(self.runs[self.stages.producer[value]]):
                lasts = self.cp.new_bool_var("")
                lasting.append(lasts)
                self.cp.add_implication(lasts, maker.present)
                self.cp.add(maker.ends[value] == self.end).only_enforce_if(lasts)
                self.cp.add_hint(lasts, position == 0)
            self.cp.add_bool_or(lasting)

    def _hint_unplanned(self) -> None:
        count = self.stages.count
        for first, *again in self.runs:
            for run in again:
                assert not isinstance(run.present, int)
                self.cp.add_hint(run.present, False)
            for value, end in first.ends.items():
                last = max([first.op, *self.stages.users[value]])
                kept = self.end if value in self.stages.results else last * count + last
                self.cp.add_hint(end, kept)
