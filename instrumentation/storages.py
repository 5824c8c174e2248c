"""Storages: what is alive on a device now, and what the optimizers will still add."""

from __future__ import annotations

import contextlib
import copy
import gc
import weakref
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch._subclasses.fake_tensor import FakeTensor, FakeTensorMode
from torch.optim import Optimizer
from torch.utils._pytree import tree_leaves

from fastsa.instrumentation.allocators import cupy as cupy_memory
from fastsa.instrumentation.allocators.events import rounded
from fastsa.instrumentation.threads import alone
from fastsa.records.timeline import Category


@dataclass(frozen=True)
class Storage:
    """A live block: its bytes, what it is for, and the path of the module whose it is."""

    bytes: int
    category: Category
    module: str | None = None


Owners = Mapping[int, str]
"""The path of the module by the `id` of each of its parameters and buffers."""


def owners(modules: Iterable[torch.nn.Module]) -> dict[int, str]:
    """The owners of the parameters and buffers of root modules."""
    found: dict[int, str] = {}
    for path, module in named_modules(modules):
        for tensor in (*module._parameters.values(), *module._buffers.values()):
            if tensor is not None:
                found.setdefault(id(tensor), path)
    return found


def named_modules(roots: Iterable[torch.nn.Module]) -> Iterator[tuple[str, torch.nn.Module]]:
    """All modules with their paths; those of several roots begin with the root's class."""
    known = list(roots)
    for root in known:
        name = type(root).__name__
        for path, module in root.named_modules():
            if not path:
                yield name, module
            else:
                yield (path if len(known) == 1 else f"{name}.{path}"), module


def live_bytes(device: torch.device) -> int:
    """Bytes allocated on `device` now.

    CUDA: as the caching allocator counts them, and what is used of CuPy's pools. CPU: the storages
    of all tensors Python can reach.
    """
    if device.type == "cuda":
        return int(torch.cuda.memory_allocated(device)) + cupy_memory.live_bytes(device)
    return sum(storage.bytes for storage in live_storages(device).values())


def local(tensor: torch.Tensor) -> torch.Tensor:
    """What this process holds of a tensor: its shard of one that is spread over ranks.

    Source: torch.distributed.tensor.DTensor.
    """
    shard = getattr(tensor, "_local_tensor", None)
    return shard if isinstance(shard, torch.Tensor) else tensor


def storage_address(tensor: torch.Tensor) -> int:
    """Where a tensor's storage is; 0 if it has none.

    Sparse, nested and wrapper tensors have none of their own, uninitialised and meta ones none yet.
    """
    try:
        return tensor.untyped_storage().data_ptr()
    except (NotImplementedError, RuntimeError, ValueError):
        return 0


def live_storages(device: torch.device, owned: Owners | None = None) -> dict[int, Storage]:
    """All storages of tensors on `device` that Python can reach, by address."""
    found: dict[int, Storage] = {}
    owned = owned or {}
    for each, category, owner in _live_tensors(owned):
        tensor = local(each)
        if tensor.device.type != device.type or isinstance(tensor, FakeTensor):
            continue
        address = storage_address(tensor)
        size = rounded(int(tensor.untyped_storage().nbytes()), device) if address else 0
        if size and (address not in found or found[address].category == "other"):
            found[address] = Storage(size, category, owned.get(owner))
    return found


def _live_tensors(owned: Owners) -> Iterator[tuple[torch.Tensor, Category, int]]:
    """Tensors, what they are for, and the `id` of the parameter or buffer they belong to.

    While other threads are at work these are only what modules and optimizers have, and of
    gradients those of `owned` parameters.
    """
    with alone() as is_alone:
        for tensor, category, owner in _reachable_tensors():
            if is_alone or category in ("parameter", "buffer", "optimizer"):
                yield tensor, category, owner
            if category == "parameter" and (is_alone or owner in owned):
                gradient = tensor.grad
                if gradient is not None:
                    yield gradient, "gradient", owner


def _reachable_tensors() -> Iterator[tuple[torch.Tensor, Category, int]]:
    for item in gc.get_objects():
        kind = type(item)
        if issubclass(kind, torch.nn.Module):
            for buffer in item.__dict__.get("_buffers", {}).values():
                if buffer is not None:
                    yield buffer, "buffer", id(buffer)
        elif issubclass(kind, Optimizer):
            for parameter, state in item.state.items():
                for tensor in _tensors_of(state):
                    yield tensor, "optimizer", id(parameter)
        elif issubclass(kind, torch.nn.Parameter):
            yield item, "parameter", id(item)
        elif issubclass(kind, torch.Tensor):
            yield item, "other", id(item)


def optimizers() -> list[Optimizer]:
    """All optimizers of this process."""
    return [item for item in gc.get_objects() if issubclass(type(item), Optimizer)]


def pending_optimizer_bytes(device: torch.device) -> int:
    """Estimated bytes of optimizer state that the first optimizer step will still allocate.

    A copy of each optimizer takes one step on fake tensors.
    """
    return sum(_pending(optimizer, device) for optimizer in optimizers())


def _pending(optimizer: Optimizer, device: torch.device) -> int:
    # Parameters that are alike get state that is alike: one of each takes the step.
    alike: dict[torch.Tensor, int] = {}
    with FakeTensorMode():
        groups = [{**group, "params": []} for group in optimizer.param_groups]
        for group, trial_group in zip(optimizer.param_groups, groups, strict=True):
            missing = [p for p in group["params"] if p.requires_grad and p not in optimizer.state]
            for kind, count in Counter(map(_kind, missing)).items():
                fake = _fake_parameter(*kind)
                alike[fake] = count
                trial_group["params"].append(fake)
        trial = _copied(optimizer)
        if trial is None:
            return 0
        trial.param_groups = groups
        trial.state = defaultdict(dict)
        # The state is made before the update, which fake tensors may refuse.
        with contextlib.suppress(RuntimeError, TypeError, ValueError, AttributeError):
            _step_without_hooks(trial)
        return sum(
            alike.get(parameter, 1) * rounded(int(t.untyped_storage().nbytes()), device)
            for parameter, state in trial.state.items()
            for t in _tensors_of(state)
            if t.device.type == device.type
        )


def _copied(optimizer: Optimizer) -> Optimizer | None:
    """A copy whose step touches nothing of the original's; None if there is no saying.

    What wraps another optimizer (Accelerate's, Lightning's) passes on what is set and done to it.
    """
    own = vars(optimizer)
    if not own.keys() >= _OWN:
        return None
    more = {
        name: value
        for name, value in own.items()
        # Functions: learning rate schedules lay one over `step`.
        if not name.startswith("_optimizer_") and name not in _OWN and not callable(value)
    }
    if not all(isinstance(leaf, _PLAIN) for leaf in tree_leaves(more)):
        return None
    copied = copy.copy(optimizer)
    vars(copied).update(copy.deepcopy(more), defaults=dict(optimizer.defaults))
    return copied


_OWN = {"param_groups", "state", "defaults"}
_PLAIN = (type(None), bool, int, float, complex, str, bytes, torch.dtype)

_Kind = tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device]


def _kind(parameter: torch.Tensor) -> _Kind:
    parameter = local(parameter)
    return parameter.size(), parameter.stride(), parameter.dtype, parameter.device


def _fake_parameter(
    size: torch.Size, stride: tuple[int, ...], dtype: torch.dtype, device: torch.device
) -> torch.nn.Parameter:
    fake = torch.empty_strided(size, stride, dtype=dtype, device=device)
    made = torch.nn.Parameter(fake)
    made.grad = torch.empty_like(fake)
    return made


def _step_without_hooks(optimizer: Optimizer) -> None:
    step = type(optimizer).step
    getattr(step, "__wrapped__", step)(optimizer)


def _tensors_of(state: object) -> Iterator[torch.Tensor]:
    if isinstance(state, dict):
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))


def optimizer_storages(optimizer: Optimizer, owned: Owners) -> dict[int, Storage]:
    """The storages of an optimizer's state, parameters and their gradients, by address.

    Much cheaper than to look for all that is alive.
    """
    found: dict[int, Storage] = {}

    def add(tensor: torch.Tensor, category: Category, module: str | None) -> None:
        address = storage_address(local(tensor))
        if not address:
            return
        size = rounded(int(local(tensor).untyped_storage().nbytes()), tensor.device)
        found[address] = Storage(size, category, module)

    for group in optimizer.param_groups:
        for parameter in group["params"]:
            module = owned.get(id(parameter))
            for tensor in _tensors_of(optimizer.state.get(parameter)):
                add(tensor, "optimizer", module)
            if parameter.grad is not None:
                add(parameter.grad, "gradient", module)
    return found


class StorageFinalizers:
    """Tells when a storage that is alive now loses its last tensor. What it tells must not fail.

    torch's CPU allocator reports no release of a block that it allocated before the recording.
    """

    def __init__(self, device: torch.device, owned: Owners, tell: Callable[[int], None]) -> None:
        self._tell = tell
        self._tensors: dict[int, int] = {}  # how many of a storage, by address
        self._references: dict[int, tuple[weakref.ref[torch.Tensor], int]] = {}
        seen: set[int] = set()
        for each, _, _ in _live_tensors(owned):
            tensor = local(each)
            if id(tensor) in seen or tensor.device.type != device.type:
                continue
            seen.add(id(tensor))
            self._watch(tensor)

    def _watch(self, tensor: torch.Tensor) -> None:
        address = storage_address(tensor)
        if not address:
            return
        reference = weakref.ref(tensor, self._died)
        self._references[id(reference)] = (reference, address)
        self._tensors[address] = self._tensors.get(address, 0) + 1

    def _died(self, reference: weakref.ref[torch.Tensor]) -> None:
        _, address = self._references.pop(id(reference), (None, 0))
        self._tensors[address] = self._tensors.get(address, 0) - 1
        if not self._tensors[address]:
            self._tell(address)

    def close(self) -> None:
        """Stop telling."""
        self._references.clear()
        self._tensors.clear()
