"""What `torch._functorch.config.activation_memory_budget` would save for the backward.

torch's partitioner turns the budget into a share of the activations it would save by default, and
fills it by a 0/1 knapsack: each value weighs its bytes and is worth the seconds of its op. All else
is recomputed. As in torch the solver sees sizes and times only: neither that recomputing one op may
mean recomputing others, nor what the backward holds at its peak. So the plan can miss the budget,
and is then `not_found` with its true peak; nothing here tries again with a smaller share.

Where it differs from torch: torch weighs only the values of expensive ops (matmuls, convolutions,
random ones) and lets a minimum cut choose among the rest; here every forward value that may be made
again is in the knapsack. torch recomputes as its partitioner orders the backward; here each op runs
again just before its value is first needed. The share is what a user of torch would write down: the
budget in bytes over the unplanned peak. CP-SAT solves the knapsack with `seed` and `threads`; a
cancel ends it with the best so far.
"""

from __future__ import annotations

from ortools.sat.python import cp_model

from fastsa.planner import _core
from fastsa.planner.baselines import cp_sat
from fastsa.planner.baselines.baseline import Effort, Found
from fastsa.planner.baselines.staged import Stages
from fastsa.planner.baselines.units import Units, relative_costs
from fastsa.planner.graph import Graph
from fastsa.planner.native import native

COST_DIGITS = 1000  # the worth of the mean op, as an integer


def find(graph: Graph, budget_bytes: int, effort: Effort) -> Found:
    """The order that saves what the knapsack takes, whatever its true peak is.

    Without any time it saves nothing that can be made again.
    """
    core = native(graph)
    unplanned = _core.simulate(core, core.base_order()).peak
    stages = Stages(graph)
    candidates = [v for v in range(len(graph.values)) if _may_be_dropped(stages, v)]
    activations = sum(graph.values[v].bytes for v in candidates if _read_later(stages, v))
    room = activations * budget_bytes // max(unplanned, 1)
    saved = _knapsack(stages, candidates, room, effort)
    return Found(_core.just_in_time(core, [v for v in candidates if v not in saved]))


def _may_be_dropped(stages: Stages, value: int) -> bool:
    """Whether a forward made it, for itself or its backward, and could make it again."""
    op = stages.producer[value]
    if op < 0 or value in stages.results or not stages.graph.ops[op].recomputable:
        return False
    segments = stages.graph.segments
    home = stages.graph.ops[op].segment
    return all(segment.region != segments[home].region for segment in segments[:home])


def _read_later(stages: Stages, value: int) -> bool:
    """Whether a later segment reads it, so that torch would save it by default."""
    ops = stages.graph.ops
    home = ops[stages.producer[value]].segment
    return any(ops[user].segment > home for user in stages.users[value])


def _knapsack(stages: Stages, candidates: list[int], room: int, effort: Effort) -> set[int]:
    units = Units(stages.graph, room)
    costs = relative_costs(stages.graph)
    model = cp_model.CpModel()
    take = {value: model.new_bool_var("") for value in candidates}
    model.add(sum(units.values[v] * taken for v, taken in take.items()) <= units.budget)
    model.maximize(
        sum(round(COST_DIGITS * costs[stages.producer[v]]) * taken for v, taken in take.items())
    )
    solver = cp_sat.solve(model, effort)
    if solver is None:
        return set()
    return {value for value, taken in take.items() if solver.boolean_value(taken)}
