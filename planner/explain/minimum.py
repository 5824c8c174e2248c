"""The minimum budget, taken apart: what the op that sets it needs at once in any order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from fastsa.planner.graph import Graph, Op

Role = Literal["read", "written", "workspace", "result"]
When = Literal["while it runs first", "at the end of the step"]


class MinimumPart(msgspec.Struct, frozen=True):
    """Bytes that are there in every order; `result`: a graph output that is already made.

    `op` is the one that makes the value, or has the workspace, which has no `value`.
    """

    role: Role
    bytes: int
    value: int | None
    op: int
    target: str
    module: str | None
    source: str | None


class Minimum(msgspec.Struct, frozen=True):
    """The proven minimum budget and the op that sets it.

    `parts`, largest first, add up to `bytes`; they are empty and `when` is None if the planner has
    proven more than what the op touches and the results that must be there. At the end of the step
    all results are there, and `op` is the one that adds least to them of those that may run last.
    """

    bytes: int
    op: int
    target: str | None
    segment: str | None
    name: str | None
    module: str | None
    source: str | None
    when: When | None
    parts: tuple[MinimumPart, ...]


def of(graph: Graph, bytes: int, op: int) -> Minimum:
    """Take apart a minimum budget of `bytes` that `op` sets (-1: there are no ops)."""
    if op < 0:
        return Minimum(bytes, op, None, None, None, None, None, None, ())
    setting = graph.ops[op]
    when, parts = _explained(graph, setting, bytes)
    return Minimum(
        bytes=bytes,
        op=op,
        target=setting.target,
        segment=graph.segments[setting.segment].name,
        name=setting.name,
        module=setting.module,
        source=setting.source,
        when=when,
        parts=parts,
    )


def _explained(graph: Graph, op: Op, bytes: int) -> tuple[When | None, tuple[MinimumPart, ...]]:
    held = _Held(graph)
    readings: tuple[tuple[When, list[MinimumPart]], ...] = (
        ("while it runs first", held.while_running(op)),
        ("at the end of the step", held.at_the_end(op)),
    )
    for when, parts in readings:
        if sum(part.bytes for part in parts) == bytes:
            parts.sort(key=lambda part: -part.bytes)
            return when, tuple(part for part in parts if part.bytes)
    return None, ()


class _Held:
    """What must be there, as in planner/core/minimum_budget.cpp."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.producer = {value: op for op in graph.ops for value in op.outputs}
        self.results = [value for value in graph.outputs if value in self.producer]
        self.last_segment = {
            segment.region: position for position, segment in enumerate(graph.segments)
        }

    def while_running(self, op: Op) -> list[MinimumPart]:
        """What `op` touches in its first run, and the results that can only be there already."""
        there = [value for value in self.results if self._last_run(value) < op.segment]
        return self._parts(op, there)

    def at_the_end(self, op: Op) -> list[MinimumPart]:
        """What `op` touches in the last run of all, when every result is there."""
        return self._parts(op, self.results)

    def _last_run(self, value: int) -> int:
        """The last segment in which the value may be made."""
        op = self.producer[value]
        if not op.recomputable:
            return op.segment
        return self.last_segment[self.graph.segments[op.segment].region]

    def _parts(self, op: Op, there: list[int]) -> list[MinimumPart]:
        touched = [
            *self._values("read", (value for value in op.inputs if value not in there)),
            *self._values("written", (value for value in op.outputs if value not in there)),
        ]
        workspace = _part("workspace", op.workspace_bytes, None, op)
        return [*touched, *self._values("result", there), workspace]

    def _values(self, role: Role, values: Iterable[int]) -> list[MinimumPart]:
        return [
            _part(role, self.graph.values[value].bytes, value, self.producer[value])
            for value in values
            if value in self.producer  # else an input of the step: resident
        ]


def _part(role: Role, bytes: int, value: int | None, op: Op) -> MinimumPart:
    return MinimumPart(role, bytes, value, op.id, op.target, op.module, op.source)
