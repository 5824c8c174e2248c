"""Work: one request out of the queue, planned with all the time that jobs do not have."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from fastsa.cache.remote_session import remote_session
from fastsa.cache.requests import Request
from fastsa.cache.store import Store
from fastsa.errors import FastsaError
from fastsa.planner.curve import solve_curve
from fastsa.planner.graph import Graph
from fastsa.planner.options import Cancel, SearchOptions
from fastsa.planner.plan import Plan
from fastsa.planner.solve import solve
from fastsa.planner.validation import validate

CURVE = 2  # times the search time of one plan, for all of a curve


class WorkLimits(msgspec.Struct, frozen=True):
    """What a search may take, in seconds and threads. `cancel` ends it with what is found."""

    cancel: Cancel
    seconds: float = 60.0
    threads: int = 1

    @property
    def options(self) -> SearchOptions:
        """How to search."""
        return SearchOptions(time_limit=self.seconds, threads=self.threads)


def work_on(store: Store, request: Request, effort: WorkLimits) -> str | None:
    """Make what is asked for and store it: the plan's id, None if there is nothing better.

    Raises FastsaError.
    """
    graph = store.graph(request.key.graph)
    if graph is None:
        raise FastsaError("its graph is not in the store", hint="record a profile")
    return _WORK[request.kind](store, request, graph, effort)


def _plan(store: Store, request: Request, graph: Graph, effort: WorkLimits) -> str | None:
    made = solve(graph, request.step_budget_bytes, effort.options, cancel=effort.cancel)
    if not made.fits:
        raise FastsaError(f"no plan within the budget: {made.status}", hint="give more")
    return _stored(store, request, made)


def _stored(store: Store, request: Request, made: Plan) -> str:
    remote_session().plan_made(made, request.key)
    return store.add_plan(made, request.key)


def _improve(store: Store, request: Request, graph: Graph, effort: WorkLimits) -> str | None:
    def usable(stored: Plan) -> bool:
        try:
            validate(graph, stored)
        except FastsaError:
            return False
        return True

    there = store.find_plan(request.key, request.step_budget_bytes, usable, counts=False)
    best = None if there is None else there.plan
    if best is not None and best.status == "optimal":
        return None
    made = solve(
        graph, request.step_budget_bytes, effort.options, warm_start=best, cancel=effort.cancel
    )
    is_better = made.fits and (best is None or made.seconds < best.seconds)
    return _stored(store, request, made) if is_better else None


def _curve(store: Store, request: Request, graph: Graph, effort: WorkLimits) -> str | None:
    found = solve_curve(graph, effort.options.share(CURVE), cancel=effort.cancel)
    # What is found of one that was cut short is single plans.
    ids = store.add_plans(found.plans, request.key, found.id() if found.complete else None)
    for each in found.plans:
        remote_session().plan_made(each, request.key, in_curve=found.complete)
    if not found.complete:
        raise FastsaError("it was cut short", hint="ask again")
    return ids[0] if ids else None


_WORK: dict[str, Callable[[Store, Request, Graph, WorkLimits], str | None]] = {
    "plan": _plan,
    "improve": _improve,
    "curve": _curve,
}
