"""A step of several regions: which plan each region gets out of the plan of the whole step.

`Graph.producer["regions"]` names, by region, what each is a call of; "" is eager code. Regions of
the same name are calls of one compiled piece: they run in the same order (see `tied`).
"""

from __future__ import annotations

import msgspec

from fastsa.errors import IllegalPlan
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan

REGIONS = "regions"


class Order(msgspec.Struct, frozen=True):
    """A sequence of op ids, every op at least once, and where in it each segment starts."""

    sequence: tuple[int, ...]
    segment_starts: tuple[int, ...]


def region_names(graph: Graph) -> tuple[str, ...]:
    """By region, what it is a call of; empty for the graph of one captured region."""
    names = (graph.producer or {}).get(REGIONS, ())
    if not isinstance(names, (list, tuple)) or not all(isinstance(n, str) for n in names):
        return ()
    return tuple(names)


def calls_of(graph: Graph, name: str) -> tuple[int, ...]:
    """The regions that are calls of `name`."""
    return tuple(i for i, each in enumerate(region_names(graph)) if each == name)


def segments_of(graph: Graph, region: int) -> tuple[int, ...]:
    """A region's segments, in order."""
    return tuple(i for i, s in enumerate(graph.segments) if s.region == region)


def ops_by_segment(graph: Graph) -> list[list[int]]:
    """Op ids, by segment, in the graph's order."""
    found: list[list[int]] = [[] for _ in graph.segments]
    for op in graph.ops:
        found[op.segment].append(op.id)
    return found


def region_order(step: Graph, plan: Plan | Order, name: str, captured: Graph) -> Order:
    """What the plan of a step means for the captured region `name`, in the region's own op ids.

    The captured graph's segments are forward, outside and backward; the ops of the outside, which
    is no part of the region in the step, come where they are in the graph. Raises IllegalPlan if
    the region's graph is not the one in the step.
    """
    calls = calls_of(step, name)
    if not calls:
        raise IllegalPlan("the region is not in the planned step", hint="record a profile again")
    forward, backward = segments_of(step, calls[0])
    step_ops, own_ops = ops_by_segment(step), ops_by_segment(captured)
    if [len(step_ops[forward]), len(step_ops[backward])] != [len(own_ops[0]), len(own_ops[2])]:
        raise IllegalPlan("the region has other ops in the step", hint="record a profile again")
    mine = dict(zip(step_ops[forward] + step_ops[backward], own_ops[0] + own_ops[2], strict=True))
    starts = (*plan.segment_starts, len(plan.sequence))

    def segment(position: int) -> list[int]:
        return [mine[op] for op in plan.sequence[starts[position] : starts[position + 1]]]

    first, outside, last = segment(forward), own_ops[1], segment(backward)
    return Order((*first, *outside, *last), (0, len(first), len(first) + len(outside)))
