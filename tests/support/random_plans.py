"""Legal plans at random: any topological order, any values forgotten, ops run many times."""

from __future__ import annotations

import random

from fastsa.planner.graph import Graph
from fastsa.planner.plan import Plan, Planner
from fastsa.planner.solve import plan


def random_plan(graph: Graph, chance: random.Random, forget: float = 0.3) -> Plan:
    """A legal plan of `graph`; before each op some of what it reads is made again."""
    producer = {value: op.id for op in graph.ops for value in op.outputs}
    sequence: list[int] = []
    starts: list[int] = []
    for segment in range(len(graph.segments)):
        starts.append(len(sequence))
        region = graph.segments[segment].region
        for op in _random_order(graph, segment, producer, chance):
            for value in graph.ops[op].inputs:
                if value in producer:
                    _again(graph, producer, sequence, producer[value], region, chance, forget)
            sequence.append(op)
    return measured(graph, sequence, starts)


def _random_order(
    graph: Graph, segment: int, producer: dict[int, int], chance: random.Random
) -> list[int]:
    ops = [op.id for op in graph.ops if op.segment == segment]
    inside = set(ops)
    waiting = {
        i: {producer[v] for v in graph.ops[i].inputs if producer.get(v) in inside} for i in ops
    }
    order = []
    while waiting:
        ready = [i for i, needs in waiting.items() if not needs]
        picked = ready[0] if chance.random() < 0.7 else chance.choice(ready)
        order.append(picked)
        del waiting[picked]
        for needs in waiting.values():
            needs.discard(picked)
    return order


def _again(
    graph: Graph,
    producer: dict[int, int],
    sequence: list[int],
    op: int,
    region: int,
    chance: random.Random,
    forget: float,
) -> None:
    """Perhaps run `op` again here, and first perhaps what it reads."""
    recomputable = graph.ops[op].recomputable
    if not recomputable or graph.segments[graph.ops[op].segment].region != region:
        return
    if op not in sequence or chance.random() >= forget:
        return
    for value in graph.ops[op].inputs:
        if value in producer:
            _again(graph, producer, sequence, producer[value], region, chance, forget)
    sequence.append(op)


def measured(graph: Graph, sequence: list[int], starts: list[int]) -> Plan:
    """A plan of this order."""
    base = plan(graph, (1 << 63) - 1, time_limit=0.0, iterations=0)
    return Plan(
        schema="fastsa.plan/1",
        graph=graph.hash(),
        status="feasible",
        step_budget_bytes=(1 << 63) - 1,
        sequence=tuple(sequence),
        segment_starts=tuple(starts),
        peak_bytes=peak(graph, sequence),
        seconds=float(sum(graph.ops[op].seconds for op in sequence)),
        base_peak_bytes=base.base_peak_bytes,
        base_seconds=base.base_seconds,
        lower_bound_seconds=0.0,
        lower_bound_assumes="nothing",
        minimum_budget_bytes=base.minimum_budget_bytes,
        minimum_budget_op=base.minimum_budget_op,
        planner=Planner("test", "random", 0, 1, 0.0, 0),
    )


def peak(graph: Graph, sequence: list[int]) -> int:
    """The memory model of docs/formats.md, written plainly."""
    births: dict[int, int] = {}
    spans: list[tuple[int, int, int]] = []  # value, first and last position
    last: dict[int, int] = {}
    for position, op in enumerate(sequence):
        for value in graph.ops[op].inputs:
            last[value] = position
        for value in graph.ops[op].outputs:
            if value in births:
                spans.append((value, births[value], last[value]))
            births[value] = last[value] = position
    for value, birth in births.items():
        end = len(sequence) - 1 if value in graph.outputs else last[value]
        spans.append((value, birth, end))
    change = [0] * (len(sequence) + 1)
    for value, first, end in spans:
        change[first] += graph.values[value].bytes
        change[end + 1] -= graph.values[value].bytes
    alive = highest = 0
    for position, op in enumerate(sequence):
        alive += change[position]
        highest = max(highest, alive + graph.ops[op].workspace_bytes)
    return highest
