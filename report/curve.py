"""A curve for people: one line per budget, and where it ends."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import msgspec

from fastsa.planner.curve import Curve
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.report import text
from fastsa.report.layout import PageFacts, Part, Table


class Whole(msgspec.Struct, frozen=True):
    """What budgets are told of: the whole process, or the step's own values alone.

    `resident_bytes` is added to each budget of the curve; `peak_bytes` is 100%.
    """

    name: str
    peak_bytes: int
    resident_bytes: int = 0

    def bytes_of(self, local: int) -> int:
        """A curve's bytes, as bytes of the whole."""
        return self.resident_bytes + local

    def share_of(self, local: int) -> str:
        """The same in percent of the unplanned peak."""
        return text.of_share(self.bytes_of(local), self.peak_bytes)

    def budget_of(self, local: int) -> str:
        """As a percentage to ask for: no less than `local`."""
        if not self.peak_bytes:
            return "100%"
        return f"{math.ceil(100 * self.bytes_of(local) / self.peak_bytes)}%"


def render(curve: Curve, graph: Graph, whole: Whole, use: str | None = None) -> Iterator[Part]:
    """The table of points and the facts below it; `use` is the command to run next."""
    title = (
        f"{graph.name}: bytes of {whole.name}, time in percent of the step's op times, predicted"
    )
    yield points(curve, title, whole)
    yield PageFacts("Where it ends", list(_facts(curve, graph, whole, use)))


def points(curve: Curve, title: str, whole: Whole) -> Table:
    """The plans of a curve, one per line."""
    return Table(
        title,
        ("budget>", "of peak>", "extra time>?", "%>", "bound %>", "gap %>?", "peak>?", ""),
        [_row(each, curve, whole) for each in curve.plans],
    )


def of_plans(plans: Sequence[Plan]) -> Curve:
    """The curve of stored plans, the highest budget first; whether all were searched is unknown."""
    first = plans[0]
    return Curve(
        graph=first.graph,
        complete=False,
        base_peak_bytes=first.base_peak_bytes,
        base_seconds=first.base_seconds,
        minimum_budget_bytes=first.minimum_budget_bytes,
        minimum_budget_op=first.minimum_budget_op,
        plans=tuple(plans),
    )


def _row(plan: Plan, curve: Curve, whole: Whole) -> tuple[str, ...]:
    gap = max(0.0, plan.extra_seconds - plan.lower_bound_seconds)
    return (
        text.of_bytes(whole.bytes_of(plan.step_budget_bytes)),
        whole.share_of(plan.step_budget_bytes),
        text.of_seconds(plan.extra_seconds),
        _percent(plan.extra_seconds, plan),
        _percent(plan.lower_bound_seconds, plan),
        "optimal" if plan.status == "optimal" else _percent(gap, plan),
        text.of_bytes(whole.bytes_of(plan.peak_bytes)),
        "knee" if plan is curve.knee else "",
    )


def _percent(seconds: float, plan: Plan) -> str:
    return f"{100 * seconds / plan.base_seconds:.2f}" if plan.base_seconds else "0.00"


def _facts(
    curve: Curve, graph: Graph, whole: Whole, use: str | None
) -> Iterator[tuple[str, str | None]]:
    lowest = curve.plans[-1].peak_bytes
    if not curve.complete:
        yield "cut short", "not every budget was searched: give it more time for an even curve"
    if curve.knee is not None:
        yield "knee", "the plan farthest below the straight line from the first to the last"
    if lowest > curve.minimum_budget_bytes:
        yield "lowest", f"{text.of_bytes(whole.bytes_of(lowest))} is the lowest peak found"
    minimum = text.of_bytes(whole.bytes_of(curve.minimum_budget_bytes))
    yield "minimum", f"{minimum}, proven, set by {_culprit(curve, graph)}"
    yield "next", use


def _culprit(curve: Curve, graph: Graph) -> str:
    if curve.minimum_budget_op < 0:
        return "nothing: the graph has no ops"
    return text.of_op(graph.ops[curve.minimum_budget_op])
