"""FORMATS.md's memory model and legality, word for word and as slow as that is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan


def peak(graph: Graph, sequence: Sequence[int]) -> int:
    """The largest sum of bytes alive over all positions."""
    return max(alive(graph, sequence), default=0)


def alive(graph: Graph, sequence: Sequence[int]) -> list[int]:
    """Bytes alive while the op at each position runs."""
    spans = list(lifetimes(graph, sequence))
    return [
        graph.ops[op].workspace_bytes
        + sum(size for birth, death, size in spans if birth <= position <= death)
        for position, op in enumerate(sequence)
    ]


def lifetimes(graph: Graph, sequence: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Birth, death and bytes of each value each time it is made."""
    for value in graph.values:
        made = [k for k, op in enumerate(sequence) if value.id in graph.ops[op].outputs]
        used = [k for k, op in enumerate(sequence) if value.id in graph.ops[op].inputs]
        for i, birth in enumerate(made):
            last = i + 1 == len(made)
            until = len(sequence) if last else made[i + 1]
            death = max([birth, *(k for k in used if birth <= k < until)])
            if last and value.id in graph.outputs:
                death = len(sequence) - 1
            yield birth, death, value.bytes


def seconds(graph: Graph, sequence: Sequence[int]) -> float:
    """What the sequence takes."""
    return float(sum(graph.ops[op].seconds for op in sequence))


def assert_legal(graph: Graph, plan: Plan) -> None:
    """Each op runs, first in its own segment; again only where and if it may; inputs are there."""
    produced = {v for op in graph.ops for v in op.outputs}
    made: set[int] = set()
    ran: set[int] = set()
    assert len(plan.segment_starts) == len(graph.segments)
    assert list(plan.segment_starts) == sorted(plan.segment_starts)
    for k, run in enumerate(plan.sequence):
        op = graph.ops[run]
        segment = max(i for i, start in enumerate(plan.segment_starts) if start <= k)
        if run in ran:
            assert op.recomputable
            assert graph.segments[segment].region == graph.segments[op.segment].region
        else:
            assert segment == op.segment
        assert all(v in made for v in op.inputs if v in produced)
        ran.add(run)
        made.update(op.outputs)
    assert ran == set(range(len(graph.ops)))
