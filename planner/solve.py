"""`plan()`: graph + budget -> plan, by the native core, checked by the validator."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import msgspec

from fastsa.errors import BadInput
from fastsa.planner import _core
from fastsa.planner.baselines import RIVALS
from fastsa.planner.graph import INT64_MAX, Graph
from fastsa.planner.native import native
from fastsa.planner.plan import Plan, Planner, Status
from fastsa.planner.step import Order

PLANNER_VERSION = "2"  # of the answers: goes up when the same request would be answered differently
ALGORITHMS = ("fastsa", "fastsa-paper")  # the core's own; the rivals of `baselines` come besides
MAX_THREADS = 1024

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


class Cancel(Protocol):
    """What `threading.Event` offers."""

    def is_set(self) -> bool:
        """Whether to stop."""
        ...


class Progress(msgspec.Struct, frozen=True):
    """How far a search is. `fraction` is of the time or the iterations it was given."""

    fits: bool
    peak_bytes: int
    extra_seconds: float
    iterations: int
    elapsed_seconds: float
    fraction: float


OnProgress = Callable[[Progress], None]


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
    """The fastest plan found whose step-local peak fits `budget_bytes`.

    A budget that cannot be met, or was not met in time, is an answer: see `Plan.status`.
    With `iterations` on one thread, and time enough, the answer depends on the seed alone.
    A step that calls one captured region several times gets one order for all its calls (see
    `tied`), without progress, always by `fastsa`; `iterations` is then for each of its searches.
    Setting `cancel` ends the search with the best plan so far; what `on_progress` raises ends it
    with that exception.

    A rival of `fastsa.planner.baselines` searches for `time_limit` and reports no progress; its
    module says what of `seed`, `threads` and `cancel` its solver heeds.

    Raises BadInput for senseless arguments, and if a rival is not installed or the graph is too
    large for it.
    """
    check_request(budget_bytes, time_limit, iterations, seed, threads, algorithm)
    from fastsa.planner import tied

    if tied.tied_names(graph):
        return tied.plan_tied(
            graph,
            budget_bytes,
            time_limit=time_limit,
            iterations=iterations,
            seed=seed,
            threads=threads,
            warm_start=warm_start,
            cancel=cancel,
        )
    return search(
        graph,
        budget_bytes,
        time_limit=time_limit,
        iterations=iterations,
        seed=seed,
        threads=threads,
        algorithm=algorithm,
        warm_start=warm_start,
        cancel=cancel,
        on_progress=on_progress,
    )


def search(
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
    """Like `plan`, with each call of a captured region free to run in an order of its own."""
    if algorithm in RIVALS:
        from fastsa.planner.baselines import run

        limit = _time_alone(algorithm, time_limit, iterations, warm_start)
        return run.plan(
            graph,
            budget_bytes,
            algorithm,
            time_limit=limit,
            seed=seed,
            threads=threads,
            cancel=cancel,
        )
    try:
        answer = _core.solve(
            native(graph),
            budget_bytes,
            algorithm=_ALGORITHMS[algorithm],
            time_limit=time_limit,
            iterations=iterations,
            seed=seed,
            threads=threads,
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
            algorithm=algorithm,
            seed=seed,
            threads=threads,
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


def check_request(
    budget_bytes: int,
    time_limit: float | None,
    iterations: int | None,
    seed: int,
    threads: int,
    algorithm: str = "fastsa",
) -> None:
    """Raises BadInput for a request that makes no sense."""
    names = (*ALGORITHMS, *RIVALS)
    if algorithm not in names:
        raise BadInput(f"there is no algorithm {algorithm!r}", hint=f"one of: {', '.join(names)}")
    if not -INT64_MAX <= budget_bytes <= INT64_MAX:
        raise BadInput(f"budget of {budget_bytes} bytes", hint="give at most 2^63-1 bytes")
    if time_limit is None and iterations is None:
        raise BadInput("no end to the search", hint="give a time limit or a number of iterations")
    if time_limit is not None and (math.isnan(time_limit) or time_limit < 0):
        raise BadInput(f"time limit of {time_limit} seconds", hint="give 0 or more seconds")
    if iterations is not None and not 0 <= iterations <= INT64_MAX:
        raise BadInput(f"{iterations} iterations", hint="give 0 or more")
    if not 0 <= seed < 2**64:
        raise BadInput(f"seed {seed}", hint="give 0 to 2^64-1")
    if not 1 <= threads <= MAX_THREADS:
        raise BadInput(f"{threads} threads", hint=f"give 1 to {MAX_THREADS}")


def _time_alone(
    algorithm: str, time_limit: float | None, iterations: int | None, warm_start: Plan | None
) -> float:
    """The time limit of a rival, which takes nothing else."""
    if time_limit is None or iterations is not None:
        raise BadInput(
            f"{algorithm} does not count iterations", hint="give a time limit and no iterations"
        )
    if warm_start is not None:
        raise BadInput(f"{algorithm} starts from no plan", hint="leave the plan to start from out")
    return time_limit


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
        budget_bytes=claim.budget,
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
