"""Schedules in stages, the space in which Checkmate and the retention intervals search.

Stage t ends with the first run of op t; before it, ops with lower ids may run again, in the order
of their ids (Jain et al., MLSys 2020, section 4.2). What a stage reads is kept into it from the
stage before, or made again in it. So the values kept into each stage say it all.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet

from fastsa.planner import _core
from fastsa.planner.graph import Graph


class Stages:
    """A graph's stages, and what may run in which.

    `producer` and `users` are by value; `producer` is -1 for what is always there.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.count = len(graph.ops)
        self.producer = [-1] * len(graph.values)
        self.users: list[list[int]] = [[] for _ in graph.values]
        for op in graph.ops:
            for value in op.outputs:
                self.producer[value] = op.id
            for value in op.inputs:
                self.users[value].append(op.id)
        self._region = [graph.segments[op.segment].region for op in graph.ops]
        self.results = frozenset(v for v in graph.outputs if self.producer[v] >= 0)

    def may_run(self, stage: int, op: int) -> bool:
        """Whether the op may run in the stage, for the first time or again."""
        return op == stage or (op < stage and self.may_run_again(stage, op))

    def may_run_again(self, stage: int, op: int) -> bool:
        """Whether the op, which ran before, may run in the stage."""
        return self.graph.ops[op].recomputable and self._region[op] == self._region[stage]

    def runs(self, stage: int) -> list[int]:
        """The ops that may run in the stage, in order."""
        return [op for op in range(stage + 1) if self.may_run(stage, op)]

    def inputs(self, op: int) -> Iterable[int]:
        """What the op reads of the values that are not always there."""
        return (v for v in self.graph.ops[op].inputs if self.producer[v] >= 0)

    def order(self, advised: Sequence[AbstractSet[int]]) -> _core.Order:
        """The legal order that keeps into each stage the values advised, as far as they are used.

        `advised` is by stage. From the last stage to the first: what is wanted is kept if that is
        advised, or if it may not be made in the stage; else it is made.
        """
        stages: list[list[int]] = []
        wanted: AbstractSet[int] = self.results
        for stage in reversed(range(self.count)):
            ran, wanted = self._stage(stage, wanted, advised[stage])
            stages.append(sorted(ran))
        return self._joined(stages[::-1])

    def _stage(
        self, stage: int, wanted: AbstractSet[int], advised: AbstractSet[int]
    ) -> tuple[set[int], set[int]]:
        ran: set[int] = set()
        kept: set[int] = set()
        pending: list[int] = []

        def run(op: int) -> None:
            if op not in ran:
                ran.add(op)
                pending.append(op)

        def provide(values: Iterable[int]) -> None:
            for value in values:
                op = self.producer[value]
                if op == stage or (value not in advised and self.may_run(stage, op)):
                    run(op)
                else:
                    kept.add(value)

        run(stage)
        provide(wanted)
        while pending:
            provide(self.inputs(pending.pop()))
        # Made again for another of the op's outputs: what was there before is not read any more.
        return ran, kept - {v for op in ran for v in self.graph.ops[op].outputs}

    def _joined(self, stages: Sequence[Sequence[int]]) -> _core.Order:
        sequence: list[int] = []
        starts: list[int] = []
        for op, ran in zip(self.graph.ops, stages, strict=True):
            starts += [len(sequence)] * (op.segment + 1 - len(starts))
            sequence += ran
        starts += [len(sequence)] * (len(self.graph.segments) - len(starts))
        return _core.Order(sequence, starts)
