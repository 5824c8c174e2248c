"""Autograd: what it keeps between a forward and its backward."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from fastsa.instrumentation.storages import Storage
from fastsa.records.profile import Saved

_FIELD = "_saved_"
_PERSISTENT = ("parameter", "buffer", "optimizer")


@dataclass(frozen=True, slots=True)
class Held:
    """A saved storage, and the sequence number that its node shares with the node's runs."""

    saved: Saved
    sequence: int


def saved_storages(
    outputs: Iterable[torch.Tensor], alive: Mapping[int, Storage]
) -> dict[int, Held]:
    """Every storage that the autograd graph behind `outputs` keeps, by address.

    `alive` are the storages from before the forward: parameters and buffers are among them.

    Reading a node's saved fields makes new handles to the same storages and copies nothing.
    """
    found: dict[int, Held] = {}
    for node in _nodes(output.grad_fn for output in outputs if output.grad_fn is not None):
        for field, tensor in _saved_tensors(node):
            storage = tensor.untyped_storage()
            address = storage.data_ptr()
            if address in found:
                continue
            saved = Saved(
                node=node.name(),
                field=field,
                bytes=int(storage.nbytes()),
                shape=tuple(tensor.shape),
                dtype=str(tensor.dtype).removeprefix("torch."),
                parameter=address in alive and alive[address].category in _PERSISTENT,
            )
            found[address] = Held(saved, int(node._sequence_nr()))
    return found


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


@cache
def _saved_fields(kind: type) -> tuple[str, ...]:
    return tuple(name for name in dir(kind) if name.startswith(_FIELD))


def _saved_tensors(node: Any) -> Iterator[tuple[str, torch.Tensor]]:
    kind: type = type(node)
    for name in _saved_fields(kind):
        try:
            if _is_hooked(getattr(node, f"_raw{name}", None)):
                continue
            value = getattr(node, name)
        except RuntimeError:
            continue  # already released by an earlier backward
        values = value if isinstance(value, (list, tuple)) else [value]
        for item in values:
            if isinstance(item, torch.Tensor):
                yield name.removeprefix(_FIELD), item
    for item in _saved_by_function(node):
        if isinstance(item, torch.Tensor):
            yield "saved_tensors", item


def _saved_by_function(node: Any) -> Sequence[Any]:
    """What a function written in Python has saved."""
    try:
        if not hasattr(node, "saved_tensors") or _is_hooked(node._raw_saved_tensors):
            return ()
        saved: Sequence[Any] = node.saved_tensors
    except RuntimeError:
        return ()  # already released by an earlier backward
    return saved


def _is_hooked(raw: Any) -> bool:
    """Whether reading a saved tensor would run the program's own code: checkpoint's is a forward.

    What its hooks keep instead is not autograd's.
    """
    saved = raw if isinstance(raw, (list, tuple)) else [raw]
    return any(getattr(each, "unpack_hook", None) is not None for each in saved)
