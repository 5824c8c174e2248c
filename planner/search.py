"""Search: the native core on one graph, its answer checked by the validator."""

from __future__ import annotations

import math
from collections.abc import Callable

from fastsa.errors import BadInput
from fastsa.planner import _core
from fastsa.planner.graph import Graph
from fastsa.planner.native import native
from fastsa.planner.options import Cancel, OnProgress, Progress, SearchOptions
from fastsa.planner.plan import Plan, Planner, Status
from fastsa.planner.step import Order

PLANNER_VERSION = "2"  # of the answers: goes up when the same request would be answered differently

_ALGORITHMS = {
    "fastsa": _core.Algorithm.PORTFOLIO,
    "fastsa-paper": _core.Algorithm.PAPER,
}
_STATUSES: dict[str, Status] = {
    "OPTIMAL": "optimal",
    "FEASIBLE": "feasible",
    "NOT_FOUND": "not_found",
    "INFEASIBLE": "infeasible",
}
_SECONDS_BETWEEN_REPORTS = 0.1


def search(
    graph: Graph,
    budget_bytes: int,
    options: SearchOptions,
    *,
    warm_start: Plan | None = None,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> Plan:
    """Like `solve`, by the core's own algorithms; each call of a captured region is free to run in
    an order of its own.

    Raises:
        BadInput: The core refuses the request.
    """
    try:
        answer = _core.solve(
            native(graph),
            budget_bytes,
            algorithm=_ALGORITHMS[options.algorithm],
            time_limit=options.time_limit,
            iterations=options.iterations,
            seed=options.seed,
            threads=options.threads,
            warm_start=_order(warm_start, graph),
            monitor=_monitor(graph.base_seconds, cancel, on_progress),
        )
    except _core.BadRequest as error:
        raise BadInput(str(error), hint="see the planner's arguments") from error
    return _plan(
        graph.hash(),
        answer,
        Planner(
            version=PLANNER_VERSION,
            algorithm=options.algorithm,
            seed=options.seed,
            threads=options.threads,
            wall_seconds=answer.elapsed,
            iterations=answer.iterations,
        ),
    )


def certify(
    graph: Graph,
    order: Order | _core.Order,
    budget_bytes: int,
    *,
    planner: Planner,
    time_limit: float = 1.0,
) -> Plan:
    """The plan that an order found elsewhere amounts to: measured, bounded and validated.

    `time_limit` is for the bound, in seconds. Raises BadInput for an illegal order.
    """
    try:
        if isinstance(order, Order):
            order = _core.Order(order.sequence, order.segment_starts)
        answer = _core.certify(native(graph), order, budget_bytes, time_limit)
    except (_core.BadRequest, TypeError) as error:  # TypeError: a number out of the core's range
        raise BadInput(str(error), hint="check the order") from error
    return _plan(graph.hash(), answer, planner)


def _order(start: Plan | None, graph: Graph) -> _core.Order | None:
    if start is None or not start.sequence:
        return None
    if start.graph != graph.hash():
        raise BadInput(
            "the plan to start from is of another graph",
            hint="start from a plan of this graph, or from none",
        )
    return _core.Order(start.sequence, start.segment_starts)


def _monitor(
    base_seconds: float, cancel: Cancel | None, on_progress: OnProgress | None
) -> Callable[[_core.Progress], bool]:
    reported = -math.inf

    def monitor(progress: _core.Progress) -> bool:
        nonlocal reported
        due = progress.elapsed - reported >= _SECONDS_BETWEEN_REPORTS
        if on_progress is not None and due:
            reported = progress.elapsed
            on_progress(
                Progress(
                    fits=progress.fits,
                    peak_bytes=progress.peak,
                    extra_seconds=progress.seconds - base_seconds,
                    iterations=progress.iterations,
                    elapsed_seconds=progress.elapsed,
                    fraction=progress.fraction,
                )
            )
        return cancel is None or not cancel.is_set()

    return monitor


def _plan(graph_hash: str, answer: _core.Answer, planner: Planner) -> Plan:
    claim = answer.claim
    return Plan(
        schema="fastsa.plan/1",
        graph=graph_hash,
        status=_STATUSES[claim.status.name],
        step_budget_bytes=claim.budget,
        sequence=tuple(answer.order.sequence),
        segment_starts=tuple(answer.order.segment_starts),
        peak_bytes=claim.peak,
        seconds=claim.seconds,
        base_peak_bytes=claim.base_peak,
        base_seconds=claim.base_seconds,
        lower_bound_seconds=claim.lower_bound,
        lower_bound_assumes=answer.lower_bound_assumes,
        minimum_budget_bytes=claim.minimum_budget,
        minimum_budget_op=answer.minimum_budget_op,
        planner=planner,
    )
