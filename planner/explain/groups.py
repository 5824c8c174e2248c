"""Sums over things with something in common: the module, the source line, the kind of op."""

from __future__ import annotations

import re
from collections.abc import Iterable

import msgspec

NOWHERE = "(unknown)"  # the module or source of an op that has none
_INDEX = re.compile(r"(?<![^.])\d+(?![^.])")


class Share(msgspec.Struct, frozen=True):
    """What one thing adds to the group that `label` names. Seconds are predicted."""

    label: str
    bytes: int
    seconds: float = 0.0
    count: int = 1


class Group(msgspec.Struct, frozen=True):
    """`count` things of one label, with their bytes and seconds added up."""

    label: str
    count: int
    bytes: int
    seconds: float


def grouped(shares: Iterable[Share]) -> tuple[Group, ...]:
    """One group per label, the largest first: by bytes, then seconds."""
    members: dict[str, list[Share]] = {}
    for each in shares:
        members.setdefault(each.label, []).append(each)
    groups = [
        Group(
            label,
            sum(one.count for one in each),
            sum(one.bytes for one in each),
            float(sum(one.seconds for one in each)),
        )
        for label, each in members.items()
    ]
    return tuple(sorted(groups, key=lambda each: (-each.bytes, -each.seconds, each.label)))


def layers(module: str | None) -> str:
    """A module path with its indices folded: all of `blocks.0.mlp`, ... are `blocks.*.mlp`."""
    return _INDEX.sub("*", module) if module else NOWHERE


def kind(target: str, module: str | None) -> str:
    """An op by what it is and where, the same for all repeated layers."""
    return f"{target} in {layers(module)}" if module else target
