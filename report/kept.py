"""What autograd keeps from forward to backward: by node, by module, and alike modules together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence

import msgspec

from fastsa.planner.explain.groups import layers
from fastsa.records.profile import Saved


class SavedNode(msgspec.Struct, frozen=True):
    """What one kind of autograd node keeps for the backward."""

    node: str
    tensors: int
    bytes: int
    parameter_bytes: int


class KeptModule(msgspec.Struct, frozen=True):
    """What the nodes of a module keep, without parameters; the nodes with most of it first.

    `module` None: it is not known of which. `modules` counts those that are added up here.
    `wait_seconds`: the longest that one of the tensors waits until its node runs, None if unknown.
    """

    module: str | None
    modules: int
    nodes: tuple[str, ...]
    tensors: int
    bytes: int
    wait_seconds: float | None


def by_node(saved: Iterable[Saved]) -> tuple[SavedNode, ...]:
    """One line per kind of node, the largest first."""
    nodes = defaultdict[str, list[Saved]](list)
    for each in saved:
        nodes[each.node].append(each)
    summaries = [
        SavedNode(
            node,
            len(held),
            sum(each.bytes for each in held if not each.parameter),
            sum(each.bytes for each in held if each.parameter),
        )
        for node, held in nodes.items()
    ]
    return tuple(sorted(summaries, key=lambda each: (-each.bytes, each.node)))


def by_module(saved: Iterable[Saved]) -> tuple[KeptModule, ...]:
    """One line per module, the largest first; empty if no module is known."""
    return _grouped(saved, lambda module: module)


def by_layer(saved: Iterable[Saved]) -> tuple[KeptModule, ...]:
    """The same with repeated layers together: all of `blocks.0.mlp`, ... are `blocks.*.mlp`."""
    return _grouped(saved, lambda module: layers(module) if module else None)


def _grouped(
    saved: Iterable[Saved], name: Callable[[str | None], str | None]
) -> tuple[KeptModule, ...]:
    members = defaultdict[str | None, list[Saved]](list)
    for each in saved:
        if not each.parameter:
            members[name(each.module)].append(each)
    if not any(members):
        return ()
    lines = [_line(module, held) for module, held in members.items()]
    return tuple(sorted(lines, key=lambda each: (-each.bytes, each.module or "")))


def _line(module: str | None, held: Sequence[Saved]) -> KeptModule:
    sizes = defaultdict[str, int](int)
    for each in held:
        sizes[each.node] += each.bytes
    waits = [
        each.used_seconds - (each.made_seconds or 0.0)
        for each in held
        if each.used_seconds is not None
    ]
    return KeptModule(
        module,
        len({each.module for each in held}),
        tuple(sorted(sizes, key=lambda node: (-sizes[node], node))),
        len(held),
        sum(each.bytes for each in held),
        max(waits, default=None),
    )
