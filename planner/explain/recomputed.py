"""What an order runs again: which ops, in which chains, for which bytes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable

import msgspec

from fastsa.planner.explain.groups import NOWHERE, Group, Share, grouped, kind, layers
from fastsa.planner.explain.order import Lifetime, OpRun, RunOrder


class Recomputation(msgspec.Struct, frozen=True):
    """One more run of an op.

    `freed_bytes`: its values that are read after this run and were not alive just before it.
    """

    run: OpRun
    seconds: float
    freed_bytes: int


class Chain(msgspec.Struct, frozen=True):
    """Recomputations of which each but the first reads what another of them makes, in order.

    Seconds and bytes are their sums. `needed_by`: the first run outside the chain that reads it.
    """

    seconds: float
    freed_bytes: int
    runs: tuple[OpRun, ...]
    needed_by: OpRun | None


class Recomputed(msgspec.Struct, frozen=True):
    """All that runs again, dearest first. In the groups, bytes are those freed, counts are runs.

    `by_kind`: by op and module, with indices folded.
    """

    count: int
    seconds: float
    freed_bytes: int
    runs: tuple[Recomputation, ...]
    chains: tuple[Chain, ...]
    by_kind: tuple[Group, ...]
    by_target: tuple[Group, ...]
    by_module: tuple[Group, ...]
    by_layer: tuple[Group, ...]
    by_source: tuple[Group, ...]


def of(order: RunOrder) -> Recomputed:
    """What an order runs again."""
    remade = _Remade(order)
    runs = {position: remade.recomputation(position) for position in order.recomputations}

    def by(label: Callable[[OpRun], str]) -> tuple[Group, ...]:
        groups = grouped(
            Share(label(each.run), each.freed_bytes, each.seconds) for each in runs.values()
        )
        return tuple(sorted(groups, key=lambda each: (-each.seconds, -each.bytes, each.label)))

    return Recomputed(
        count=len(runs),
        seconds=float(sum(each.seconds for each in runs.values())),
        freed_bytes=sum(each.freed_bytes for each in runs.values()),
        runs=tuple(
            sorted(runs.values(), key=lambda r: (-r.seconds, -r.freed_bytes, r.run.position))
        ),
        chains=remade.chains(runs),
        by_kind=by(lambda run: kind(run.target, run.module)),
        by_target=by(lambda run: run.target),
        by_module=by(lambda run: run.module or NOWHERE),
        by_layer=by(lambda run: layers(run.module)),
        by_source=by(lambda run: run.source or NOWHERE),
    )


class _Remade:
    """The lifetimes that begin at a recomputation."""

    def __init__(self, order: RunOrder) -> None:
        self.order = order
        self.made = defaultdict[int, list[Lifetime]](list)
        self.absent: set[tuple[int, int]] = set()
        last_death: dict[int, int] = {}
        again = set(order.recomputations)
        for life in order.lifetimes:
            if life.birth in again:
                self.made[life.birth].append(life)
                if last_death.get(life.value, -1) < life.birth - 1:
                    self.absent.add((life.birth, life.value))
            last_death[life.value] = life.death

    def recomputation(self, position: int) -> Recomputation:
        freed = sum(
            life.bytes
            for life in self.made[position]
            if (life.uses or life.result) and (position, life.value) in self.absent
        )
        return Recomputation(self.order.run(position), self.order.op(position).seconds, freed)

    def chains(self, runs: dict[int, Recomputation]) -> tuple[Chain, ...]:
        chains = [self._chain(members, runs) for members in self._connected(runs)]
        return tuple(sorted(chains, key=lambda c: (-c.seconds, -c.freed_bytes, c.runs[0].position)))

    def _connected(self, positions: Iterable[int]) -> Iterable[list[int]]:
        """The recomputations, parted into those that feed one another."""
        head = {position: position for position in positions}

        def find(position: int) -> int:
            while head[position] != position:
                head[position] = head[head[position]]
                position = head[position]
            return position

        for position in head:
            for use in self._uses(position):
                if use in head:
                    first, second = sorted((find(position), find(use)))
                    head[second] = first
        members = defaultdict[int, list[int]](list)
        for position in head:
            members[find(position)].append(position)
        return members.values()

    def _uses(self, position: int) -> Iterable[int]:
        return (use for life in self.made[position] for use in life.uses)

    def _chain(self, members: list[int], runs: dict[int, Recomputation]) -> Chain:
        outside = {use for position in members for use in self._uses(position)} - set(members)
        return Chain(
            float(sum(runs[position].seconds for position in members)),
            sum(runs[position].freed_bytes for position in members),
            tuple(runs[position].run for position in members),
            self.order.run(min(outside)) if outside else None,
        )
