"""What another budget would buy, or cost: plans at a few budgets around the one there is."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from fastsa.planner.graph import Graph
from fastsa.planner.options import Cancel, OnProgress, SearchOptions
from fastsa.planner.plan import Plan, Status
from fastsa.planner.solve import solve

GIB = 2**30


class OtherBudget(msgspec.Struct, frozen=True):
    """The best plan found at one budget in the time given. Seconds are predicted.

    `extra_seconds` and `peak_bytes` are None if none was found, the bound if there can be none.
    `saved_seconds` is against the best plan known for the budget asked about (`change_bytes` 0):
    negative if this one takes longer. No plan at this budget saves more than `most_saved_seconds`,
    by the lower bound and under its assumption.
    """

    change_bytes: int
    step_budget_bytes: int
    status: Status
    peak_bytes: int | None
    extra_seconds: float | None
    lower_bound_seconds: float | None
    saved_seconds: float | None
    saved_seconds_per_gib: float | None
    most_saved_seconds: float | None


def search(
    graph: Graph,
    budget_bytes: int,
    changes: Sequence[int],
    known: Plan | None,
    *,
    time_limit: float,
    seed: int = 0,
    cancel: Cancel | None = None,
    on_progress: OnProgress | None = None,
) -> tuple[OtherBudget, ...]:
    """Plan at `budget_bytes` plus each of `changes`, smallest first, for `time_limit` s each.

    Each search starts from the best of the plans before it and of `known`, so that more memory
    never takes longer. When `cancel` is set, what has been found so far is the answer.
    """
    found: list[tuple[int, Plan]] = []
    starts = [] if known is None else [known]
    for change in sorted(changes):
        answer = solve(
            graph,
            budget_bytes + change,
            SearchOptions(time_limit=time_limit, seed=seed),
            warm_start=_start(starts, budget_bytes + change),
            cancel=cancel,
            on_progress=on_progress,
        )
        found.append((change, answer))
        starts.append(answer)
        if cancel is not None and cancel.is_set():
            break
    return _compared(found)


def _start(plans: Sequence[Plan], budget_bytes: int) -> Plan | None:
    """The fastest within the budget, or else the one with the lowest peak."""
    legal = [each for each in plans if each.sequence]
    within = [each for each in legal if each.peak_bytes <= budget_bytes]
    if within:
        return min(within, key=lambda each: each.seconds)
    return min(legal, key=lambda each: each.peak_bytes, default=None)


def _compared(found: list[tuple[int, Plan]]) -> tuple[OtherBudget, ...]:
    now = next((each.extra_seconds for change, each in found if not change and each.fits), None)
    compared: list[OtherBudget] = []
    bound = 0.0
    for change, answer in reversed(found):  # the largest budget first
        # What no plan achieves with more memory, none does with less.
        bound = max(bound, answer.lower_bound_seconds)
        compared.append(_compare(change, answer, bound, now))
    return tuple(compared)


def _compare(change: int, answer: Plan, bound: float, now: float | None) -> OtherBudget:
    saved = None if now is None or not answer.fits else now - answer.extra_seconds
    infeasible = answer.status == "infeasible"
    return OtherBudget(
        change_bytes=change,
        step_budget_bytes=answer.step_budget_bytes,
        status=answer.status,
        peak_bytes=answer.peak_bytes if answer.fits else None,
        extra_seconds=answer.extra_seconds if answer.fits else None,
        lower_bound_seconds=None if infeasible else bound,
        saved_seconds=saved,
        saved_seconds_per_gib=None if saved is None or not change else saved / change * GIB,
        most_saved_seconds=None if infeasible or now is None else now - bound,
    )
