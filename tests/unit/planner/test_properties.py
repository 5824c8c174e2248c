"""Any legal graph gives an answer that is what it claims to be."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from fastsa.planner.graph import Graph
from fastsa.planner.options import ALGORITHMS
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from fastsa.planner.validation import validate
from support import planner_reference as reference
from support.planner_graphs import build, chain, legal_graphs, random_training_graph
from support.properties import property_test

ROOM = 2**62


def check(graph: Graph, answer: Plan) -> None:
    validate(graph, answer)
    listed = range(len(graph.ops))
    assert answer.graph == graph.hash()
    assert answer.base_peak_bytes == reference.peak(graph, listed)
    assert answer.base_seconds == pytest.approx(graph.base_seconds)
    if answer.status == "infeasible":
        assert answer.sequence == ()
        assert answer.step_budget_bytes < answer.minimum_budget_bytes
        return
    reference.assert_legal(graph, answer)
    assert answer.peak_bytes == reference.peak(graph, answer.sequence)
    assert answer.seconds == pytest.approx(reference.seconds(graph, answer.sequence))
    assert answer.peak_bytes >= answer.minimum_budget_bytes
    assert answer.fits == (answer.peak_bytes <= answer.step_budget_bytes)


@property_test(
    30,
    graph=legal_graphs(),
    share=st.floats(0, 1.1),
    seed=st.integers(0, 5),
    algorithm=st.sampled_from(ALGORITHMS),
)
def test_every_answer_is_what_it_claims(
    graph: Graph, share: float, seed: int, algorithm: str
) -> None:
    whole = plan(graph, ROOM, iterations=0)
    check(graph, whole)
    low = whole.minimum_budget_bytes
    budget = int(low + share * (whole.base_peak_bytes - low))
    answer = plan(graph, budget, iterations=3000, time_limit=None, seed=seed, algorithm=algorithm)
    check(graph, answer)


@property_test(30, graph=legal_graphs(), distance=st.integers(-10, 10))
def test_budgets_around_the_minimum(graph: Graph, distance: int) -> None:
    low = plan(graph, ROOM, iterations=0).minimum_budget_bytes
    answer = plan(graph, low + distance, iterations=500, time_limit=None)
    check(graph, answer)
    assert (answer.status == "infeasible") == (distance < 0)


@property_test(25, graph=legal_graphs(), seed=st.integers(0, 3))
def test_a_plan_is_a_start(graph: Graph, seed: int) -> None:
    low = plan(graph, ROOM, iterations=0).minimum_budget_bytes
    first = plan(graph, low, iterations=1000, time_limit=None, seed=seed)
    again = plan(graph, low, iterations=0, time_limit=None, warm_start=first)
    check(graph, again)
    assert (again.fits, -again.peak_bytes) >= (first.fits, -first.peak_bytes)
    if first.fits:
        assert again.seconds <= first.seconds * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_training_graphs_meet_their_budget(seed: int) -> None:
    graph = random_training_graph(seed)
    whole = plan(graph, ROOM, iterations=0)
    budget = (whole.base_peak_bytes + whole.minimum_budget_bytes) // 2
    answer = plan(graph, budget, iterations=100_000, time_limit=None, seed=seed)
    check(graph, answer)
    assert answer.fits


def test_a_chain_is_recomputed_from_checkpoints() -> None:
    graph = chain(24)
    answer = plan(graph, 12 * 8, iterations=100_000, time_limit=None)
    check(graph, answer)
    assert answer.fits
    assert answer.extra_seconds <= 24


def test_an_unplanned_step_that_fits_is_left_alone() -> None:
    graph = chain(5)
    answer = plan(graph, ROOM)
    assert answer.status == "optimal"
    assert answer.sequence == tuple(range(len(graph.ops)))


@pytest.mark.promise("fault-16")
def test_a_graph_without_ops() -> None:
    graph = build([], [5], regions=())
    answer = plan(graph, 0)
    assert (answer.status, answer.sequence, answer.segment_starts) == ("optimal", (), ())
    assert answer.minimum_budget_op == -1


def test_a_region_is_not_recomputed_in_another() -> None:
    # Value 0 is only read in region 1, where its producer may not run again.
    graph = build(
        [(0, [], [0]), (1, [], [1]), (1, [1], [2]), (1, [0, 2], [3])],
        [8, 64, 8, 8],
        regions=(0, 1),
        outputs=(3,),
    )
    answer = plan(graph, 72, iterations=5000, time_limit=None)
    check(graph, answer)
    assert answer.status == "not_found"
    assert answer.peak_bytes == 80


def test_order_tokens_are_kept() -> None:
    # Two random ops, one after the other by a token of no bytes: their first runs stay in order.
    graph = build(
        [(0, [], [0, 1]), (0, [1], [2, 3]), (1, [2], [4]), (1, [0, 4], [5])],
        [64, 0, 64, 0, 8, 8],
        outputs=(5,),
    )
    answer = plan(graph, 128, iterations=20_000, time_limit=None)
    check(graph, answer)
    assert answer.sequence.index(0) < answer.sequence.index(1)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_and_algorithms(algorithm: str, threads: int) -> None:
    graph = random_training_graph(1, 40)
    whole = plan(graph, ROOM, iterations=0)
    answer = plan(
        graph,
        whole.base_peak_bytes * 2 // 3,
        iterations=20_000,
        time_limit=None,
        threads=threads,
        algorithm=algorithm,
    )
    check(graph, answer)
    assert answer.planner.algorithm == algorithm
    assert answer.planner.threads == threads


@property_test(30, graph=legal_graphs(), share=st.floats(0, 1), seed=st.integers(0, 5))
def test_no_plan_of_any_algorithm_beats_the_bound(graph: Graph, share: float, seed: int) -> None:
    whole = plan(graph, ROOM, iterations=0)
    low = whole.minimum_budget_bytes
    budget = int(low + share * (whole.base_peak_bytes - low))
    bounded = plan(graph, budget, iterations=1000, time_limit=None, seed=seed)
    other = plan(
        graph, budget, iterations=5000, time_limit=None, seed=seed, algorithm="fastsa-paper"
    )
    if other.fits:
        assert bounded.lower_bound_seconds <= other.extra_seconds + 1e-9 * other.base_seconds
