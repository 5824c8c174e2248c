"""Steps that call one captured region several times: all calls run alike, and the whole fits."""

from __future__ import annotations

import random

import msgspec
import pytest
from hypothesis import strategies as st

from fastsa.planner import graph as graphs
from fastsa.planner.graph import Graph, Op, Segment, Value
from fastsa.planner.options import SearchOptions
from fastsa.planner.plan import Plan
from fastsa.planner.search import search
from fastsa.planner.shared_regions import calls_run_alike, shared_regions
from fastsa.planner.solve import plan
from fastsa.planner.step import REGIONS, Order, region_names, region_order, step_order
from fastsa.planner.validation import validate
from support.properties import property_test


class Builder:
    """A step of nested calls: forwards in order, one gap, backwards in reverse."""

    def __init__(self, seed: int, fixed: float) -> None:
        self.random = random.Random(seed)
        self.fixed = fixed
        self.sizes: list[int] = []
        self.ops: list[Op] = []
        self.segments: list[Segment] = []
        self.names: list[str] = []

    def value(self, size: int) -> int:
        self.sizes.append(size)
        return len(self.sizes) - 1

    def op(self, inputs: list[int], size: int, *, fixed: bool = False, seconds: float = 1) -> int:
        made = self.value(size)
        number, segment = len(self.ops), len(self.segments) - 1
        read = tuple(dict.fromkeys(inputs))
        self.ops.append(Op(number, "op", segment, seconds, read, (made,), not fixed))
        return made

    def step(self, calls: list[str], lengths: dict[str, int]) -> Graph:
        shapes = {
            name: [(self.random.choice((8, 64, 512)), self.random.random()) for _ in range(length)]
            for name, length in lengths.items()
        }
        hidden, kept = None, []
        for region, name in enumerate(calls):
            self.segments.append(Segment(f"forward {region}", region))
            self.names.append(name)
            made = []
            for size, seconds in shapes[name]:
                last = made[-1] if made else hidden
                read = [] if last is None else [last]
                fixed = self.random.random() < self.fixed
                made.append(self.op(read, size, fixed=fixed, seconds=seconds))
            kept.append((hidden, made))
            hidden = made[-1]
        self.segments.append(Segment("eager", len(calls)))
        self.names.append("")
        gradient = self.op([made[-1]], 8, fixed=True)
        for region in reversed(range(len(calls))):
            self.segments.append(Segment(f"backward {region}", region))
            given, made = kept[region]
            for value in reversed(made):
                gradient = self.op([gradient, value], self.sizes[value])
            if given is not None:
                gradient = self.op([gradient, given], 8)
        graph = Graph(
            schema="fastsa.graph/1",
            name="tied",
            resident_bytes=0,
            segments=tuple(self.segments),
            values=tuple(Value(i, size) for i, size in enumerate(self.sizes)),
            ops=tuple(self.ops),
            outputs=(gradient,),
            producer={REGIONS: self.names},
        )
        graphs.check(graph)
        return graph


def nested(seed: int, calls: int = 4, length: int = 5, fixed: float = 0.0) -> Graph:
    """A head, one piece called several times, and a tail; a share of all ops run only once."""
    # The first call is given nothing, so its backward has an op less: it is another region.
    names = ["head", *["piece"] * calls, "tail"]
    return Builder(seed, fixed).step(names, {"head": 3, "piece": length, "tail": 3})


def base(graph: Graph) -> Plan:
    return plan(graph, 2**62, time_limit=0.0, iterations=0)


def test_names() -> None:
    assert shared_regions(nested(0)) == ("piece",)
    assert shared_regions(msgspec.structs.replace(nested(0), producer=None)) == ()


@property_test(
    20,
    seed=st.integers(0, 10**6),
    calls=st.integers(2, 5),
    length=st.integers(2, 6),
    share=st.floats(0.3, 1.0),
    fixed=st.sampled_from((0.0, 0.1, 0.4)),
)
def test_every_answer_is_legal_and_tied(
    seed: int, calls: int, length: int, share: float, fixed: float
) -> None:
    graph = nested(seed, calls, length, fixed)
    unplanned = base(graph)
    budget = int(share * unplanned.peak_bytes)
    made = plan(graph, budget, iterations=500, time_limit=None, seed=seed)
    if made.status == "infeasible":
        assert budget < made.minimum_budget_bytes
        return
    validate(graph, made)
    assert calls_run_alike(graph, made)
    assert made.fits == (made.peak_bytes <= budget)
    if share >= 1:
        assert made.extra_seconds == 0


@pytest.mark.parametrize("seed", range(4))
def test_calls_that_are_free_would_not_be_alike(seed: int) -> None:
    """The planner as it is for one call does not care: that is what tying is for."""
    graph = nested(seed, calls=5, length=6)
    unplanned = base(graph)
    found = [
        search(
            graph,
            int(share * unplanned.peak_bytes),
            SearchOptions(time_limit=None, iterations=3000),
        )
        for share in (0.9, 0.8, 0.7, 0.6)
    ]
    assert not all(calls_run_alike(graph, each) for each in found if each.fits)


@pytest.mark.parametrize("seed", range(4))
def test_less_memory_takes_no_less_time(seed: int) -> None:
    graph = nested(seed, calls=6, length=6)
    unplanned = base(graph)
    made = [
        plan(graph, int(share * unplanned.peak_bytes), iterations=2000, time_limit=None)
        for share in (1.0, 0.75, 0.6)
    ]
    fitting = [each.extra_seconds for each in made if each.fits]
    assert len(fitting) >= 2
    assert fitting == sorted(fitting)
    # Recomputing all of every call is the most that can be asked.
    assert fitting[-1] <= unplanned.base_seconds


def test_orders_of_regions_and_of_the_step_are_each_others_opposite() -> None:
    graph = nested(3)
    made = plan(graph, int(0.7 * base(graph).peak_bytes), iterations=2000, time_limit=None)
    orders = {name: region_order(graph, made, name) for name in region_names(graph) if name}
    again = step_order(graph, orders)
    assert Order(made.sequence, made.segment_starts) == again


def test_iterations_alone_say_what_is_found() -> None:
    graph = nested(2, calls=5, length=40)
    budget = int(0.6 * base(graph).peak_bytes)
    none, first, second = (
        plan(graph, budget, iterations=iterations, time_limit=None)
        for iterations in (0, 2000, 2000)
    )
    assert (first.sequence, first.seconds) == (second.sequence, second.seconds)
    assert first.fits
    assert first.seconds < none.seconds
