"""Out of memory: whether an error is that, what it asked for, and what is alive when it comes."""

from __future__ import annotations

import gc
import re
import traceback
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TypeGuard

import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils import _pytree as pytree

from fastsa.instrumentation.allocators import cupy as cupy_memory
from fastsa.instrumentation.allocators.events import rounded
from fastsa.instrumentation.storages import (
    Owners,
    Storage,
    live_bytes,
    live_storages,
    owners,
    storage_address,
)
from fastsa.instrumentation.threads import alone
from fastsa.profiler.autograd import saved_storages
from fastsa.records.profile import Saved
from fastsa.records.timeline import Allocation, Site, Timeline

_MESSAGE = re.compile(
    r"DefaultCPUAllocator: (can't allocate memory|not enough memory)"
    r"|CUDA error: out of memory|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED"
)
_REQUESTS = (
    re.compile(r"Tried to allocate (?P<size>[\d.]+) (?P<unit>[KMGT]iB|bytes)"),  # CUDA
    re.compile(r"you tried to allocate (?P<size>\d+) (?P<unit>bytes)"),  # CPU
    re.compile(r"Out of memory allocating (?P<size>[\d,]+) (?P<unit>bytes)"),  # CuPy
)
_UNITS = {"bytes": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_NOT_THE_SCRIPT = ("/torch/", "/fastsa/", "/cupy/", "/cupyx/")


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that an allocation failed for want of memory.

    PyTorch's on CUDA and on the CPU, CuPy's, Python's own MemoryError. One that happened in another
    process and is only quoted (by a DataLoader, say) is none.
    """
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    first_line = str(error).partition("\n")[0] if isinstance(error, RuntimeError) else ""
    return _MESSAGE.search(first_line) is not None


def origin(error: BaseException) -> BaseException | None:
    """The out-of-memory error behind `error`: itself, or one that Python would print above it.

    Of SystemExit only an exit code that says failure counts: the script has seen to the others.
    """
    if isinstance(error, SystemExit) and error.code in (None, 0):
        return None
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        if is_out_of_memory(current):
            return current
        seen.add(id(current))
        hidden = current.__suppress_context__
        current = current.__cause__ or (None if hidden else current.__context__)
    return None


def describe(error: BaseException) -> str:
    """An error as the last lines of its traceback say it."""
    return "".join(traceback.format_exception_only(error)).strip()


def requested_bytes(text: str) -> int | None:
    """What the failing allocation asked for, read from an error's text; None if it does not say."""
    for pattern in _REQUESTS:
        if found := pattern.search(text):
            return int(float(found["size"].replace(",", "")) * _UNITS[found["unit"]])
    return None


def snapshot(
    device: torch.device, error: BaseException, models: Iterable[nn.Module] = ()
) -> Timeline:
    """What is alive on `device` now, as a timeline without events.

    Found are the storages of all tensors Python can reach, and those that the autograd graphs
    behind them keep; while other threads are at work only what models and optimizers hold.
    `models` give their parameters the names of modules. Nobody recorded where tensors were made:
    `source` is the line at which a frame of `error`'s traceback holds one. On CUDA, what the
    allocator counts beyond them is one allocation of category "other".
    """
    with alone() as is_alone:
        blocks = list(_alive(device, error, owners(models), is_alone))
    if device.type == "cuda":
        blocks += _unknown(device, sum(block.bytes for block in blocks))
    sites = {site: number for number, site in enumerate(dict.fromkeys(b.site for b in blocks))}
    total = sum(block.bytes for block in blocks)
    return Timeline(
        events=0,
        resident_bytes=total,
        peak_bytes=total,
        peak_event=0,
        seconds=0.0,
        sites=tuple(sites),
        allocations=tuple(
            Allocation(block.bytes, None, None, None, None, sites[block.site]) for block in blocks
        ),
    )


@dataclass(frozen=True)
class _Block:
    bytes: int
    site: Site


def _alive(
    device: torch.device, error: BaseException, owned: Owners, is_alone: bool
) -> Iterator[_Block]:
    known = live_storages(device, owned)
    saved = _saved(device, known) if is_alone else {}
    holders = _holders(error) if is_alone else {}
    for address, storage in known.items():
        kept, source = saved.pop(address, None), holders.get(address)
        if kept is not None and storage.category == "other":
            yield _Block(storage.bytes, Site("activation", source=source, node=kept.node))
        else:
            yield _Block(storage.bytes, Site(storage.category, None, None, storage.module, source))
    for kept in saved.values():  # no tensor of Python's: a node alone holds it
        yield _Block(rounded(kept.bytes, device), Site("activation", node=kept.node))


def _unknown(device: torch.device, found: int) -> Iterator[_Block]:
    of_cupy = cupy_memory.live_bytes(device)
    if of_cupy:
        yield _Block(of_cupy, Site("library", op=cupy_memory.OP))
    rest = live_bytes(device) - of_cupy - found
    if rest > 0:
        yield _Block(rest, Site("other"))


def _saved(device: torch.device, alive: Mapping[int, Storage]) -> dict[int, Saved]:
    """What autograd keeps on `device`, behind any tensor that Python can reach."""
    ends = [
        item
        for item in gc.get_objects()
        if _is_real(item) and item.grad_fn is not None and item.device.type == device.type
    ]
    found = saved_storages(ends, alive)
    return {address: held.saved for address, held in found.items() if held.saved.bytes}


def _holders(error: BaseException) -> dict[int, str]:
    """The line at which each tensor's outermost holder stands, of the frames of the script."""
    found: dict[int, str] = {}
    for trace in _traces(error):
        file = trace.tb_frame.f_code.co_filename
        if not file.endswith(".py") or any(part in file for part in _NOT_THE_SCRIPT):
            continue
        for tensor in pytree.tree_leaves(dict(trace.tb_frame.f_locals)):
            address = _address(tensor)
            if address:
                found.setdefault(address, f"{file}:{trace.tb_lineno}")
    return found


def _traces(error: BaseException) -> Iterator[TracebackType]:
    """The traceback of `error`, outermost first, then those of what it came from."""
    current: BaseException | None = error
    seen: set[int] = set()
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        trace = current.__traceback__
        while trace is not None:
            yield trace
            trace = trace.tb_next
        current = current.__cause__ or current.__context__


def _is_real(item: object) -> TypeGuard[torch.Tensor]:
    kind = type(item)  # isinstance would ask proxies, which may run code
    return issubclass(kind, torch.Tensor) and not issubclass(kind, FakeTensor)


def _address(item: object) -> int:
    """Where a tensor's storage is; 0 for anything else, and for one without storage."""
    return storage_address(item) if _is_real(item) else 0
