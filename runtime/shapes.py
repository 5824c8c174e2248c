"""Shapes: a region met again with other sizes runs in the order it was planned in, where that fits.

The order of a plan is legal for every graph with the same ops and the same wiring. If no storage
is larger than in the planned graph, neither is its peak.
"""

from __future__ import annotations

import hashlib

import msgspec

from fastsa.planner.graph import Graph

MOST_PLANNED = 8
"""Of one region: sizes that are planned; further larger ones run in the order of the largest."""


class Shapes:
    """The sizes that each captured region has been planned for in this job."""

    def __init__(self) -> None:
        self._planned: dict[str, list[tuple[int, tuple[int, ...], str]]] = {}

    def add(self, captured: Graph) -> None:
        """A captured graph has got a plan of its own."""
        sizes = tuple(value.bytes for value in captured.values)
        known = self._planned.setdefault(structure(captured), [])
        if all(name != captured.hash() for _, _, name in known):
            known.append((sum(sizes), sizes, captured.hash()))

    def __len__(self) -> int:
        """How many regions there are, whatever their sizes."""
        return len(self._planned)

    def __contains__(self, captured: object) -> bool:
        """Whether a region has been planned, with whatever sizes."""
        return isinstance(captured, Graph) and structure(captured) in self._planned

    def plan_of(self, captured: Graph) -> str | None:
        """The captured hash whose plan a graph may run under without a higher peak.

        The nearest that is nowhere smaller; once too many have been planned, the largest there is.
        """
        sizes = tuple(value.bytes for value in captured.values)
        known = sorted(self._planned.get(structure(captured), ()))
        for _, theirs, name in known:
            if all(mine <= their for mine, their in zip(sizes, theirs, strict=True)):
                return name
        return known[-1][2] if len(known) >= MOST_PLANNED else None


def structure(graph: Graph) -> str:
    """sha256 (hex) of all that decides which orders are legal: a graph without its sizes."""
    ops = [(op.target, op.segment, op.inputs, op.outputs, op.recomputable) for op in graph.ops]
    regions = [segment.region for segment in graph.segments]
    return hashlib.sha256(msgspec.json.encode([regions, ops, graph.outputs])).hexdigest()
