"""What an order keeps from one segment for a later one."""

from __future__ import annotations

import msgspec

from fastsa.planner.explain.groups import Group, Share, grouped, kind
from fastsa.planner.explain.order import Lifetime, OpRun, RunOrder


class Kept(msgspec.Struct, frozen=True):
    """A value that a later segment reads as it was first made.

    `needed_by` is the first to read it there. `own_op_seconds` is what its own op takes: what
    recomputing it would cost at least, as long as all that op reads is there.
    """

    value: int
    bytes: int
    made_by: OpRun
    needed_by: OpRun
    recomputable: bool
    own_op_seconds: float


class KeptValues(msgspec.Struct, frozen=True):
    """All that is kept, largest first. `by_kind`: by op and module, with indices folded.

    The groups' seconds are of each op once, however many of its values are kept.
    """

    bytes: int
    values: tuple[Kept, ...]
    by_kind: tuple[Group, ...]


def of(order: RunOrder) -> KeptValues:
    """What an order keeps."""
    kept = [
        _kept(order, life, use) for life in order.lifetimes if (use := _crossing(order, life)) >= 0
    ]
    kept.sort(key=lambda each: (-each.bytes, each.value))
    return KeptValues(sum(each.bytes for each in kept), tuple(kept), _by_kind(kept))


def _crossing(order: RunOrder, life: Lifetime) -> int:
    """The first use in a later segment than the one of its birth; -1: none."""
    made_in = order.segment(life.birth)
    return next((use for use in life.uses if order.segment(use) > made_in), -1)


def _kept(order: RunOrder, life: Lifetime, use: int) -> Kept:
    op = order.op(life.birth)
    return Kept(
        life.value, life.bytes, order.run(life.birth), order.run(use), op.recomputable, op.seconds
    )


def _by_kind(kept: list[Kept]) -> tuple[Group, ...]:
    paid: set[int] = set()
    shares = []
    for each in kept:
        seconds = 0.0 if each.made_by.op in paid else each.own_op_seconds
        shares.append(Share(kind(each.made_by.target, each.made_by.module), each.bytes, seconds))
        paid.add(each.made_by.op)
    return grouped(shares)
