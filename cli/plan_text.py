"""A plan in a few lines, for people: every number is predicted, and says so."""

from __future__ import annotations

from collections.abc import Iterator

from fastsa.planner.baselines import BASELINES
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.report import text


def describe(plan: Plan, graph: Graph, made_of: str) -> str:
    """The plan's status, budget (and what that is made of), peak, time, bound and minimum."""
    lines = list(_lines(plan, graph, made_of))
    width = max(len(name) for name, _ in lines)
    head = f"{text.printable(graph.name)}: {plan.status.replace('_', ' ')}"
    return "\n".join([head, *(f"  {name:{width}}  {line}" for name, line in lines)])


def _lines(plan: Plan, graph: Graph, made_of: str) -> Iterator[tuple[str, str]]:
    budget = text.of_bytes(plan.step_budget_bytes) if plan.step_budget_bytes > 0 else "nothing"
    yield "budget", f"{budget} for the step's own values: {made_of}"
    if plan.status == "infeasible":
        yield "peak", f"{text.of_bytes(plan.base_peak_bytes)} unplanned, predicted"
    else:
        yield (
            "peak",
            f"{text.of_bytes(plan.base_peak_bytes)} unplanned,"
            f" {text.of_bytes(plan.peak_bytes)} planned"
            f" ({text.of_share(plan.peak_bytes, plan.base_peak_bytes)}), predicted",
        )
        yield (
            "op times",
            f"{text.of_seconds(plan.base_seconds)} unplanned,"
            f" {text.of_seconds(plan.extra_seconds)} more planned"
            f" (+{text.of_share(plan.extra_seconds, plan.base_seconds)}), predicted",
        )
        yield (
            "bound",
            f"no plan{'' if plan.fits else ' that fits'} takes less than "
            f"{text.of_seconds(plan.lower_bound_seconds)} more, assuming "
            + plan.lower_bound_assumes,
        )
    yield "minimum", f"{text.of_bytes(plan.minimum_budget_bytes)}, set by {_culprit(plan, graph)}"
    yield (
        "search",
        f"{plan.planner.algorithm}, {_iterations(plan)}"
        f"in {text.of_seconds(plan.planner.wall_seconds)}",
    )


def _iterations(plan: Plan) -> str:
    """A baseline counts none."""
    if plan.planner.algorithm in BASELINES:
        return ""
    return f"{text.of_count(plan.planner.iterations)} iterations "


def _culprit(plan: Plan, graph: Graph) -> str:
    if plan.minimum_budget_op < 0:
        return "nothing: the graph has no ops"
    return text.of_op(graph.ops[plan.minimum_budget_op])
