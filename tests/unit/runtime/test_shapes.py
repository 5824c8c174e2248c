"""Which plan a region gets that is met again with other sizes."""

from __future__ import annotations

import pytest

from fastsa.planner.graph import Graph
from fastsa.runtime.shapes import MOST_PLANNED, Shapes
from support import builders


def sized(size: int) -> Graph:
    return builders.graph(size=size)


def planned(*sizes: int) -> Shapes:
    shapes = Shapes()
    for size in sizes:
        shapes.add(sized(size))
    return shapes


@pytest.mark.promise("smaller-shapes")
def test_the_nearest_that_is_nowhere_smaller() -> None:
    shapes = planned(4000, 1000, 2000)
    assert shapes.plan_of(sized(1000)) == sized(1000).hash()
    assert shapes.plan_of(sized(1001)) == sized(2000).hash()
    assert shapes.plan_of(sized(10)) == sized(1000).hash()


@pytest.mark.promise("larger-shapes")
def test_larger_ones_are_planned_at_most_eight_times() -> None:
    shapes = Shapes()
    for number in range(1, MOST_PLANNED + 1):
        assert shapes.plan_of(sized(1000 * number)) is None
        shapes.add(sized(1000 * number))
    assert MOST_PLANNED == 8
    assert shapes.plan_of(sized(10**6)) == sized(1000 * MOST_PLANNED).hash()


def test_the_same_size_counts_once() -> None:
    shapes = planned(*[1000] * MOST_PLANNED)
    assert shapes.plan_of(sized(1001)) is None


def test_another_structure_is_another_region() -> None:
    shapes = planned(1000)
    other = builders.graph(layers=4, size=10)
    assert sized(5) in shapes
    assert other not in shapes
    assert shapes.plan_of(other) is None
    shapes.add(other)
    assert len(shapes) == 2
