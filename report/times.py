"""Where a profile's time goes: by op, by module, by backward node."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from typing import Literal

import msgspec

from fastsa.planner.explain.groups import layers
from fastsa.records.profile import NodeTime, OpTime, Profile
from fastsa.records.timeline import PHASES, Phase

Origin = Literal["step", "alone"]


class TimeOf(msgspec.Struct, frozen=True):
    """The seconds and calls of one op or module, and the seconds by phase.

    `source` is the line of an op with most of the seconds.
    """

    label: str | None
    calls: int
    seconds: float
    phases: dict[Phase, float]
    source: str | None = None


def of_ops(profile: Profile) -> tuple[tuple[OpTime, ...], Origin]:
    """The ops' times in the recorded step; without them, those of the graphs' ops run alone."""
    if profile.ops:
        return profile.ops, "step"
    return tuple(_alone(profile)), "alone"


def _alone(profile: Profile) -> Iterator[OpTime]:
    for region in profile.regions:
        for op in region.graph.ops:
            name = region.graph.segments[op.segment].name
            phase: Phase = "backward" if name.startswith("b") else "forward"
            yield OpTime(op.target, phase, op.module, op.source, 1, op.seconds)


def by_op(ops: Iterable[OpTime]) -> tuple[TimeOf, ...]:
    """One line per op, the slowest first."""
    return _grouped(ops, lambda each: each.op)


def by_module(ops: Iterable[OpTime]) -> tuple[TimeOf, ...]:
    """One line per module, the slowest first; empty if no module is known."""
    found = _grouped(ops, lambda each: each.module)
    return found if any(each.label for each in found) else ()


def by_layer(ops: Iterable[OpTime]) -> tuple[TimeOf, ...]:
    """The same with repeated layers together: all of `blocks.0.mlp`, ... are `blocks.*.mlp`."""
    found = _grouped(ops, lambda each: layers(each.module) if each.module else None)
    return found if any(each.label for each in found) else ()


def by_node(nodes: Iterable[NodeTime]) -> tuple[TimeOf, ...]:
    """One line per kind of backward node, the slowest first."""
    return _grouped(
        (OpTime(n.node, "backward", n.module, None, n.calls, n.seconds) for n in nodes),
        lambda each: each.op,
    )


def _grouped(ops: Iterable[OpTime], name: Callable[[OpTime], str | None]) -> tuple[TimeOf, ...]:
    members = defaultdict[str | None, list[OpTime]](list)
    for each in ops:
        members[name(each)].append(each)
    lines = [
        TimeOf(
            label,
            sum(each.calls for each in held),
            float(sum(each.seconds for each in held)),
            _by_phase(held),
            max(held, key=lambda each: each.seconds).source,
        )
        for label, held in members.items()
    ]
    return tuple(sorted(lines, key=lambda each: (-each.seconds, each.label or "")))


def _by_phase(ops: Iterable[OpTime]) -> dict[Phase, float]:
    seconds = dict.fromkeys(PHASES, 0.0)
    for each in ops:
        seconds[each.phase] += each.seconds
    return {phase: spent for phase, spent in seconds.items() if spent}
