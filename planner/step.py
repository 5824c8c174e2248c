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
_HINT = "record a profile again"


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


def _ops_of_call(step: Graph, name: str, captured: Graph) -> dict[int, int]:
    """Step op -> own op, for the first call of `name`. Raises IllegalPlan if they do not match."""
    calls = calls_of(step, name)
    if not calls:
        raise IllegalPlan("the region is not in the planned step", hint=_HINT)
    forward, backward = segments_of(step, calls[0])
    step_ops, own_ops = ops_by_segment(step), ops_by_segment(captured)
    if [len(step_ops[forward]), len(step_ops[backward])] != [len(own_ops[0]), len(own_ops[2])]:
        raise IllegalPlan("the region has other ops in the step", hint=_HINT)
    mine = step_ops[forward] + step_ops[backward]
    return dict(zip(mine, own_ops[0] + own_ops[2], strict=True))


def region_graph(step: Graph, name: str, captured: Graph) -> Graph:
    """The captured graph of a region with what the step knows: seconds, workspace, real sizes.

    The eager code outside of the region stays as it is captured. Raises IllegalPlan.
    """
    replace = msgspec.structs.replace
    ops, values = list(captured.ops), list(captured.values)
    for theirs, own in _ops_of_call(step, name, captured).items():
        known = step.ops[theirs]
        ops[own] = replace(ops[own], seconds=known.seconds, workspace_bytes=known.workspace_bytes)
        for value, other in zip(ops[own].outputs, known.outputs, strict=True):
            values[value] = replace(values[value], bytes=step.values[other].bytes)
    return replace(captured, ops=tuple(ops), values=tuple(values), device=step.device)


def region_order(step: Graph, plan: Plan | Order, name: str, captured: Graph) -> Order:
    """What the plan of a step means for the captured region `name`, in the region's own op ids.

    The captured graph's segments are forward, outside and backward; the ops of the outside, which
    is no part of the region in the step, come where they are in the graph. Raises IllegalPlan if
    the region's graph is not the one in the step.
    """
    mine = _ops_of_call(step, name, captured)
    forward, backward = segments_of(step, calls_of(step, name)[0])
    starts = (*plan.segment_starts, len(plan.sequence))

    def segment(position: int) -> list[int]:
        return [mine[op] for op in plan.sequence[starts[position] : starts[position + 1]]]

    outside = ops_by_segment(captured)[1]
    first, last = segment(forward), segment(backward)
    return Order((*first, *outside, *last), (0, len(first), len(first) + len(outside)))
