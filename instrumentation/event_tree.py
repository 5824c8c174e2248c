"""Event tree: one walk over what torch's profiler has recorded, in the order of time.

Source: `experimental_event_tree` (torch/csrc/profiler/collection.h): allocations are nested in ops,
and ops in Python frames.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

import torch
from torch._C._profiler import _EventType, _RecordFunctionFast

C = TypeVar("C")

RELEASED = "released "
_PREFIX = "fastsa:"
PLUMBING = frozenset(
    f"aten::{name}"
    for name in ("empty", "empty_strided", "empty_like", "resize_", "new_empty", "set_", "detach")
)
"""Ops that allocate or wrap on behalf of the op that calls them."""


def mark(name: str) -> AbstractContextManager[object]:
    """Context manager: a moment or span of ours in the recording, under a name."""
    context: AbstractContextManager[object] = _RecordFunctionFast(_PREFIX + name)
    return context


def mark_release(address: int) -> None:
    """Record that a block is released whose allocation the CPU allocator does not know."""
    with mark(f"{RELEASED}{address}"):
        pass


def mark_of(node: Any) -> str | None:
    """The name of a mark of ours, None for any other node."""
    if node.tag != _EventType.TorchOp or not node.name.startswith(_PREFIX):
        return None
    name: str = node.name.removeprefix(_PREFIX)
    return name


def allocation_on(node: Any, device: torch.device) -> Any:
    """The fields of an allocation or release on `device`, None for any other node.

    They are `alloc_size` (bytes, negative for a release), `ptr` and `total_allocated`.
    """
    if node.tag != _EventType.Allocation:
        return None
    fields = node.extra_fields
    if fields.device.type != device.type:
        return None
    if device.index is not None and fields.device.index != device.index:
        return None
    return fields


def walk(roots: Iterable[Any], context: C, visit: Callable[[Any, C], C]) -> None:
    """Visit every node before its children, roots in the order of time.

    `visit` gets a node and what it is inside of, and returns what its children are inside of.
    """
    ordered = sorted(roots, key=lambda root: root.start_time_ns, reverse=True)
    stack = [(root, context) for root in ordered]
    while stack:
        node, outer = stack.pop()
        inner = visit(node, outer)
        children = node.children
        if children:
            stack += [(child, inner) for child in reversed(children)]
