"""Algorithms side by side, for people and, with stable keys, for programs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from fastsa.planner.compare import Attempt, Outcome
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.report import text
from fastsa.report.layout import PageFacts, Part, Table

COLUMNS = ("algorithm", "extra time>", "gap>", "peak>", "of base?", "outcome", "solved in>")


class Line(msgspec.Struct, frozen=True):
    """One algorithm at one budget; percent are of the unplanned step's seconds and peak.

    All is predicted but `solve_seconds`, which is measured. What there is not is None; a plan over
    the budget has no gap.
    """

    algorithm: str
    outcome: Outcome
    reason: str | None
    extra_seconds: float | None = None
    extra_percent: float | None = None
    gap_seconds: float | None = None
    gap_percent: float | None = None
    peak_bytes: int | None = None
    peak_percent: float | None = None
    solve_seconds: float | None = None


class BudgetReport(msgspec.Struct, frozen=True):
    """All algorithms at one budget, with the best lower bound that any of their plans carries.

    Nobody bounds a budget that cannot be met, or at which all refuse: the bound is None.
    """

    budget: str
    step_budget_bytes: int
    budget_percent: float | None
    lower_bound_seconds: float | None
    lower_bound_percent: float | None
    lower_bound_assumes: str | None
    minimum_budget_bytes: int | None
    algorithms: tuple[Line, ...]


class CompareReport(msgspec.Struct, frozen=True, kw_only=True):
    """Bytes are the step's own, without what is resident."""

    schema: Literal["fastsa.compare/2"] = "fastsa.compare/2"
    graph: str
    graph_name: str
    ops: int
    base_peak_bytes: int
    base_seconds: float
    time_limit_seconds: float
    budgets: tuple[BudgetReport, ...]


def summarize(
    graph: Graph,
    base_peak: int,
    budgets: Iterable[tuple[str, int]],
    attempts: Sequence[Attempt],
    time_limit: float,
) -> CompareReport:
    """The report of the attempts; `budgets` are as people wrote them, and in bytes."""
    return CompareReport(
        graph=graph.hash(),
        graph_name=graph.name,
        ops=len(graph.ops),
        base_peak_bytes=base_peak,
        base_seconds=graph.base_seconds,
        time_limit_seconds=time_limit,
        budgets=tuple(
            _budget(
                name, size, base_peak, [each for each in attempts if each.step_budget_bytes == size]
            )
            for name, size in budgets
        ),
    )


def _budget(name: str, size: int, base_peak: int, attempts: Sequence[Attempt]) -> BudgetReport:
    plans = [attempt.plan for attempt in attempts if attempt.plan is not None]
    bounded = max(
        (plan for plan in plans if plan.status != "infeasible"),
        key=lambda plan: plan.lower_bound_seconds,
        default=None,
    )
    bound = bounded.lower_bound_seconds if bounded else None
    return BudgetReport(
        budget=name,
        step_budget_bytes=size,
        budget_percent=_percent(size, base_peak),
        lower_bound_seconds=bound,
        lower_bound_percent=_percent(bound, bounded.base_seconds) if bounded else None,
        lower_bound_assumes=bounded.lower_bound_assumes if bounded else None,
        minimum_budget_bytes=plans[0].minimum_budget_bytes if plans else None,
        algorithms=tuple(_line(attempt, bound) for attempt in attempts),
    )


def _line(attempt: Attempt, bound: float | None) -> Line:
    plan = attempt.plan
    if plan is None:
        return Line(attempt.algorithm, attempt.outcome, attempt.reason)
    if plan.status == "infeasible":
        reason = f"the minimum is {plan.minimum_budget_bytes} bytes"
        return Line(
            attempt.algorithm,
            attempt.outcome,
            reason,
            solve_seconds=plan.planner.wall_seconds,
        )
    if attempt.outcome == "nothing found":
        return Line(
            attempt.algorithm,
            attempt.outcome,
            "no plan with a lower peak in the time given",
            solve_seconds=plan.planner.wall_seconds,
        )
    gap = _gap(plan, bound)
    return Line(
        algorithm=attempt.algorithm,
        outcome=attempt.outcome,
        reason=attempt.reason,
        extra_seconds=plan.extra_seconds,
        extra_percent=_percent(plan.extra_seconds, plan.base_seconds),
        gap_seconds=gap,
        gap_percent=_percent(gap, plan.base_seconds),
        peak_bytes=plan.peak_bytes,
        peak_percent=_percent(plan.peak_bytes, plan.base_peak_bytes),
        solve_seconds=plan.planner.wall_seconds,
    )


def _gap(plan: Plan, bound: float | None) -> float | None:
    """Seconds above the bound; sums of many floats may end a hair below it."""
    return max(0.0, plan.extra_seconds - bound) if plan.fits and bound is not None else None


def _percent(part: float | None, whole: float) -> float | None:
    return 100 * part / whole if part is not None and whole else None


def render(report: CompareReport) -> Iterator[Part]:
    """The report for people: a table a budget."""
    yield PageFacts(
        f"{report.graph_name}: {text.of_count(report.ops)} ops",
        [
            ("peak", f"{text.of_bytes(report.base_peak_bytes)} unplanned, the step's own values"),
            ("op times", f"{text.of_seconds(report.base_seconds)} unplanned"),
            ("searches", f"one thread, at most {report.time_limit_seconds:g} s each"),
            ("numbers", "predicted, but for the measured time to solve"),
            ("gap", "how far the extra time is above what any plan adds at least"),
        ],
    )
    for budget in report.budgets:
        yield Table(_title(budget), COLUMNS, [_cells(line) for line in budget.algorithms])
        yield from (f"{line.algorithm}: {line.reason}" for line in _refusals(budget))


def _refusals(budget: BudgetReport) -> Iterator[Line]:
    return (line for line in budget.algorithms if line.outcome in ("refused", "illegal"))


def _title(budget: BudgetReport) -> str:
    name = f"budget {budget.budget}: {text.of_bytes(budget.step_budget_bytes)}"
    minimum = budget.minimum_budget_bytes
    if minimum is not None and budget.step_budget_bytes < minimum:
        return f"{name}; no plan meets it: the minimum is {text.of_bytes(minimum)}"
    if budget.lower_bound_percent is None:
        return name
    return f"{name}; no plan adds less than {budget.lower_bound_percent:.2f}%"


def _cells(line: Line) -> tuple[str | None, ...]:
    return (
        line.algorithm,
        _points(line.extra_percent, "+"),
        _points(line.gap_percent),
        None if line.peak_bytes is None else text.of_bytes(line.peak_bytes),
        None if line.peak_percent is None else f"{line.peak_percent:.1f}%",
        line.outcome,
        None if line.solve_seconds is None else text.of_seconds(line.solve_seconds),
    )


def _points(percent: float | None, sign: str = "") -> str | None:
    return None if percent is None else f"{percent:{sign}.2f}%"
