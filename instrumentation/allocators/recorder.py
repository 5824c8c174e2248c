"""Recorder: the recording of the allocator behind a device."""

from __future__ import annotations

import torch

from fastsa.instrumentation.allocators.cpu import CpuAllocator
from fastsa.instrumentation.allocators.cuda import CudaAllocator
from fastsa.instrumentation.allocators.events import Allocator
from fastsa.instrumentation.kineto import is_running


def recorder(device: torch.device, *, alive: bool = False) -> Allocator:
    """A recorder of the allocator behind `device`.

    With `alive`, the releases of what was there before are events too (CUDA's always are).
    """
    if device.type == "cuda":
        return CudaAllocator(device)
    return CpuAllocator(alive=alive)


def is_taken(device: torch.device) -> bool:
    """Whether the program is recording the allocator itself."""
    if device.type == "cuda":
        return bool(torch._C._cuda_isHistoryEnabled())
    return is_running()
