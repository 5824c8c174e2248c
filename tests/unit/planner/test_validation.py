"""Plans made wrong on purpose are refused, each for the right reason."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import msgspec
import pytest

from fastsa.errors import IllegalPlan
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from fastsa.planner.validation import Illegal, validate
from support.planner_graphs import build, chain

change = msgspec.structs.replace


@cache
def planned() -> tuple[Graph, Plan]:
    graph = chain(12)
    answer = plan(graph, 9 * 8, iterations=50_000, time_limit=None)
    assert answer.fits
    assert len(answer.sequence) > len(graph.ops)
    return graph, answer


def recomputed_position(plan: Plan) -> int:
    seen: set[int] = set()
    for k, op in enumerate(plan.sequence):
        if op in seen:
            return k
        seen.add(op)
    raise AssertionError("nothing is recomputed")


def without(plan: Plan, position: int) -> Plan:
    sequence = plan.sequence[:position] + plan.sequence[position + 1 :]
    starts = tuple(start - (start > position) for start in plan.segment_starts)
    return change(plan, sequence=sequence, segment_starts=starts)


def swapped(plan: Plan, a: int, b: int) -> Plan:
    sequence = list(plan.sequence)
    sequence[a], sequence[b] = sequence[b], sequence[a]
    return change(plan, sequence=tuple(sequence))


MUTATIONS: dict[str, tuple[Callable[[Plan], Plan], int | None]] = {
    "never_runs": (lambda p: without(p, len(p.sequence) - 1), None),
    "input_missing": (lambda p: swapped(p, 0, 1), 0),
    "wrong_peak": (lambda p: change(p, peak_bytes=p.peak_bytes - 1), -1),
    "wrong_seconds": (lambda p: change(p, seconds=p.seconds * (1 + 1e-6)), -1),
    "wrong_base_peak": (lambda p: change(p, base_peak_bytes=p.base_peak_bytes + 8), -1),
    "wrong_base_seconds": (lambda p: change(p, base_seconds=float("nan")), -1),
    "over_budget": (lambda p: change(p, step_budget_bytes=p.peak_bytes - 1), -1),
    "within_budget": (lambda p: change(p, status="not_found"), -1),
    "not_optimal": (lambda p: change(p, status="optimal", lower_bound_seconds=0.0), -1),
    "bound_above_time": (lambda p: change(p, lower_bound_seconds=p.extra_seconds + 1), -1),
    "not_infeasible": (lambda p: change(p, status="infeasible"), 0),
    "below_minimum": (lambda p: change(p, minimum_budget_bytes=p.step_budget_bytes + 1), -1),
    "segment_count": (lambda p: change(p, segment_starts=p.segment_starts[:1]), 1),
    "segment_starts": (lambda p: change(p, segment_starts=(1, p.segment_starts[1])), 0),
    "first_run_segment": (
        lambda p: change(p, segment_starts=(0, p.segment_starts[1] - 1)),
        None,
    ),
    "unknown_op": (lambda p: change(p, sequence=(*p.sequence, 10**6)), None),
    "out_of_range": (lambda p: change(p, sequence=(*p.sequence, 2**40)), -1),
    "wrong_graph": (lambda p: change(p, graph="sha256:0"), -1),
}


@pytest.mark.parametrize("reason", MUTATIONS)
def test_a_wrong_plan_is_refused(reason: str) -> None:
    mutate, position = MUTATIONS[reason]
    graph, good = planned()
    validate(graph, good)
    with pytest.raises(Illegal) as caught:
        validate(graph, mutate(good))
    assert caught.value.reason == reason
    assert isinstance(caught.value, IllegalPlan)
    assert caught.value.hint
    if position is not None:
        assert caught.value.position == position


def test_dropping_any_op_is_noticed() -> None:
    graph, good = planned()
    for position in range(len(good.sequence)):
        with pytest.raises(Illegal):
            validate(graph, without(good, position))


def test_swapping_two_ops_is_noticed_or_harmless() -> None:
    graph, good = planned()
    for position in range(len(good.sequence) - 1):
        wrong = swapped(good, position, position + 1)
        try:
            validate(graph, wrong)
        except Illegal as error:
            assert error.reason in ("input_missing", "wrong_peak", "first_run_segment")


@pytest.mark.promise("fault-21")
def test_recomputing_what_must_run_once() -> None:
    graph, good = planned()
    again = recomputed_position(good)
    fixed = good.sequence[again]
    ops = tuple(change(op, recomputable=op.id != fixed) for op in graph.ops)
    strict = change(graph, ops=ops)
    with pytest.raises(Illegal) as caught:
        validate(strict, change(good, graph=strict.hash()))
    assert (caught.value.reason, caught.value.position) == ("not_recomputable", again)


def test_recomputing_in_another_region() -> None:
    graph, good = planned()
    segments = (graph.segments[0], change(graph.segments[1], region=1))
    strict = change(graph, segments=segments)
    with pytest.raises(Illegal) as caught:
        validate(strict, change(good, graph=strict.hash()))
    assert caught.value.reason == "recomputed_elsewhere"
    assert caught.value.position == recomputed_position(good)


def test_infeasibility_must_be_shown() -> None:
    graph = build([(0, [], [0])], [100], regions=(0,), outputs=(0,))
    answer = plan(graph, 99)
    assert answer.status == "infeasible"
    validate(graph, answer)
    with pytest.raises(Illegal) as caught:
        validate(graph, change(answer, step_budget_bytes=100))
    assert caught.value.reason == "not_infeasible"
