"""Every baseline gives legal plans that are what they claim; the exact one is exact."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import pytest
from hypothesis import strategies as st

from fastsa.errors import BadInput
from fastsa.planner.baselines import BASELINES
from fastsa.planner.baselines.checkpoint_every_block import blocks
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from fastsa.planner.validation import validate
from support import planner_reference as reference
from support.commands import Fastsa
from support.planner_graphs import build, chain, legal_graphs, random_training_graph, real
from support.properties import property_test

ROOM = 2**62
LIMIT = 300.0  # solvers are to end by themselves, on the busiest machine


def between(graph: Graph, share: float) -> int:
    """A budget between the floor and the unplanned peak."""
    whole = plan(graph, ROOM, iterations=0)
    low = whole.minimum_budget_bytes
    return int(low + share * (whole.base_peak_bytes - low))


def check(graph: Graph, answer: Plan) -> None:
    """By the validator, and by the memory model word for word."""
    validate(graph, answer)
    reference.assert_legal(graph, answer)
    assert answer.peak_bytes == reference.peak(graph, answer.sequence)
    assert answer.seconds == pytest.approx(reference.seconds(graph, answer.sequence))
    assert answer.fits == (answer.peak_bytes <= answer.step_budget_bytes)


def staged_sequences(graph: Graph) -> Iterator[list[int]]:
    """Every schedule in stages: before op t, any earlier ops that may run again, in order."""

    def again(op: int, stage: int) -> bool:
        regions = [graph.segments[graph.ops[each].segment].region for each in (op, stage)]
        return graph.ops[op].recomputable and regions[0] == regions[1]

    stages = []
    for stage in range(len(graph.ops)):
        earlier = [op for op in range(stage) if again(op, stage)]
        chosen = (itertools.combinations(earlier, n) for n in range(len(earlier) + 1))
        stages.append([[*ops, stage] for ops in itertools.chain.from_iterable(chosen)])
    for parts in itertools.product(*stages):
        yield list(itertools.chain.from_iterable(parts))


def fastest(graph: Graph, budget: int) -> float | None:
    """The least seconds of any schedule in stages that fits, by trying all."""
    by_time: Sequence[list[int]] = sorted(
        staged_sequences(graph), key=lambda sequence: reference.seconds(graph, sequence)
    )
    fitting = (each for each in by_time if reference.peak(graph, each) <= budget)
    first = next(fitting, None)
    return None if first is None else reference.seconds(graph, first)


@pytest.mark.parametrize("baseline", BASELINES)
@property_test(15, graph=legal_graphs(max_ops=8), share=st.floats(0, 1))
def test_any_graph_gives_a_legal_plan_that_no_bound_refutes(
    baseline: str, graph: Graph, share: float
) -> None:
    budget = between(graph, share)
    answer = plan(graph, budget, algorithm=baseline, time_limit=LIMIT)
    check(graph, answer)
    bounded = plan(graph, budget, iterations=1000, time_limit=None)
    if answer.fits:
        assert bounded.lower_bound_seconds <= answer.extra_seconds + 1e-9 * answer.base_seconds


@property_test(20, graph=legal_graphs(max_ops=5), share=st.floats(0, 1))
def test_the_integer_program_is_exact(graph: Graph, share: float) -> None:
    """Several outputs, workspaces, regions, ops that run once, results: all the memory model."""
    small = tuple(msgspec.structs.replace(v, bytes=min(v.bytes, 4096)) for v in graph.values)
    graph = msgspec.structs.replace(graph, values=small)
    budget = between(graph, share)
    answer = plan(graph, budget, algorithm="checkmate-milp", time_limit=LIMIT)
    best = fastest(graph, budget)
    assert answer.fits == (best is not None)
    if best is not None:
        assert answer.seconds == pytest.approx(best, abs=1e-5 * answer.base_seconds)


@pytest.mark.parametrize("seed", range(5))
def test_the_integer_program_is_exact_on_training_graphs(seed: int) -> None:
    graph = random_training_graph(seed, 2)
    for budget in range(between(graph, 0), between(graph, 1) + 1, 7):
        answer = plan(graph, budget, algorithm="checkmate-milp", time_limit=LIMIT)
        assert (answer.seconds if answer.fits else None) == fastest(graph, budget)


@pytest.mark.parametrize("seed", range(5))
def test_no_rival_beats_the_integer_program(seed: int) -> None:
    graph = random_training_graph(seed, 7)
    budget = between(graph, 0.5)
    exact = plan(graph, budget, algorithm="checkmate-milp", time_limit=LIMIT)
    assert exact.fits
    for baseline in BASELINES:
        answer = plan(graph, budget, algorithm=baseline, time_limit=LIMIT)
        assert not answer.fits or answer.seconds >= exact.seconds


@pytest.mark.parametrize("baseline", ["checkmate-milp", "checkmate-lp", "retention-intervals"])
def test_a_chain_meets_a_budget_that_takes_recomputation(baseline: str) -> None:
    graph = chain(8)
    answer = plan(graph, between(graph, 0.6), algorithm=baseline, time_limit=LIMIT)
    check(graph, answer)
    assert answer.fits
    assert answer.extra_seconds > 0


@pytest.mark.parametrize("baseline", BASELINES)
def test_below_the_minimum_is_infeasible(baseline: str) -> None:
    graph = chain(6)
    answer = plan(graph, between(graph, 0) - 1, algorithm=baseline)
    validate(graph, answer)
    assert answer.status == "infeasible"
    assert answer.planner.algorithm == baseline


@pytest.mark.parametrize("baseline", BASELINES)
def test_an_unplanned_step_that_fits_is_left_alone(baseline: str) -> None:
    answer = plan(chain(6), ROOM, algorithm=baseline)
    assert answer.status == "optimal"
    assert answer.extra_seconds == 0


@pytest.mark.parametrize("baseline", BASELINES)
def test_no_time_is_no_excuse_for_an_illegal_plan(baseline: str) -> None:
    graph = random_training_graph(3)
    check(graph, plan(graph, between(graph, 0.3), algorithm=baseline, time_limit=0))


@pytest.mark.parametrize("baseline", BASELINES)
def test_a_baseline_takes_time_and_nothing_else(baseline: str) -> None:
    graph = chain(4)
    with pytest.raises(BadInput, match="iterations"):
        plan(graph, ROOM, algorithm=baseline, iterations=5)
    with pytest.raises(BadInput, match="iterations"):
        plan(graph, ROOM, algorithm=baseline, iterations=5, time_limit=None)
    with pytest.raises(BadInput, match="starts from no plan"):
        plan(graph, ROOM, algorithm=baseline, warm_start=plan(graph, ROOM, iterations=0))


@pytest.mark.parametrize("baseline", ["checkmate-milp", "checkmate-lp"])
def test_a_graph_too_large_is_refused_with_a_way_out(baseline: str) -> None:
    graph = real("resnet50")
    with pytest.raises(BadInput, match=r"464 ops .* variables.*--algorithm fastsa"):
        plan(graph, between(graph, 0.5), algorithm=baseline)


def test_the_intervals_refuse_what_is_too_large_for_them() -> None:
    graph = real("llama7b_sdpa")
    with pytest.raises(BadInput, match=r"3943 ops.*--algorithm fastsa"):
        plan(graph, between(graph, 0.5), algorithm="retention-intervals")


class WhenAtWork:
    """A cancel that is set once it has been asked for often: solvers are waited for by asking."""

    asked = 0

    def is_set(self) -> bool:
        self.asked += 1
        return self.asked > 10


@pytest.mark.parametrize("baseline", ["checkmate-milp", "checkmate-lp", "retention-intervals"])
def test_a_cancel_is_heard(baseline: str) -> None:
    graph = random_training_graph(0, 60)
    cancel = WhenAtWork()
    answer = plan(graph, between(graph, 0.3), algorithm=baseline, time_limit=300, cancel=cancel)
    validate(graph, answer)
    assert cancel.is_set()
    assert answer.planner.wall_seconds < 60


def test_the_knapsack_saves_what_is_dear() -> None:
    # Two alike values for the backward, one of them made ten times as slowly.
    graph = build(
        [
            (0, [], [0]),
            (0, [], [1]),
            (0, [], [2]),
            (1, [2], [3]),
            (1, [3, 0], [4]),
            (1, [4, 1], [5]),
        ],
        [64, 64, 8, 8, 8, 8],
        outputs=(5,),
        seconds=[10.0, 1.0, 1.0, 1.0, 1.0, 1.0],
    )
    answer = plan(graph, between(graph, 0) + 1, algorithm="torch-knapsack", time_limit=LIMIT)
    check(graph, answer)
    assert answer.sequence.count(0) == 1
    assert answer.sequence.count(1) == 2


def test_the_knapsack_does_not_see_the_peak() -> None:
    """It tells how far it is off, and claims nothing else."""
    missed = []
    for seed in range(20):
        graph = random_training_graph(seed, 8)
        answer = plan(graph, between(graph, 0.2), algorithm="torch-knapsack", time_limit=LIMIT)
        check(graph, answer)
        missed += [answer] if answer.status == "not_found" else []
    assert missed
    assert all(answer.peak_bytes > answer.step_budget_bytes for answer in missed)


def modular(names: Sequence[str | None]) -> Graph:
    """A chain whose forward ops belong to modules."""
    graph = chain(len(names))
    ops = list(graph.ops)
    for i, name in enumerate(names):
        ops[i] = msgspec.structs.replace(ops[i], module=name)
    return msgspec.structs.replace(graph, ops=tuple(ops))


def test_blocks_are_what_the_modules_repeat() -> None:
    names = ["embed", "h.0.attn", "h.0.mlp.2", "h.1.attn", "h.1.mlp.2", "head"]
    found = [[op.id for op in block] for block in blocks(modular(names))]
    assert found == [[1, 2], [3, 4]]


def test_only_what_crosses_a_block_is_kept() -> None:
    graph = modular(["h.0", "h.0", "h.0", "h.1", "h.1", "h.1", "head"])
    answer = plan(graph, between(graph, 0.5), algorithm="checkpoint-every-block")
    check(graph, answer)
    again = {op for op in answer.sequence if answer.sequence.count(op) > 1}
    assert again == {0, 1, 3, 4}  # 2 crosses into h.1, and 5 into the head


def test_without_modules_blocks_end_where_the_forward_is_narrow() -> None:
    # Two diamonds joined by one small value: 4 forward ops each.
    ops: list[tuple[int, list[int], list[int]]] = []
    for start in (0, 4):
        ops += [(0, [start - 1] if start else [], [start]), (0, [start], [start + 1])]
        ops += [(0, [start], [start + 2]), (0, [start + 1, start + 2], [start + 3])]
    sizes = [64, 64, 64, 1] * 2
    ops.append((1, [7, *range(7)], [8]))
    graph = build(ops, [*sizes, 1], outputs=(8,))
    found = [[op.id for op in block] for block in blocks(graph)]
    assert found[0][0] == 0
    assert [4] in [block[:1] for block in found]
    assert list(itertools.chain.from_iterable(found)) == list(range(8))


@pytest.mark.parametrize("baseline", BASELINES)
def test_without_the_extra_it_says_what_to_install(
    baseline: str, tmp_path: Path, fastsa: Fastsa, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ortools", None)  # as if it were not installed
    path = tmp_path / "graph.json"
    chain(6).write(path)
    done = fastsa(
        *("plan", "--graph", str(path), "--budget", "90%", "--algorithm", baseline),
        *("--time-limit", "10", "-o", str(tmp_path / "plan.json")),
    )
    if baseline == "checkpoint-every-block":
        assert done.returncode in (0, 3)
        return
    assert done.returncode == 2
    assert "Run pip install 'fastsa[baselines]'" in done.stderr
    assert done.stderr.count("\n") == 1
