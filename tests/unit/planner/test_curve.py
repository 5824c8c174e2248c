"""A curve is a family: each plan fits, and less memory never takes less time."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import strategies as st

from fastsa.errors import BadInput
from fastsa.planner import curve as curves
from fastsa.planner.curve import Curve, curve
from fastsa.planner.graph import Graph
from fastsa.planner.options import Progress
from fastsa.planner.plan import Plan
from fastsa.planner.solve import plan
from fastsa.planner.validation import validate
from support import planner_reference as reference
from support.planner_graphs import build, chain, legal_graphs, random_training_graph, real
from support.properties import property_test

HANGS = 60.0  # seconds that a curve needs on no machine


def check(graph: Graph, found: Curve, points: int = curves.POINTS) -> None:
    assert 1 <= len(found.plans) <= points
    first, last = found.plans[0], found.plans[-1]
    assert (found.graph, found.base_seconds) == (graph.hash(), first.base_seconds)
    assert first.step_budget_bytes == found.base_peak_bytes
    assert 0 <= first.extra_seconds <= 1e-9 * first.base_seconds
    assert found.minimum_budget_bytes <= last.peak_bytes
    for each in found.plans:
        validate(graph, each)
        assert each.fits
        assert each.peak_bytes <= each.step_budget_bytes
        if len(graph.ops) < 100:  # the reference is slow
            assert each.peak_bytes == reference.peak(graph, each.sequence)
        assert each.lower_bound_seconds <= each.extra_seconds + 1e-9 * each.base_seconds
        assert each.minimum_budget_bytes == found.minimum_budget_bytes <= each.step_budget_bytes
    for above, below in zip(found.plans, found.plans[1:], strict=False):
        assert above.step_budget_bytes > below.step_budget_bytes
        assert above.extra_seconds <= below.extra_seconds
        assert above.lower_bound_seconds <= below.lower_bound_seconds
    knee = found.knee
    assert knee is None or knee in found.plans[1:-1]


def orders(found: Curve) -> list[tuple[int, tuple[int, ...], float]]:
    """What does not tell of the clock."""
    return [
        (each.step_budget_bytes, each.sequence, each.lower_bound_seconds) for each in found.plans
    ]


@property_test(25, graph=legal_graphs(), points=st.integers(4, 9), seed=st.integers(0, 5))
def test_any_graph_has_a_curve(graph: Graph, points: int, seed: int) -> None:
    found = curve(graph, points=points, iterations=300, time_limit=None, seed=seed)
    check(graph, found, points)
    assert found.complete


@pytest.mark.parametrize("seed", range(4))
def test_training_graphs(seed: int) -> None:
    graph = random_training_graph(seed, 30)
    found = curve(graph, points=8, iterations=500, time_limit=None, seed=seed)
    check(graph, found, 8)
    assert found.complete
    assert len(found.plans) == 8


@pytest.mark.parametrize("seed", range(12))
def test_no_other_point_has_a_better_plan(seed: int) -> None:
    """Also with so little effort that single searches get it wrong."""
    found = curve(random_training_graph(seed, 60), points=12, iterations=20, time_limit=None)
    for above in found.plans:
        fitting = [each for each in found.plans if each.peak_bytes <= above.step_budget_bytes]
        assert above.seconds == min(each.seconds for each in fitting)


@pytest.mark.parametrize(
    "graph",
    [
        build([], [5], regions=()),
        build([(0, [], [0])], [8], outputs=(0,)),
        build([(0, [], [])], []),
        build([(0, [], [0]), (1, [0], [1])], [0, 0], outputs=(1,)),
        build([(0, [], [0])], [8], seconds=[0.0]),
    ],
    ids=["no ops", "one op", "no values", "zero bytes", "no seconds"],
)
def test_nothing_to_plan_is_one_point(graph: Graph) -> None:
    found = curve(graph)
    check(graph, found)
    (only,) = found.plans
    assert (only.status, only.extra_seconds) == ("optimal", 0)
    assert found.complete
    assert found.knee is None


def test_a_minimum_that_nothing_reaches() -> None:
    """The curve ends at the lowest peak found, and says what the proven minimum is."""
    graph = build(
        [(0, [], [0]), (1, [], [1]), (1, [1], [2]), (1, [0, 2], [3])],
        [8, 64, 8, 8],
        regions=(0, 1),
        outputs=(3,),
    )
    found = curve(graph, iterations=2000, time_limit=None)
    check(graph, found)
    assert found.minimum_budget_bytes < found.plans[-1].step_budget_bytes == 80


@pytest.mark.parametrize("iterations", [2000, pytest.param(20_000, marks=pytest.mark.nightly)])
def test_a_budget_between_two_points_is_no_better_planned_alone(iterations: int) -> None:
    graph = chain(24)
    found = curve(graph, points=12, iterations=iterations, time_limit=None)
    check(graph, found)
    for above, below in zip(found.plans, found.plans[1:], strict=False):
        between = (above.step_budget_bytes + below.step_budget_bytes) // 2
        alone = plan(graph, between, iterations=iterations, time_limit=None)
        assert above.lower_bound_seconds <= alone.extra_seconds + 1e-9


def test_points_are_closer_where_the_time_rises() -> None:
    found = curve(real("resnet18"), points=12, iterations=3000, time_limit=None)
    check(real("resnet18"), found, 12)
    widths = [
        above.step_budget_bytes - below.step_budget_bytes
        for above, below in zip(found.plans, found.plans[1:], strict=False)
    ]
    assert min(widths[-3:]) < widths[0]


def test_the_same_request_gives_the_same_curve() -> None:
    graph = real("resnet18")

    def once(seed: int) -> Curve:
        return curve(graph, points=5, iterations=1000, time_limit=None, seed=seed)

    assert orders(once(1)) == orders(once(1))
    assert orders(once(1)) != orders(once(2))


def test_the_time_limit_is_for_all_of_it() -> None:
    """Each of some 200 searches would take the second that all of them have."""
    graph = real("gpt2_eager")
    started = time.monotonic()
    found = curve(graph, points=100, time_limit=1.0)
    assert time.monotonic() - started < HANGS
    check(graph, found, 100)


def test_no_time_leaves_the_unplanned_order() -> None:
    graph = real("resnet18")
    found = curve(graph, time_limit=0.0)
    check(graph, found)
    assert not found.complete


def test_cancel_returns_what_there_is() -> None:
    graph = real("gpt2_eager")
    cancel = threading.Event()
    seen: list[Progress] = []

    def look(progress: Progress) -> None:
        seen.append(progress)
        if progress.fraction > 0.25:
            cancel.set()

    found = curve(graph, iterations=2000, time_limit=None, cancel=cancel, on_progress=look)
    check(graph, found)
    assert not found.complete
    assert len(found.plans) > 2
    fractions = [each.fraction for each in seen]
    elapsed = [each.elapsed_seconds for each in seen]
    assert (fractions, elapsed) == (sorted(fractions), sorted(elapsed))
    assert fractions[-1] < 0.5  # searches that it did not begin


def test_cancelled_before_it_began() -> None:
    cancel = threading.Event()
    cancel.set()
    found = curve(chain(9), cancel=cancel)
    check(chain(9), found)
    assert not found.complete


@pytest.mark.parametrize(
    "wrong",
    [
        {"points": 3},
        {"points": 1001},
        {"threads": 0},
        {"seed": -1},
        {"iterations": -1},
        {"time_limit": -1.0},
        {"time_limit": float("nan")},
        {"time_limit": None},
    ],
)
def test_a_senseless_request_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(BadInput) as caught:
        curve(chain(3), **wrong)  # type: ignore[arg-type]
    assert caught.value.hint


def test_the_largest_seed() -> None:
    check(chain(5), curve(chain(5), iterations=100, time_limit=None, seed=2**64 - 1))


@pytest.mark.parametrize("name", ["curve.json", "curve.json.gz"])
def test_a_file_comes_back(tmp_path: Path, name: str) -> None:
    found = curve(chain(6), iterations=200, time_limit=None)
    found.write(tmp_path / name)
    again = curves.read(tmp_path / name)
    assert again == found
    assert again.id() == found.id()


def test_the_knee_is_where_the_line_bends() -> None:
    found = curve(chain(12), points=4, iterations=1000, time_limit=None)
    assert len(found.plans) == 4

    def at(budget: int, seconds: float) -> Plan:
        return msgspec.structs.replace(
            found.plans[0], step_budget_bytes=budget, seconds=found.base_seconds + seconds
        )

    bent = (at(100, 0.0), at(70, 0.1), at(40, 0.2), at(10, 3.0))
    assert msgspec.structs.replace(found, plans=bent).knee == bent[2]
    straight = (at(100, 0.0), at(60, 1.0), at(20, 2.0))
    assert msgspec.structs.replace(found, plans=straight).knee is None


def test_a_curve_without_plans_is_refused() -> None:
    found = curve(chain(4), points=4, iterations=10, time_limit=None)
    empty = msgspec.structs.replace(found, plans=())
    with pytest.raises(BadInput, match="a curve without plans"):
        curves.decode(empty.encode())
