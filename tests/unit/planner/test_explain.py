"""An explanation adds up: to the memory model, to the plan, to the minimum budget."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest
from hypothesis import strategies as st

from fastsa.errors import BadInput
from fastsa.planner import _core
from fastsa.planner import graph as graphs
from fastsa.planner.explain.explanation import Explanation, explain, with_other_budgets
from fastsa.planner.explain.groups import Group, layers
from fastsa.planner.graph import INT64_MAX, Graph
from fastsa.planner.plan import Plan, Planner
from fastsa.planner.search import certify
from fastsa.planner.solve import plan
from support import planner_reference as reference
from support.planner_graphs import build, chain, legal_graphs, random_training_graph, real_paths
from support.properties import property_test

ROOM = 2**62


def half_way(graph: Graph, share: float = 0.5, seed: int = 0) -> Plan:
    """A plan between the unplanned peak and the minimum."""
    whole = plan(graph, ROOM, iterations=0)
    low = whole.minimum_budget_bytes
    budget = int(low + share * (whole.base_peak_bytes - low))
    return plan(graph, budget, iterations=3000, time_limit=None, seed=seed)


def recomputing(graph: Graph, wishes: list[tuple[int, int]]) -> Plan:
    """The unplanned order with each wished recomputation (position, op) that is legal there."""
    sequence = list(range(len(graph.ops)))
    starts = [sum(op.segment < i for op in graph.ops) for i in range(len(graph.segments))]
    for at, wished in wishes if graph.ops else ():
        position, op = at % (len(sequence) + 1), graph.ops[wished % len(graph.ops)]
        segment = max(i for i, start in enumerate(starts) if start <= position)
        same = graph.segments[segment].region == graph.segments[op.segment].region
        if op.recomputable and same and op.id in sequence[:position]:
            sequence.insert(position, op.id)
            starts = [start + (i > segment) for i, start in enumerate(starts)]
    order = _core.Order(sequence, starts)
    made_up = Planner("1", "made-up", 0, 1, 0.0, 0)
    return certify(graph, order, INT64_MAX, planner=made_up, time_limit=0)


def next_made(graph: Graph, sequence: tuple[int, ...], value: int, after: int) -> int:
    later = range(after + 1, len(sequence))
    return next((k for k in later if value in graph.ops[sequence[k]].outputs), len(sequence))


def uses(graph: Graph, sequence: tuple[int, ...], value: int, birth: int) -> list[int]:
    """The positions that read a value as it was made at `birth`."""
    end = next_made(graph, sequence, value, birth)
    reads = [k for k in range(birth, len(sequence)) if value in graph.ops[sequence[k]].inputs]
    return [k for k in reads if k < end]


def freed(graph: Graph, sequence: tuple[int, ...], position: int) -> int:
    """Bytes that are read after a recomputation, or results, and were gone just before it."""
    size = 0
    for value in graph.ops[sequence[position]].outputs:
        births = [k for k in range(position) if value in graph.ops[sequence[k]].outputs]
        gone = max([births[-1], *uses(graph, sequence, value, births[-1])]) < position - 1
        last = next_made(graph, sequence, value, position) == len(sequence)
        wanted = uses(graph, sequence, value, position) or (last and value in graph.outputs)
        size += graph.values[value].bytes if gone and wanted else 0
    return size


def kept_bytes(graph: Graph, plan: Plan) -> int:
    """Bytes read in a later segment than the one they were made in."""

    def segment(position: int) -> int:
        return sum(start <= position for start in plan.segment_starts)

    return sum(
        graph.values[value].bytes
        for birth, op in enumerate(plan.sequence)
        for value in graph.ops[op].outputs
        if any(segment(k) > segment(birth) for k in uses(graph, plan.sequence, value, birth))
    )


def total(groups: Iterable[Group]) -> int:
    return sum(each.bytes for each in groups)


def check_peak(graph: Graph, sequence: tuple[int, ...], explained: Explanation) -> None:
    assert list(explained.memory.bytes) == reference.alive(graph, sequence)
    peak = explained.peak
    assert peak.bytes == explained.peak_bytes == reference.peak(graph, sequence)
    assert sum(each.bytes for each in peak.values) + peak.workspace_bytes == peak.bytes
    for groups in (
        peak.by_reason,
        peak.by_target,
        peak.by_module,
        peak.by_layer,
        peak.by_source,
    ):
        assert total(groups) == peak.bytes
        assert [each.bytes for each in groups] == sorted((g.bytes for g in groups), reverse=True)
    if peak.op is None:
        assert sequence == ()
        return
    assert peak.near_positions == sum(k >= 0.99 * peak.bytes for k in explained.memory.bytes)
    at = peak.op.position
    assert explained.memory.bytes[at] == peak.bytes
    running = graph.ops[sequence[at]]
    assert {each.value for each in peak.values if each.why == "written"} == set(running.outputs)
    for each in peak.values:
        assert each.value in graph.ops[each.made_by.op].outputs
        assert each.made_by.position <= at
        assert (each.why == "read") == (each.value in running.inputs)
        if each.next_use is not None:
            assert each.next_use.position > at
            assert each.value in graph.ops[each.next_use.op].inputs
        if each.why == "result":
            assert each.value in graph.outputs


WISHES = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 13)), min_size=5, max_size=25)


@property_test(50, graph=legal_graphs(), wishes=WISHES)
def test_a_plan_adds_up(graph: Graph, wishes: list[tuple[int, int]]) -> None:
    check_plan(graph, recomputing(graph, wishes))


@property_test(20, graph=legal_graphs(), share=st.floats(0, 1.1), seed=st.integers(0, 5))
def test_a_found_plan_adds_up(graph: Graph, share: float, seed: int) -> None:
    check_plan(graph, half_way(graph, share, seed))


def check_plan(graph: Graph, planned: Plan) -> None:
    explained = explain(graph, planned)
    assert explained.planned
    assert not explained.recertified
    assert explained.peak_bytes == planned.peak_bytes
    check_peak(graph, planned.sequence, explained)
    assert explained.kept.bytes == kept_bytes(graph, planned)
    for each in explained.recomputed.runs:
        assert each.freed_bytes == freed(graph, planned.sequence, each.run.position)
    found = explained.recomputed
    assert found.count == len(planned.sequence) - len(graph.ops) == len(found.runs)
    assert found.seconds == pytest.approx(planned.extra_seconds)
    assert sum(each.seconds for each in found.chains) == pytest.approx(found.seconds)
    assert sorted(run.position for each in found.chains for run in each.runs) == sorted(
        each.run.position for each in found.runs
    )
    for groups in (found.by_kind, found.by_target, found.by_module, found.by_source):
        assert sum(each.count for each in groups) == found.count
        assert sum(each.seconds for each in groups) == pytest.approx(found.seconds)
        assert total(groups) == found.freed_bytes
    assert sum(each.bytes for each in explained.kept.values) == explained.kept.bytes
    assert total(explained.kept.by_kind) == explained.kept.bytes


@property_test(25, graph=legal_graphs())
def test_the_unplanned_step_adds_up(graph: Graph) -> None:
    explained = explain(graph)
    assert (explained.planned, explained.status, explained.recomputed.count) == (False, None, 0)
    check_peak(graph, tuple(range(len(graph.ops))), explained)


@property_test(25, graph=legal_graphs())
def test_the_minimum_adds_up(graph: Graph) -> None:
    claimed = plan(graph, ROOM, iterations=0)
    minimum = explain(graph).minimum
    assert minimum.bytes == claimed.minimum_budget_bytes
    assert minimum.op == claimed.minimum_budget_op
    assert sum(part.bytes for part in minimum.parts) == minimum.bytes
    assert len({part.value for part in minimum.parts}) == len(minimum.parts)


@property_test(20, graph=legal_graphs(max_ops=8), share=st.floats(0, 1))
def test_other_budgets_are_in_order(graph: Graph, share: float) -> None:
    planned = half_way(graph, share)
    found = with_other_budgets(explain(graph, planned), graph, planned, time_limit=0.01)
    budgets = [each.step_budget_bytes for each in found.other_budgets]
    assert budgets == sorted(set(budgets), reverse=True)
    assert planned.step_budget_bytes in budgets
    extra = [each.extra_seconds for each in found.other_budgets if each.extra_seconds is not None]
    assert all(more <= less + 1e-9 for more, less in pairwise(extra))
    bounds = [each.lower_bound_seconds for each in found.other_budgets]
    proven = [each for each in bounds if each is not None]
    assert proven == sorted(proven)
    for each in found.other_budgets:
        assert (each.status == "infeasible") == (each.step_budget_bytes < found.minimum.bytes)
        if each.extra_seconds is not None:
            assert each.peak_bytes is not None
            assert each.peak_bytes <= each.step_budget_bytes
            assert each.lower_bound_seconds is not None
            assert each.lower_bound_seconds <= each.extra_seconds + 1e-9


def test_other_budgets_start_from_the_plan() -> None:
    graph = random_training_graph(2, 40)
    planned = half_way(graph)
    found = with_other_budgets(explain(graph, planned), graph, planned, time_limit=0)
    assert [each.extra_seconds for each in found.other_budgets if each.change_bytes >= 0] == [
        planned.extra_seconds
    ] * 4


def test_a_chain_is_explained() -> None:
    # Forward a, b, c of 8, 64 and 8 bytes; the backward reads b, which is dropped and made again.
    graph = build(
        [(0, [], [0]), (0, [0], [1]), (0, [1], [2]), (1, [2], [3]), (1, [1, 3], [4])],
        [8, 64, 8, 64, 8],
        outputs=(4,),
        seconds=[1.0, 2.0, 1.0, 1.0, 1.0],
    )
    unplanned = explain(graph).peak
    assert unplanned.op is not None
    assert (unplanned.op.op, unplanned.bytes) == (3, 64 + 8 + 64)
    assert {each.value: each.why for each in unplanned.values} == {
        1: "kept",
        2: "read",
        3: "written",
    }
    minimum = explain(graph).minimum
    assert (minimum.op, minimum.bytes, minimum.when) == (4, 136, "while it runs first")


def test_recomputed_chains_and_what_they_free() -> None:
    graph = chain(24)
    planned = plan(graph, 12 * 8, iterations=100_000, time_limit=None)
    explained = explain(graph, planned)
    assert explained.recomputed.freed_bytes >= 8 * len(explained.recomputed.chains)
    assert any(len(each.runs) > 1 for each in explained.recomputed.chains)
    for each in explained.recomputed.chains:
        assert each.needed_by is not None
        assert not each.needed_by.recomputation
        assert all(run.recomputation for run in each.runs)


def test_a_budget_that_cannot_be_met_is_explained_by_the_minimum() -> None:
    graph = chain(6)
    impossible = plan(graph, 1)
    explained = explain(graph, impossible)
    assert (explained.planned, explained.status) == (False, "infeasible")
    assert sum(part.bytes for part in explained.minimum.parts) == explained.minimum.bytes
    found = with_other_budgets(explained, graph, impossible, time_limit=0.05).other_budgets
    assert found[-1].step_budget_bytes == explained.minimum.bytes
    assert all(each.status != "infeasible" for each in found)


def test_a_minimum_at_the_end() -> None:
    # The three results are never read, and only there together when all is done.
    graph = build(
        [(0, [], [0]), (0, [], [1]), (0, [], [2]), (0, [0], [3])], [8, 16, 32, 1], outputs=(1, 2, 3)
    )
    minimum = explain(graph).minimum
    assert minimum.when == "at the end of the step"
    assert [part.bytes for part in minimum.parts if part.role == "result"] == [32, 16, 1]


def test_newer_op_times_are_those_explained() -> None:
    graph = random_training_graph(3)
    planned = half_way(graph)
    slower = msgspec.structs.replace(
        graph,
        ops=tuple(msgspec.structs.replace(op, seconds=2 * op.seconds) for op in graph.ops),
    )
    assert not explain(graph, planned).recertified
    explained = explain(slower, planned)
    assert explained.recertified
    assert explained.extra_seconds == pytest.approx(2 * planned.extra_seconds)
    assert explained.recomputed.seconds == pytest.approx(explained.extra_seconds)


def test_what_is_no_plan_of_the_graph_is_refused() -> None:
    graph = chain(5)
    planned = half_way(graph)
    replaced = msgspec.structs.replace
    for wrong, reason in (
        (half_way(chain(4)), "another graph"),
        (replaced(planned, peak_bytes=planned.peak_bytes - 1), "its peak is"),
        (replaced(planned, sequence=planned.sequence[1:]), "position"),
        (replaced(planned, sequence=(2**40,)), "range|int|argument"),
    ):
        with pytest.raises(BadInput, match=reason):
            explain(graph, wrong)


@pytest.mark.parametrize(
    ("module", "folded"),
    [
        ("blocks.0.mlp", "blocks.*.mlp"),
        ("12", "*"),
        ("a.1.2.b3", "a.*.*.b3"),
        ("conv1", "conv1"),
        (None, "(unknown)"),
    ],
)
def test_layers_fold(module: str | None, folded: str) -> None:
    assert layers(module) == folded


@pytest.mark.parametrize("path", real_paths(), ids=lambda path: path.name.partition(".")[0])
def test_real_graphs(path: Path) -> None:
    graph = graphs.read(path)
    planned = plan(graph, int(plan(graph, ROOM, iterations=0).base_peak_bytes * 0.9), iterations=0)
    explained = explain(graph, planned)
    assert sum(each.bytes for each in explained.peak.values) == planned.peak_bytes
    assert max(explained.base_memory.bytes) == planned.base_peak_bytes
    assert sum(part.bytes for part in explained.minimum.parts) == planned.minimum_budget_bytes
    assert explained.recomputed.seconds == pytest.approx(planned.extra_seconds)
