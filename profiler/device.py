"""Device: its name, and the memory it has free for this process."""

from __future__ import annotations

from pathlib import Path

import torch

RESERVE = 0.05  # of the free memory: allocator fragmentation, cuBLAS and NCCL workspaces


def device_name(device: torch.device) -> str:
    """The name plans are keyed by: the GPU's, or the CPU and how many threads torch uses."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({torch.get_num_threads()} threads)"


def versions() -> dict[str, str]:
    """Versions that decide whether a measurement or a plan still holds."""
    from fastsa import __version__

    return {
        "fastsa": __version__,
        "torch": str(torch.__version__),
        "cuda": torch.version.cuda or "none",
    }


def available_bytes(device: torch.device) -> int | None:
    """Bytes this process could have allocated in all: what it holds, and what is still free.

    CUDA: `cudaMemGetInfo`, so other processes' memory is not counted. CPU: MemAvailable of
    /proc/meminfo. None where nobody knows.
    """
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return free + torch.cuda.memory_reserved(device)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None
