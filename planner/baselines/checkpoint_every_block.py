"""What people do by hand: `torch.utils.checkpoint` around every block of the model.

Between forward and backward only what crosses the blocks' boundaries is kept; what a block computes
inside is computed again in the backward, each op just before it is first needed (checkpoint would
run the whole block at once, which takes no less memory). A block is what the ops' modules repeat
(`layers.0`, `layers.1`, ...) or, in a graph without modules, one of about sqrt(n) stretches of the
forward between two of its narrowest places, the best known rule for a chain of n ops (Chen et al.,
2016). It takes no budget into account, so the plan may miss it, and no time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import groupby

from fastsa.planner import _core
from fastsa.planner.baselines.baseline import Effort, Found
from fastsa.planner.baselines.staged import Stages
from fastsa.planner.graph import Graph, Op
from fastsa.planner.native import native

Block = Sequence[Op]


def find(graph: Graph, budget_bytes: int, effort: Effort) -> Found:
    """The order that keeps only what crosses a block's boundary, whatever the budget."""
    stages = Stages(graph)
    dropped = [value for block in blocks(graph) for value in _inside(stages, block)]
    return Found(_core.just_in_time(native(graph), dropped))


def blocks(graph: Graph) -> list[Block]:
    """The blocks of each region's first segment, the forward."""
    found: list[Block] = []
    for forward in _forwards(graph):
        found += _by_module(forward) or _by_narrow_cuts(graph, forward)
    return found


def _forwards(graph: Graph) -> Iterator[Block]:
    regions: set[int] = set()
    for index, segment in enumerate(graph.segments):
        ops = [op for op in graph.ops if op.segment == index]
        if segment.region not in regions and ops:
            regions.add(segment.region)
            yield ops


def _inside(stages: Stages, block: Block) -> Iterator[int]:
    """Values that only the block itself reads, in its own segment."""
    ids = {op.id for op in block}
    for op in block:
        for value in op.outputs:
            readers = (stages.graph.ops[user] for user in stages.users[value])
            here = all(user.id in ids for user in readers if user.segment == op.segment)
            if here and value not in stages.results:
                yield value


def _by_module(forward: Block) -> list[Block]:
    """Runs of ops whose module's path has the same start up to its first number."""
    runs = [(name, list(ops)) for name, ops in groupby(forward, _repeated)]
    return [ops for name, ops in runs if name]


def _repeated(op: Op) -> str:
    parts = (op.module or "").split(".")
    numbers = (i for i, part in enumerate(parts) if part.isdecimal())
    last = next(numbers, None)
    return "" if last is None else ".".join(parts[: last + 1])


def _by_narrow_cuts(graph: Graph, forward: Block) -> list[Block]:
    """About sqrt(n) stretches, each ending where the fewest bytes go on, near its even share."""
    crossing = _crossing(graph, forward)
    count = max(1, round(math.sqrt(len(forward))))
    share = len(forward) / count
    cuts = [0]
    for i in range(1, count):
        near = range(max(cuts[-1] + 1, math.ceil((i - 0.5) * share)), math.ceil((i + 0.5) * share))
        cuts.append(min(near, key=lambda place: (crossing[place], abs(place - i * share))))
    return [forward[a:b] for a, b in zip(cuts, [*cuts[1:], len(forward)], strict=True)]


def _crossing(graph: Graph, forward: Block) -> list[int]:
    """By place in the forward: bytes made before it that an op at it or later reads."""
    place = {op.id: i for i, op in enumerate(forward)}
    made = {value: place[op.id] for op in forward for value in op.outputs}
    last = {value: place[op.id] for op in forward for value in op.inputs if value in made}
    changes = [0] * (len(forward) + 1)
    for value, reader in last.items():
        changes[made[value] + 1] += graph.values[value].bytes
        changes[reader + 1] -= graph.values[value].bytes
    crossing = [0]
    for change in changes[1:]:
        crossing.append(crossing[-1] + change)
    return crossing
