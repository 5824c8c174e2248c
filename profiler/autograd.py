"""Autograd: what it keeps between a forward and its backward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import torch

from fastsa.profiler.profile import Saved
from fastsa.profiler.resident import live_storages

_FIELD = "_saved_"


def saved_storages(outputs: Iterable[torch.Tensor]) -> dict[int, Saved]:
    """Every storage that the autograd graph behind `outputs` keeps, by address.

    Reading a node's saved fields makes new handles to the same storages and copies nothing.
    """
    found: dict[int, Saved] = {}
    persistent: set[int] = set()
    for node in _nodes(output.grad_fn for output in outputs if output.grad_fn is not None):
        for field, tensor in _saved_tensors(node):
            storage = tensor.untyped_storage()
            address = storage.data_ptr()
            if address in found:
                continue
            if not persistent:
                persistent = _persistent(tensor.device)
            found[address] = Saved(
                node=node.name(),
                field=field,
                bytes=int(storage.nbytes()),
                shape=tuple(tensor.shape),
                dtype=str(tensor.dtype).removeprefix("torch."),
                parameter=address in persistent,
            )
    return found


def _persistent(device: torch.device) -> set[int]:
    storages = live_storages(device)
    return {a for a, s in storages.items() if s.category in ("parameter", "buffer", "optimizer")}


def _nodes(roots: Iterable[Any]) -> Iterator[Any]:
    stack = list(roots)
    seen = set(stack)
    while stack:
        node = stack.pop()
        yield node
        for following, _ in node.next_functions:
            if following is not None and following not in seen:
                seen.add(following)
                stack.append(following)


def _saved_tensors(node: Any) -> Iterator[tuple[str, torch.Tensor]]:
    for name in dir(node):
        if not name.startswith(_FIELD):
            continue
        try:
            value = getattr(node, name)
        except RuntimeError:
            continue  # already released by an earlier backward
        values = value if isinstance(value, (list, tuple)) else [value]
        for item in values:
            if isinstance(item, torch.Tensor):
                yield name.removeprefix(_FIELD), item
    if hasattr(node, "saved_tensors"):
        for item in node.saved_tensors:
            if isinstance(item, torch.Tensor):
                yield "saved_tensors", item
