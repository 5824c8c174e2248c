"""A step of several regions: which plan each region gets out of the plan of the whole step.

`Graph.producer["regions"]` names, by region, what each is a call of; "" is eager code. Regions of
the same name are calls of one compiled piece: they run in the same order (see `shared_regions`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from itertools import accumulate

import msgspec

from fastsa.errors import IllegalPlan
from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan

REGIONS = "regions"
EAGER_TARGET = "fastsa.outside"
"""Target of ops that stand for eager code around the regions: a part of every graph's hash."""

_HINT = "record a profile again"


class Order(msgspec.Struct, frozen=True):
    """A sequence of op ids, every op at least once, and where in it each segment starts."""

    sequence: tuple[int, ...]
    segment_starts: tuple[int, ...]

    def digest(self) -> str:
        """sha256 (hex): equal for equal orders."""
        return hashlib.sha256(msgspec.json.encode(self)).hexdigest()


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


def _first_call(step: Graph, name: str) -> int:
    calls = calls_of(step, name)
    if not calls:
        raise IllegalPlan("the region is not in the planned step", hint=_HINT)
    return calls[0]


def _ops_of_call(step: Graph, name: str, captured: Graph) -> dict[int, int]:
    """Step op -> own op, for the first call of `name`. Raises IllegalPlan if they do not match."""
    forward, backward = segments_of(step, _first_call(step, name))
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


def region_order(step: Graph, plan: Plan | Order, name: str, *, call: int | None = None) -> Order:
    """What the plan of a step means for the captured region `name`, in the region's own op ids.

    The captured graph's segments are forward, eager and backward, with one op in the eager one,
    which is no part of the region in the step. Of several calls, the first unless one is given.
    Raises IllegalPlan if the region is not in the step.
    """
    forward, backward = segments_of(step, _first_call(step, name) if call is None else call)
    ops = ops_by_segment(step)
    mine = {op: own for own, op in enumerate(ops[forward])}
    eager = len(mine)
    mine |= {op: own for own, op in enumerate(ops[backward], eager + 1)}
    starts = (*plan.segment_starts, len(plan.sequence))

    def segment(position: int) -> list[int]:
        return [mine[op] for op in plan.sequence[starts[position] : starts[position + 1]]]

    first, last = segment(forward), segment(backward)
    return Order((*first, eager, *last), (0, len(first), len(first) + 1))


def step_order(step: Graph, orders: Mapping[str, Order]) -> Order:
    """The opposite: an order of the step in which each captured region runs in its own.

    Eager code, and regions without an order, run as they are in the graph.
    """
    ops = ops_by_segment(step)
    segments = [list(each) for each in ops]
    for region, name in enumerate(region_names(step)):
        if name not in orders:
            continue
        forward, backward = segments_of(step, region)
        theirs = dict(enumerate(ops[forward])) | dict(
            enumerate(ops[backward], len(ops[forward]) + 1)
        )
        order = orders[name]
        _, eager, rest = order.segment_starts
        segments[forward] = [theirs[op] for op in order.sequence[:eager]]
        segments[backward] = [theirs[op] for op in order.sequence[rest:]]
    starts = accumulate((len(each) for each in segments[:-1]), initial=0)
    return Order(tuple(op for each in segments for op in each), tuple(starts))
