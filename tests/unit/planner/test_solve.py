"""The search as its callers meet it: the same answer twice, in time, stopped when asked."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import msgspec
import pytest

from fastsa.errors import BadInput
from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph, Op, Value
from fastsa.planner.options import ALGORITHMS, Progress
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from fastsa.planner.validation import validate
from support.planner_graphs import build, chain, random_training_graph, real, real_paths

HANGS = 60.0  # seconds that a search needs on no machine


def half(graph: Graph) -> int:
    return plan(graph, 2**62, iterations=0).base_peak_bytes // 2


def tiled(graph: Graph, times: int) -> Graph:
    """The graph's steps one after the other, as one step of as many regions."""
    values = len(graph.values)
    segments = len(graph.segments)
    ops = tuple(
        Op(
            id=t * len(graph.ops) + op.id,
            target=op.target,
            segment=t * segments + op.segment,
            seconds=op.seconds,
            inputs=tuple(t * values + v for v in op.inputs),
            outputs=tuple(t * values + v for v in op.outputs),
            recomputable=op.recomputable,
        )
        for t in range(times)
        for op in graph.ops
    )
    copies = tuple(
        msgspec.structs.replace(segment, region=t)
        for t in range(times)
        for segment in graph.segments
    )
    sizes = tuple(Value(t * values + v.id, v.bytes) for t in range(times) for v in graph.values)
    return msgspec.structs.replace(graph, segments=copies, ops=ops, values=sizes, outputs=())


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_same_request_gives_the_same_plan(algorithm: str) -> None:
    graph = real("resnet18")
    budget = half(graph)

    def once(seed: int) -> Plan:
        return plan(
            graph, budget, iterations=10_000, time_limit=None, seed=seed, algorithm=algorithm
        )

    first, second = once(3), once(3)
    assert first.sequence == second.sequence
    assert first.segment_starts == second.segment_starts
    assert first.seconds == second.seconds
    assert once(4).sequence != first.sequence


@pytest.fixture
def given_up() -> Iterator[threading.Event]:
    """A cancel that is set when a search does not end by itself."""
    cancel = threading.Event()
    timer = threading.Timer(HANGS, cancel.set)
    timer.start()
    yield cancel
    timer.cancel()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
@pytest.mark.parametrize("limit", [0.0, 0.05, 0.3])
def test_the_deadline_is_kept(algorithm: str, limit: float, given_up: threading.Event) -> None:
    graph = real("gpt2_eager")
    answer = plan(graph, half(graph), time_limit=limit, algorithm=algorithm, cancel=given_up)
    validate(graph, answer)
    assert not given_up.is_set()
    if algorithm == "fastsa":  # the other is soon at its end
        assert answer.planner.wall_seconds >= limit


def test_iterations_end_a_search_that_has_time(given_up: threading.Event) -> None:
    graph = real("gpt2_eager")
    answer = plan(graph, half(graph), time_limit=10 * HANGS, iterations=5000, cancel=given_up)
    validate(graph, answer)
    assert not given_up.is_set()
    assert 0 < answer.planner.iterations < 10_000


@pytest.mark.parametrize("times", [10, pytest.param(95, marks=pytest.mark.nightly)])
def test_a_huge_graph_keeps_the_deadline(times: int, given_up: threading.Event) -> None:
    graph = tiled(real("gpt2_eager"), times)
    assert len(graph.ops) > 1000 * times
    budget = plan(graph, 2**62, iterations=0).base_peak_bytes * 3 // 4
    answer = plan(graph, budget, time_limit=0.3, cancel=given_up)
    validate(graph, answer)
    assert not given_up.is_set()


def test_cancel_from_another_thread_returns_the_best_so_far() -> None:
    graph = real("gpt2_eager")
    searching, cancel = threading.Event(), threading.Event()

    def look(progress: Progress) -> None:
        if progress.fits and progress.iterations:
            searching.set()

    def later() -> None:
        searching.wait()
        cancel.set()

    thread = threading.Thread(target=later)
    thread.start()
    answer = plan(graph, half(graph), time_limit=2 * HANGS, cancel=cancel, on_progress=look)
    searching.set()
    thread.join()
    validate(graph, answer)
    assert answer.status == "feasible"
    assert answer.planner.wall_seconds < HANGS


def test_progress_is_reported_and_improves() -> None:
    graph = real("gpt2_eager")
    seen: list[Progress] = []
    enough = threading.Event()

    def look(progress: Progress) -> None:
        seen.append(progress)
        if len(seen) > 4 and progress.iterations > seen[0].iterations:
            enough.set()

    plan(graph, half(graph), time_limit=HANGS, cancel=enough, on_progress=look)
    assert enough.is_set()
    assert all(0 <= progress.fraction < 1 for progress in seen)
    assert all(
        later.elapsed_seconds - each.elapsed_seconds > 0.09 for each, later in pairwise(seen)
    )
    fitting = [progress.extra_seconds for progress in seen if progress.fits]
    assert fitting == sorted(fitting, reverse=True)


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_what_on_progress_raises_ends_the_search(
    error: type[BaseException], given_up: threading.Event
) -> None:
    graph = real("resnet50")
    seen: list[Progress] = []

    def refuse(progress: Progress) -> None:
        seen.append(progress)
        raise error("enough")

    with pytest.raises(error, match="enough"):
        plan(graph, half(graph), time_limit=2 * HANGS, on_progress=refuse, cancel=given_up)
    assert len(seen) == 1
    assert not given_up.is_set()


@pytest.mark.parametrize(
    "wrong",
    [
        {"algorithm": "magic"},
        {"threads": 0},
        {"threads": 10**6},
        {"seed": -1},
        {"iterations": -1},
        {"time_limit": -1.0},
        {"time_limit": float("nan")},
        {"time_limit": None},
        {"budget_bytes": 2**70},
    ],
)
def test_a_senseless_request_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput) as caught:
        plan(chain(3), **{"budget_bytes": 100, **wrong})  # type: ignore[arg-type]
    assert caught.value.hint


def test_a_start_of_another_graph_is_refused() -> None:
    other = plan(chain(4), 2**40)
    with pytest.raises(BadInput, match="another graph"):
        plan(chain(5), 40, warm_start=other)


def test_an_illegal_start_is_refused() -> None:
    graph = chain(4)
    start = plan(graph, 2**40)
    wrong = msgspec.structs.replace(start, sequence=start.sequence[::-1])
    with pytest.raises(BadInput, match="input"):
        plan(graph, 40, warm_start=wrong)


def test_no_budget_at_all_is_infeasible() -> None:
    graph = build([(0, [], [0])], [8], outputs=(0,))
    assert plan(graph, -5).status == "infeasible"
    assert plan(graph, 7).minimum_budget_bytes == 8


@pytest.mark.parametrize("path", real_paths(), ids=lambda path: path.name.split(".")[0])
def test_real_graphs_meet_half_of_their_peak(path: Path) -> None:
    graph = graphs.read(path)
    answer = plan(graph, half(graph), iterations=10_000, time_limit=None)
    validate(graph, answer)
    # vgg11's weight gradients and largest layer alone take more than half.
    assert answer.status == ("infeasible" if "vgg11" in graph.name else "feasible")


def test_random_training_graphs_are_reproducible_on_every_machine() -> None:
    graph = random_training_graph(5)
    answer = plan(graph, half(graph), iterations=20_000, time_limit=None)
    assert answer == msgspec.structs.replace(
        plan(graph, half(graph), iterations=20_000, time_limit=None), planner=answer.planner
    )


def test_a_warm_start_does_not_end_the_search() -> None:
    """A plan made for half the memory serves at 90%, and there is a much faster one."""
    graph = real("resnet50")
    slow = plan(graph, half(graph), iterations=5000, time_limit=None)
    budget = 2 * half(graph) * 9 // 10
    cold = plan(graph, budget, iterations=5000, time_limit=None)
    warm = plan(graph, budget, iterations=5000, time_limit=None, warm_start=slow)
    validate(graph, warm)
    assert warm.extra_seconds < slow.extra_seconds / 2
    assert warm.extra_seconds <= 1.2 * cold.extra_seconds
