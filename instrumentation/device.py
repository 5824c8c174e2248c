"""Device: its name, and the memory it has free for this process."""

from __future__ import annotations

from pathlib import Path

import torch

from fastsa import config
from fastsa.planner.budget import parse

RESERVE = 0.05  # of the free memory: allocator fragmentation, cuBLAS and NCCL workspaces


def device_name(device: torch.device) -> str:
    """The name plans are keyed by: the GPU's, or the CPU and how many threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Versions that decide whether a measurement or a plan still holds."""
    from fastsa.version import __version__

    return {
        "fastsa": __version__,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda or "none",
    }


def available_bytes(device: torch.device, held_bytes: int) -> int | None:
    """Bytes this process may have allocated in all, less a reserve.

    What is free now and what it holds already, `held_bytes`. CUDA: `cudaMemGetInfo`, so other
    processes' memory is not counted. CPU: MemAvailable of /proc/meminfo. Never more than the limit
    that is set. None where nobody knows.
    """
    free = _free_cuda(device) if device.type == "cuda" else _free_cpu()
    most = None if free is None else int((free + held_bytes) * (1 - RESERVE))
    sizes = [size for size in (most, limit_bytes()) if size is not None]
    return min(sizes, default=None)


def limit_bytes() -> int | None:
    """The device's memory as the user limits it, None if it is not limited. Raises BadInput."""
    limit = config.user_value("limit").value
    return None if limit is None else parse(limit).resolve(0)


def _free_cuda(device: torch.device) -> int:
    free, _ = torch.cuda.mem_get_info(device)
    # What the caching allocator holds without using it is free for this process too.
    return free + torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)


def _free_cpu() -> int | None:
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
