"""Is a plan what it claims to be? By the native validator, which shares nothing with the solver."""

from __future__ import annotations

from fastsa.errors import IllegalPlan
from fastsa.planner import _core
from fastsa.planner.graph import Graph
from fastsa.planner.native import native
from fastsa.planner.plan import Plan
from fastsa.planner.step import Order

_STATUSES = {
    "optimal": _core.Status.OPTIMAL,
    "feasible": _core.Status.FEASIBLE,
    "not_found": _core.Status.NOT_FOUND,
    "infeasible": _core.Status.INFEASIBLE,
}
_HINT = "plan the graph again"


class Illegal(IllegalPlan):
    """What the validator found: `reason` in one word, `position` in the sequence (-1: the whole).

    A reason about segments or a missing op has that segment's or op's id as its position.
    """

    def __init__(self, reason: str, position: int, message: str) -> None:
        super().__init__(message, hint=_HINT)
        self.reason = reason
        self.position = position


def validate(graph: Graph, plan: Plan) -> None:
    """Check a plan: that it is legal, its peak by the memory model, its seconds and its status.

    `lower_bound_seconds` and `minimum_budget_bytes` are only compared with the plan's other
    numbers: the proof behind them is the planner's, and so is that of `infeasible`.

    Args:
        graph: The graph that the plan must be of.
        plan: The plan to check.

    Raises:
        BadInput: The graph makes no sense.
        IllegalPlan: The plan is not what it claims to be: an `Illegal` with reason and position.
    """
    if plan.graph != graph.hash():
        raise Illegal("wrong_graph", -1, f"the plan is of graph {plan.graph}, not {graph.hash()}")
    try:
        order = _core.Order(plan.sequence, plan.segment_starts)
        claim = _claim(plan)
    except TypeError as error:
        raise Illegal("out_of_range", -1, "the plan has a number out of range") from error
    _raise(_core.validate(native(graph), order, claim))


def validate_order(graph: Graph, order: Order) -> None:
    """Check that an order is legal for a graph, whatever it weighs.

    Args:
        graph: The graph that the order must be of.
        order: The order to check.

    Raises:
        BadInput: The graph makes no sense.
        IllegalPlan: The order is not legal: an `Illegal` with reason and position.
    """
    try:
        sequence = _core.Order(order.sequence, order.segment_starts)
    except TypeError as error:
        raise Illegal("out_of_range", -1, "the order has a number out of range") from error
    _raise(_core.validate_order(native(graph), sequence))


def _raise(verdict: _core.Verdict) -> None:
    if not verdict.ok:
        place = f"position {verdict.position}: " if verdict.position >= 0 else ""
        raise Illegal(verdict.reason, verdict.position, place + verdict.message)


def _claim(plan: Plan) -> _core.Claim:
    return _core.Claim(
        status=_STATUSES[plan.status],
        budget=plan.step_budget_bytes,
        peak=plan.peak_bytes,
        seconds=plan.seconds,
        base_peak=plan.base_peak_bytes,
        base_seconds=plan.base_seconds,
        lower_bound=plan.lower_bound_seconds,
        minimum_budget=plan.minimum_budget_bytes,
    )
