"""The moment of the peak: which op runs there, what is alive, and why."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import msgspec

from fastsa.planner.explain.groups import NOWHERE, Group, Share, grouped, layers
from fastsa.planner.explain.order import Lifetime, OpRun, RunOrder

NEAR = 0.99  # of the peak

Why = Literal["written", "read", "kept", "waiting", "result"]


class LiveValue(msgspec.Struct, frozen=True):
    """A value alive at the peak.

    `why`: the op that runs there has `written` or `read` it; or it is `kept` for a later segment
    than the one that made it, is `waiting` for its next use in the same segment, or is a `result`
    of the step that nothing reads any more. `next_use` is after the peak.
    """

    value: int
    bytes: int
    why: Why
    made_by: OpRun
    next_use: OpRun | None


class Peak(msgspec.Struct, frozen=True):
    """The first moment at which most is alive: `values` and `workspace_bytes` add up to `bytes`.

    The groups add up to `bytes` as well: a value counts for the op that made it, the workspace for
    the op that runs. `by_layer` is `by_module` with indices folded. `near_positions` counts the
    positions with at least 99% of `bytes`. Without ops there is no `op`.
    """

    bytes: int
    op: OpRun | None
    workspace_bytes: int
    values: tuple[LiveValue, ...]
    near_positions: int
    by_reason: tuple[Group, ...]
    by_target: tuple[Group, ...]
    by_module: tuple[Group, ...]
    by_layer: tuple[Group, ...]
    by_source: tuple[Group, ...]


def of(order: RunOrder) -> Peak:
    """The peak of an order."""
    sizes = order.alive_bytes
    if not sizes:
        return Peak(0, None, 0, (), 0, (), (), (), (), ())
    bytes = max(sizes)
    position = sizes.index(bytes)
    values = [_value(order, each, position) for each in order.alive(position)]
    values.sort(key=lambda each: (-each.bytes, each.value))
    run, workspace = order.run(position), order.op(position).workspace_bytes

    def by(label: Callable[[OpRun], str]) -> tuple[Group, ...]:
        shares = [Share(label(each.made_by), each.bytes) for each in values]
        return grouped([*shares, *_workspace(label(run), workspace)])

    return Peak(
        bytes=bytes,
        op=run,
        workspace_bytes=workspace,
        values=tuple(values),
        near_positions=sum(size >= NEAR * bytes for size in sizes),
        by_reason=grouped(
            [
                *(Share(_reason(each), each.bytes) for each in values),
                *_workspace("workspace of the op itself", workspace),
            ]
        ),
        by_target=by(lambda made_by: made_by.target),
        by_module=by(lambda made_by: made_by.module or NOWHERE),
        by_layer=by(lambda made_by: layers(made_by.module)),
        by_source=by(lambda made_by: made_by.source or NOWHERE),
    )


def made_by(target: str, peak: Peak) -> int:
    """Bytes at the peak that ops of one target have made, or take as workspace."""
    return sum(group.bytes for group in peak.by_target if group.label == target)


def _workspace(label: str, bytes: int) -> list[Share]:
    return [Share(label, bytes, count=0)] if bytes else []


def _value(order: RunOrder, life: Lifetime, position: int) -> LiveValue:
    next_use = life.next_use(position)
    return LiveValue(
        life.value,
        life.bytes,
        _why(order, life, position),
        order.run(life.birth),
        None if next_use is None else order.run(next_use),
    )


def _why(order: RunOrder, life: Lifetime, position: int) -> Why:
    if life.birth == position:
        return "written"
    if position in life.uses:
        return "read"
    next_use = life.next_use(position)
    if next_use is None:
        return "result"
    return "kept" if order.segment(life.birth) < order.segment(next_use) else "waiting"


def _reason(value: LiveValue) -> str:
    match value.why:
        case "written":
            return "written by the op itself"
        case "read":
            return "read by the op itself"
        case "result":
            return "results of the step, held to its end"
        case "kept":
            assert value.next_use
            return f"kept from {value.made_by.segment} for {value.next_use.segment}"
        case "waiting":
            made = "recomputed" if value.made_by.recomputation else "made"
            return f"{made} in {value.made_by.segment}, read there later"
