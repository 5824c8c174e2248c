"""`explain()`: graph + plan -> why the peak, the time and the minimum are what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec

from fastsa.errors import BadInput, IllegalPlan
from fastsa.planner import _core
from fastsa.planner.explain import kept, minimum, other_budgets, peak, recomputed
from fastsa.planner.explain.kept import KeptValues
from fastsa.planner.explain.minimum import Minimum
from fastsa.planner.explain.order import RunOrder
from fastsa.planner.explain.other_budgets import OtherBudget
from fastsa.planner.explain.peak import Peak
from fastsa.planner.explain.recomputed import Recomputed
from fastsa.planner.graph import INT64_MAX, Graph
from fastsa.planner.native import native
from fastsa.planner.options import Cancel, OnProgress, SearchOptions
from fastsa.planner.plan import Plan, Status
from fastsa.planner.search import certify, search
from fastsa.planner.validation import validate

Shares = tuple[float, ...]

# Changes of the budget to look at, in shares of the unplanned peak.
AROUND_A_PLAN: Shares = (-0.05, 0.0, 0.02, 0.05, 0.10)
BELOW_THE_PEAK: Shares = (-0.5, -0.25, -0.1, -0.05, 0.0)
ABOVE_THE_MINIMUM: Shares = (0.0, 0.02, 0.05, 0.10)

_ROUNDING = 1e-9  # of the step time: what two ways to add up the same seconds may differ by
_CERTIFY_SECONDS = 1.0


class Memory(msgspec.Struct, frozen=True):
    """By position of an order: bytes alive while its op runs, and the seconds the op takes."""

    bytes: tuple[int, ...]
    seconds: tuple[float, ...]


class Explanation(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes are the step's own, without `resident_bytes`; all bytes and seconds are predicted.

    What is explained is the plan's order, or the unplanned one: without a plan, and with one that
    has no order because its budget is below the minimum. `recertified`: the plan's seconds and
    bound are not those it was made with, because the graph's op times are others.
    """

    schema: Literal["fastsa.explain/2"] = "fastsa.explain/2"
    graph: str
    graph_name: str
    ops: int
    resident_bytes: int
    planned: bool
    recertified: bool
    status: Status | None
    step_budget_bytes: int | None
    peak_bytes: int
    base_peak_bytes: int
    base_seconds: float
    extra_seconds: float
    lower_bound_seconds: float | None
    lower_bound_assumes: str | None
    peak: Peak
    memory: Memory
    base_memory: Memory
    recomputed: Recomputed
    kept: KeptValues
    minimum: Minimum
    other_budgets: tuple[OtherBudget, ...] = ()


def explain(graph: Graph, plan: Plan | None = None) -> Explanation:
    """Explain a plan of the graph, or the unplanned step.

    Raises BadInput if the plan is not a legal one of this graph with the peak it claims.
    """
    base = search(
        graph, INT64_MAX, SearchOptions(iterations=0)
    )  # the unplanned order and the minimum
    known = current(graph, plan) if plan else base
    planned = plan is not None and plan.status != "infeasible"
    unplanned = RunOrder(graph, base.sequence, base.segment_starts)
    order = RunOrder(graph, known.sequence, known.segment_starts) if planned else unplanned
    return Explanation(
        graph=base.graph,
        graph_name=graph.name,
        ops=len(graph.ops),
        resident_bytes=graph.resident_bytes,
        planned=planned,
        recertified=plan is not None and known is not plan,
        status=known.status if plan else None,
        step_budget_bytes=known.step_budget_bytes if plan else None,
        peak_bytes=known.peak_bytes if planned else base.peak_bytes,
        base_peak_bytes=base.peak_bytes,
        base_seconds=base.seconds,
        extra_seconds=known.extra_seconds if planned else 0.0,
        lower_bound_seconds=known.lower_bound_seconds if planned else None,
        lower_bound_assumes=known.lower_bound_assumes if planned else None,
        peak=peak.of(order),
        memory=Memory(order.alive_bytes, order.seconds),
        base_memory=Memory(unplanned.alive_bytes, unplanned.seconds),
        recomputed=recomputed.of(order),
        kept=kept.of(order),
        minimum=minimum.of(graph, base.minimum_budget_bytes, base.minimum_budget_op),
    )


def with_other_budgets(
    explanation: Explanation,
    graph: Graph,
    plan: Plan | None,
    *,
    time_limit: float = 1.0,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> Explanation:
    """The explanation with what a little more and a little less memory would do.

    Searches for `time_limit` seconds at each of a few budgets: around the plan's, below the
    unplanned peak without a plan, from the minimum up if the plan's budget is below that. Setting
    `cancel` ends it with the budgets searched so far.
    """
    budget, changes = _questions(explanation)
    start = current(graph, plan) if plan else None
    found = other_budgets.search(
        graph,
        budget,
        changes,
        start,
        time_limit=time_limit,
        cancel=cancel,
        on_progress=on_progress,
    )
    return msgspec.structs.replace(explanation, other_budgets=found)


def _questions(explanation: Explanation) -> tuple[int, Sequence[int]]:
    """A budget, and the changes of it to look at, each once and none beyond the unplanned peak."""
    whole = explanation.base_peak_bytes
    if explanation.step_budget_bytes is None:
        budget, shares = whole, BELOW_THE_PEAK
    elif explanation.status == "infeasible":
        budget, shares = explanation.minimum.bytes, ABOVE_THE_MINIMUM
    else:
        budget, shares = explanation.step_budget_bytes, AROUND_A_PLAN
    room = max(0, whole - budget)
    return budget, sorted({min(round(share * whole), room) for share in shares})


def current(graph: Graph, plan: Plan) -> Plan:
    """The plan with the seconds of this graph, whose ops may have been measured since.

    Raises BadInput if it is not a legal plan of this graph with the peak it claims.
    """
    if plan.graph != graph.hash():
        raise _unfit("it is of another graph", "give the graph that the plan was made for")
    if plan.status == "infeasible":
        return plan
    try:
        order = _core.Order(plan.sequence, plan.segment_starts)
        footprint = _core.simulate(native(graph), order)
    except (_core.BadRequest, TypeError) as error:
        raise _unfit(str(error), "plan the graph again") from error
    if footprint.peak != plan.peak_bytes:
        reason = f"its peak is {footprint.peak} bytes, not {plan.peak_bytes}"
        raise _unfit(reason, "plan the graph again")
    claimed, counted = (plan.base_seconds, plan.seconds), (graph.base_seconds, footprint.seconds)
    if all(math.isclose(*each, rel_tol=_ROUNDING) for each in zip(claimed, counted, strict=True)):
        try:
            validate(graph, plan)
        except IllegalPlan as error:
            raise _unfit(error.message, "plan the graph again") from error
        return plan
    return certify(
        graph, order, plan.step_budget_bytes, planner=plan.planner, time_limit=_CERTIFY_SECONDS
    )


def _unfit(reason: str, hint: str) -> BadInput:
    return BadInput(f"this plan cannot be explained: {reason}", hint=hint)
