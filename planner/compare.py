"""Several algorithms on the same graph and budgets, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from fastsa.errors import BadInput, IllegalPlan
from fastsa.planner.baselines import BASELINES, installed
from fastsa.planner.graph import Graph
from fastsa.planner.options import ALGORITHMS, Cancel, SearchOptions
from fastsa.planner.plan import Plan
from fastsa.planner.solve import solve
from fastsa.planner.validation import validate

Outcome = Literal[
    "within budget", "over budget", "nothing found", "infeasible", "refused", "illegal"
]
OnStart = Callable[[str, int], None]  # an algorithm's name and the budget in bytes


class Attempt(msgspec.Struct, frozen=True):
    """What one algorithm made of one budget. Without a plan, `reason` says why there is none.

    `over budget`: a legal plan with a lower peak than unplanned, but too high. `nothing found`: not
    even that, in the time given. `infeasible`: no plan can meet the budget, which is proven.
    `refused`: the algorithm does not take the graph, or is not installed. `illegal`: the validator
    refuses the plan.
    """

    algorithm: str
    step_budget_bytes: int
    outcome: Outcome
    plan: Plan | None
    reason: str | None = None


def available() -> tuple[str, ...]:
    """The algorithms that are installed, the core's own first."""
    return (*ALGORITHMS, *(name for name in BASELINES if installed(name)))


def compare(
    graph: Graph,
    budgets: Iterable[int],
    algorithms: Sequence[str],
    *,
    time_limit: float,
    cancel: Cancel | None = None,
    on_start: OnStart | None = None,
) -> Iterator[Attempt]:
    """Plan for each budget (bytes of the step's own values) by each algorithm, one by one.

    Each has `time_limit` seconds, one thread and seed 0. `cancel` ends the one that runs, if it
    listens, and leaves the rest out. Raises BadInput for an unknown algorithm or a senseless limit.
    """
    _check(algorithms)
    SearchOptions(time_limit=time_limit).check()
    for budget_bytes in budgets:
        for algorithm in algorithms:
            if cancel is not None and cancel.is_set():
                return
            if on_start is not None:
                on_start(algorithm, budget_bytes)
            options = SearchOptions(time_limit=time_limit, algorithm=algorithm)
            yield _attempt(graph, budget_bytes, options, cancel)


def _check(algorithms: Sequence[str]) -> None:
    names = (*ALGORITHMS, *BASELINES)
    for name in algorithms:
        if name not in names:
            raise BadInput(f"there is no algorithm {name!r}", hint=f"one of: {', '.join(names)}")


def _attempt(
    graph: Graph, budget_bytes: int, options: SearchOptions, cancel: Cancel | None
) -> Attempt:
    algorithm = options.algorithm
    try:
        found = solve(graph, budget_bytes, options, cancel=cancel)
    except BadInput as error:
        return Attempt(algorithm, budget_bytes, "refused", None, _reason(algorithm, error))
    try:
        validate(graph, found)
    except IllegalPlan as error:
        return Attempt(algorithm, budget_bytes, "illegal", None, str(error))
    return Attempt(algorithm, budget_bytes, _outcome(found, len(graph.ops)), found)


def _reason(algorithm: str, error: BadInput) -> str:
    return str(error).removeprefix(f"{algorithm}: ")


def _outcome(found: Plan, ops: int) -> Outcome:
    if found.status == "infeasible":
        return "infeasible"
    if not found.fits and len(found.sequence) == ops and found.peak_bytes >= found.base_peak_bytes:
        return "nothing found"
    return "within budget" if found.fits else "over budget"
