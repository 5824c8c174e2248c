"""An order of a graph's ops, with what is alive while each of them runs."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from itertools import accumulate

import msgspec

from fastsa.planner.graph import Graph, Op


class OpRun(msgspec.Struct, frozen=True):
    """One run of an op: at `position` of an order, in the segment of that name.

    `recomputation`: the op has run before.
    """

    position: int
    op: int
    target: str
    segment: str
    recomputation: bool
    name: str | None
    module: str | None
    source: str | None


class Lifetime(msgspec.Struct, frozen=True):
    """A storage from one production of a value to its last use before the next; ends included.

    `uses` are the positions that read it. A `result` is a graph output: it stays to the end.
    """

    value: int
    bytes: int
    birth: int
    death: int
    uses: tuple[int, ...]
    result: bool

    def next_use(self, position: int) -> int | None:
        """The first position after `position` that reads it."""
        later = bisect_right(self.uses, position)
        return self.uses[later] if later < len(self.uses) else None


class RunOrder:
    """A legal order; all bytes are those of the memory model in docs/formats.md."""

    def __init__(
        self, graph: Graph, sequence: Sequence[int], segment_starts: Sequence[int]
    ) -> None:
        self.graph = graph
        self.sequence = tuple(sequence)
        self.segment_starts = tuple(segment_starts)

    @cached_property
    def lifetimes(self) -> tuple[Lifetime, ...]:
        """Of every production of every value, in the order of birth."""
        found = sorted(self._lifetimes(), key=lambda each: (each.birth, each.value))
        return tuple(found)

    @cached_property
    def recomputations(self) -> tuple[int, ...]:
        """The positions at which an op runs that has run before."""
        seen: set[int] = set()
        again = []
        for position, op in enumerate(self.sequence):
            if op in seen:
                again.append(position)
            seen.add(op)
        return tuple(again)

    @cached_property
    def alive_bytes(self) -> tuple[int, ...]:
        """By position: bytes alive while its op runs, its workspace included."""
        change = [0] * (len(self.sequence) + 1)
        for each in self.lifetimes:
            change[each.birth] += each.bytes
            change[each.death + 1] -= each.bytes
        values = accumulate(change[:-1])
        return tuple(
            size + self.op(position).workspace_bytes for position, size in enumerate(values)
        )

    @cached_property
    def seconds(self) -> tuple[float, ...]:
        """By position: what its op takes."""
        return tuple(self.graph.ops[op].seconds for op in self.sequence)

    def alive(self, position: int) -> Iterator[Lifetime]:
        """What is alive while the op at `position` runs."""
        return (each for each in self.lifetimes if each.birth <= position <= each.death)

    def op(self, position: int) -> Op:
        """The op that runs there."""
        return self.graph.ops[self.sequence[position]]

    def segment(self, position: int) -> int:
        """The segment in which a position is."""
        return bisect_right(self.segment_starts, position) - 1

    def run(self, position: int) -> OpRun:
        """The run of an op at a position."""
        op = self.op(position)
        return OpRun(
            position=position,
            op=op.id,
            target=op.target,
            segment=self.graph.segments[self.segment(position)].name,
            recomputation=position in self._again,
            name=op.name,
            module=op.module,
            source=op.source,
        )

    @cached_property
    def _again(self) -> frozenset[int]:
        return frozenset(self.recomputations)

    def _lifetimes(self) -> Iterator[Lifetime]:
        births: dict[int, int] = {}
        uses: dict[int, list[int]] = {}
        for position in range(len(self.sequence)):
            op = self.op(position)
            for value in op.inputs:
                if value in births:  # else an input of the step: resident
                    uses[value].append(position)
            for value in op.outputs:
                if value in births:
                    yield self._lifetime(value, births[value], uses[value], last=False)
                births[value], uses[value] = position, []
        for value, birth in births.items():
            yield self._lifetime(value, birth, uses[value], last=True)

    def _lifetime(self, value: int, birth: int, uses: list[int], *, last: bool) -> Lifetime:
        result = last and value in self._results
        death = len(self.sequence) - 1 if result else max([birth, *uses[-1:]])
        size = self.graph.values[value].bytes
        return Lifetime(value, size, birth, death, tuple(uses), result)

    @cached_property
    def _results(self) -> frozenset[int]:
        return frozenset(self.graph.outputs)
