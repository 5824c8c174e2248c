"""`plan()`: graph + budget -> plan, by the native core or a baseline, checked by the validator."""

from __future__ import annotations

import msgspec

from fastsa.errors import BadInput
from fastsa.planner.baselines import BASELINES, run
from fastsa.planner.graph import Graph
from fastsa.planner.options import ALGORITHMS, Cancel, OnProgress, SearchOptions, check_budget
from fastsa.planner.plan import Plan
from fastsa.planner.search import search
from fastsa.planner.shared_regions import plan_shared_regions, shared_regions


def plan(
    graph: Graph,
    budget_bytes: int,
    *,
    time_limit: float | None = 5.0,
    iterations: int | None = None,
    seed: int = 0,
    threads: int = 1,
    algorithm: str = "fastsa",
    warm_start: Plan | None = None,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> Plan:
    """Find the fastest plan of a graph within a budget: `solve` with its options by name.

    Args:
        graph: The graph of the step.
        budget_bytes: For the step's own values; what is resident comes on top.
        time_limit: Seconds; None: until `iterations` are done.
        iterations: Of annealing; None: until the time is up.
        seed: Of the random generator, 0 to 2^64-1.
        threads: Searches side by side, 1 to 1024.
        algorithm: One of `options.ALGORITHMS` or of `baselines.BASELINES`.
        warm_start: A plan of the same graph to start from.
        cancel: When it is set, the search ends with the best plan so far.
        on_progress: Called at most ten times a second; what it raises ends the search.

    Returns:
        The plan, checked by the validator. A budget that cannot be met, or was not met in time, is
        an answer too: see `Plan.status`.

    Raises:
        BadInput: As `solve`.
    """
    options = SearchOptions(
        time_limit=time_limit,
        iterations=iterations,
        seed=seed,
        threads=threads,
        algorithm=algorithm,
    )
    return solve(
        graph,
        budget_bytes,
        options,
        warm_start=warm_start,
        cancel=cancel,
        on_progress=on_progress,
    )


def solve(
    graph: Graph,
    budget_bytes: int,
    options: SearchOptions,
    *,
    warm_start: Plan | None = None,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> Plan:
    """Find the fastest plan of a graph within a budget.

    A step that calls one captured region several times gets one order for all its calls (see
    `shared_regions`). That search is always by `fastsa`, reports no progress, and takes
    `options.iterations` for each of its parts. A baseline of `fastsa.planner.baselines` searches
    for the time limit and reports no progress; its module says what of `seed`, `threads` and
    `cancel` its solver heeds. The core's own algorithms go back to FastSA (NeurIPS 2023):
    docs/planner.md tells how they search.

    Args:
        graph: The graph of the step.
        budget_bytes: For the step's own values; what is resident comes on top.
        options: How to search.
        warm_start: A plan of the same graph to start from; one without a sequence is ignored.
        cancel: When it is set, the search ends with the best plan so far.
        on_progress: Called at most ten times a second; what it raises ends the search.

    Returns:
        The plan, checked by the validator. A budget that cannot be met, or was not met in time, is
        an answer too: see `Plan.status`.

    Raises:
        BadInput: The arguments make no sense (a plan of another graph; iterations or a plan to
            start from for a baseline), or a baseline is not installed, or the graph is too large
            for it.
    """
    check_budget(budget_bytes)
    options.check()
    if shared_regions(graph):
        own = msgspec.structs.replace(options, algorithm=ALGORITHMS[0])
        return plan_shared_regions(graph, budget_bytes, own, warm_start=warm_start, cancel=cancel)
    if options.algorithm in BASELINES:
        _check_rival(options, warm_start)
        return run.plan(graph, budget_bytes, options, cancel=cancel)
    return search(
        graph,
        budget_bytes,
        options,
        warm_start=warm_start,
        cancel=cancel,
        on_progress=on_progress,
    )


def _check_rival(options: SearchOptions, warm_start: Plan | None) -> None:
    """A baseline takes a time limit and nothing else."""
    if options.time_limit is None or options.iterations is not None:
        raise BadInput(
            f"{options.algorithm} does not count iterations",
            hint="give a time limit and no iterations",
        )
    if warm_start is not None:
        raise BadInput(
            f"{options.algorithm} starts from no plan", hint="leave the plan to start from out"
        )
