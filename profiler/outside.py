"""Outside: what the eager code between a region's forward and its backward does with memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec

from fastsa.planner.graph import Graph, Op
from fastsa.profiler.allocator import Event, net, peak_delta
from fastsa.profiler.capture import OUTSIDE


@dataclass(frozen=True)
class Outside:
    """Measured between forward and backward: bytes above the forward's end, what stayed of them,

    and which of the forward's outputs (by position) were released meanwhile.
    """

    peak_bytes: int
    net_bytes: int
    released: tuple[int, ...]


def observe(events: Sequence[Event], output_addresses: Sequence[int]) -> Outside:
    """Read the events between the end of a forward and the start of its backward."""
    gone = {event.address for event in events if event.bytes < 0}
    released = [i for i, address in enumerate(output_addresses) if address in gone]
    return Outside(peak_delta(list(events)), net(list(events)), tuple(released))


def outside_op(graph: Graph) -> Op:
    """The op that stands for the eager code. Graphs made by capture have exactly one."""
    return next(op for op in graph.ops if op.segment == OUTSIDE)


def with_outside(graph: Graph, output_values: Sequence[int | None], seen: Outside) -> Graph:
    """The graph with the outside op as measured.

    `output_values[i]` is the value of the forward's output i, None for a view of an input. The op
    makes the tangents and one value for all else the eager code keeps through the backward;
    outputs that the script lets go are not held to the step's end.
    """
    op = outside_op(graph)
    sizes = [value.bytes for value in graph.values]
    released = {output_values[i] for i in seen.released} - {None}
    freed = sum(sizes[value] for value in released if value is not None)
    *tangents, held = op.outputs
    tangent_bytes = sum(sizes[value] for value in tangents)
    kept = max(0, seen.net_bytes + freed - tangent_bytes)
    workspace = max(0, seen.peak_bytes - tangent_bytes - kept)
    replace = msgspec.structs.replace
    values, ops = list(graph.values), list(graph.ops)
    values[held] = replace(values[held], bytes=kept)
    ops[op.id] = replace(op, workspace_bytes=workspace)
    outputs = tuple(value for value in graph.outputs if value not in released)
    return replace(graph, values=tuple(values), ops=tuple(ops), outputs=outputs)
