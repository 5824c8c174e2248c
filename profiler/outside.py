"""Outside: what the eager code between a region's forward and its backward does with memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import torch

from fastsa.planner.graph import Graph, Op
from fastsa.profiler.allocator import Event, net, peak_delta
from fastsa.profiler.capture import OUTSIDE


@dataclass(frozen=True)
class Outside:
    """Measured between a forward and its backward.

    `peak_bytes` above the forward's end and what stayed of them, `net_bytes`; which of the
    forward's outputs (by position) were released meanwhile; the bytes behind each tangent.
    """

    peak_bytes: int
    net_bytes: int
    released: tuple[int, ...]
    tangent_bytes: tuple[int, ...]


def observe(
    events: Sequence[Event], output_addresses: Sequence[int], tangent_bytes: Sequence[int]
) -> Outside:
    """Read the events between the end of a forward and the start of its backward."""
    gone = {event.address for event in events if event.bytes < 0}
    released = [i for i, address in enumerate(output_addresses) if address in gone]
    return Outside(
        peak_delta(list(events)), net(list(events)), tuple(released), tuple(tangent_bytes)
    )


def storage_sizes(tensors: Sequence[object]) -> tuple[int, ...]:
    """Bytes of the storage behind each tensor; 0 where an earlier one has the same storage."""
    seen: set[int] = set()
    sizes = []
    for tensor in tensors:
        assert isinstance(tensor, torch.Tensor)
        storage = tensor.untyped_storage()
        sizes.append(0 if storage.data_ptr() in seen else int(storage.nbytes()))
        seen.add(storage.data_ptr())
    return tuple(sizes)


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
    for value, size in zip(tangents, seen.tangent_bytes, strict=True):
        sizes[value] = size
    tangent_bytes = sum(seen.tangent_bytes)
    kept = max(0, seen.net_bytes + freed - tangent_bytes)
    workspace = max(0, seen.peak_bytes - tangent_bytes - kept)
    replace = msgspec.structs.replace
    sizes[held] = kept
    values = tuple(
        replace(value, bytes=size) for value, size in zip(graph.values, sizes, strict=True)
    )
    ops = list(graph.ops)
    ops[op.id] = replace(op, workspace_bytes=workspace)
    outputs = tuple(value for value in graph.outputs if value not in released)
    return replace(graph, values=values, ops=tuple(ops), outputs=outputs)
