"""Resident memory: what is alive on a device now, and what the optimizers will still add."""

from __future__ import annotations

import contextlib
import copy
import gc
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import Optimizer

from fastsa.profiler.capture import rounded
from fastsa.profiler.timeline import Category


@dataclass(frozen=True)
class Storage:
    """A live block: its bytes and what it is for (one of timeline.CATEGORIES)."""

    bytes: int
    category: Category


def live_bytes(device: torch.device) -> int:
    """Bytes allocated on `device` now.

    CUDA: as the caching allocator counts them. CPU: the storages of all tensors Python can reach.
    """
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device))
    return sum(storage.bytes for storage in live_storages(device).values())


def live_storages(device: torch.device) -> dict[int, Storage]:
    """All storages of tensors on `device` that Python can reach, by address."""
    found: dict[int, Storage] = {}
    for tensor, category in _live_tensors():
        if tensor.device.type != device.type or isinstance(tensor, FakeTensor):
            continue
        try:
            storage = tensor.untyped_storage()
        except (NotImplementedError, RuntimeError):
            continue  # sparse and wrapper tensors have no storage of their own
        address, size = storage.data_ptr(), rounded(int(storage.nbytes()), device)
        if size and (address not in found or found[address].category == "other"):
            found[address] = Storage(size, category)
    return found


def _live_tensors() -> Iterator[tuple[torch.Tensor, Category]]:
    objects = gc.get_objects()
    for item in objects:
        kind = type(item)
        if issubclass(kind, torch.nn.Module):
            for buffer in item.__dict__.get("_buffers", {}).values():
                if buffer is not None:
                    yield buffer, "buffer"
        elif issubclass(kind, Optimizer):
            for tensor in _state_tensors(item):
                yield tensor, "optimizer"
        elif issubclass(kind, torch.nn.Parameter):
            yield item, "parameter"
            if item.grad is not None:
                yield item.grad, "gradient"
        elif issubclass(kind, torch.Tensor):
            yield item, "other"


def optimizers() -> list[Optimizer]:
    """All optimizers of this process."""
    return [item for item in gc.get_objects() if issubclass(type(item), Optimizer)]


def pending_optimizer_bytes(device: torch.device) -> int:
    """Estimated bytes of optimizer state that the first optimizer step will still allocate.

    A copy of each optimizer takes one step on fake tensors.
    """
    return sum(_pending(optimizer, device) for optimizer in optimizers())


def _pending(optimizer: Optimizer, device: torch.device) -> int:
    missing = [
        {**group, "params": [p for p in group["params"] if p.requires_grad and p not in state]}
        for state in (optimizer.state,)
        for group in optimizer.param_groups
    ]
    with FakeTensorMode():
        for group in missing:
            group["params"] = [_fake_parameter(p) for p in group["params"]]
        trial = copy.copy(optimizer)
        trial.param_groups = missing
        trial.state = defaultdict(dict)
        trial.defaults = dict(optimizer.defaults)
        # The state is made before the update, which fake tensors may refuse.
        with contextlib.suppress(RuntimeError, TypeError, ValueError, AttributeError):
            _step_without_hooks(trial)
        return sum(
            rounded(int(t.untyped_storage().nbytes()), device)
            for t in _state_tensors(trial)
            if t.device.type == device.type
        )


def _fake_parameter(parameter: torch.Tensor) -> torch.nn.Parameter:
    fake = torch.empty_strided(
        parameter.size(), parameter.stride(), dtype=parameter.dtype, device=parameter.device
    )
    made = torch.nn.Parameter(fake)
    made.grad = torch.empty_like(fake)
    return made


def _step_without_hooks(optimizer: Optimizer) -> None:
    step = type(optimizer).step
    getattr(step, "__wrapped__", step)(optimizer)


def _state_tensors(optimizer: Optimizer) -> Iterator[torch.Tensor]:
    for state in optimizer.state.values():
        if isinstance(state, dict):
            yield from (value for value in state.values() if isinstance(value, torch.Tensor))
