"""A plan's step on the axis of the recorded one: before and after."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from fastsa.errors import BadInput
from fastsa.planner.explain import explanation
from fastsa.planner.explain.order import RunOrder
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan
from fastsa.report.levels import Levels


class Running(msgspec.Struct, frozen=True):
    """What is alive while an op of the plan runs, resident bytes included. `at` as in Levels."""

    at: float
    bytes: int
    position: int


class PlannedStep(msgspec.Struct, frozen=True):
    """A plan's memory, predicted; bytes are the whole process's."""

    order: RunOrder
    plan: Plan
    resident_bytes: int
    running: tuple[Running, ...]
    end: float

    @property
    def process_budget_bytes(self) -> int:
        """What the plan was to fit in."""
        return self.resident_bytes + self.plan.step_budget_bytes

    @property
    def peak_bytes(self) -> int:
        """Its peak."""
        return self.resident_bytes + self.plan.peak_bytes


def of(
    graph: Graph, plan: Plan, levels: Levels, resident_bytes: int, most: int = 1500
) -> PlannedStep:
    """The plan's step in at most `most` ops: of neighbours the one with most alive stays.

    Ops run alone take another time than in the recorded step, which recording slows down; so the
    times are scaled until the unplanned order takes as long as forward and backward did there.
    Raises BadInput if it is no legal plan of this graph, or has no order.
    """
    known = explanation.current(graph, plan)
    if not known.sequence:
        raise BadInput(
            "this plan has no order to draw: its budget cannot be met", hint="plan a larger budget"
        )
    order = RunOrder(graph, known.sequence, known.segment_starts)
    start, end = _window(levels)
    spent = graph.base_seconds or 1.0
    scale = (end - start) / spent
    running = tuple(_running(order, start, scale, resident_bytes))
    last = start + scale * sum(order.seconds)
    return PlannedStep(order, known, resident_bytes, _thinned(running, most), last)


def _window(levels: Levels) -> tuple[float, float]:
    """From the start of the first forward to the end of the last backward."""
    spans = [span for span in levels.phases if span.phase in ("forward", "backward")]
    if not spans:
        return 0.0, levels.end
    return spans[0].start, spans[-1].end


def _running(order: RunOrder, start: float, scale: float, resident: int) -> Iterator[Running]:
    passed = 0.0
    for position, (size, seconds) in enumerate(zip(order.alive_bytes, order.seconds, strict=True)):
        yield Running(start + passed * scale, resident + size, position)
        passed += seconds


def _thinned(running: Sequence[Running], most: int) -> tuple[Running, ...]:
    width = -(-len(running) // most)
    return tuple(
        max(running[i : i + width], key=lambda each: each.bytes)
        for i in range(0, len(running), max(1, width))
    )
