"""Fragmentation: what the CUDA caching allocator holds without anybody using it."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

import torch

from fastsa.records.profile import Fragmentation


def fragmentation(device: torch.device) -> Fragmentation | None:
    """The allocator of `device` as it is now; None if it is no CUDA device.

    Source: `torch.cuda.memory_snapshot`, which sees all counts at the same moment.
    """
    if device.type != "cuda":
        return None
    index = device.index  # torch's stubs deny that it may be None
    current = torch.cuda.current_device() if index is None else index
    return of_segments(each for each in _segments() if each["device"] == current)


def of_segments(segments: Iterable[Mapping[str, Any]]) -> Fragmentation:
    """The same of segments as torch's snapshot lists them, all of one device.

    A block that waits for another stream before it is free counts as neither: nobody has it
    allocated any more, and nobody can have it yet.
    """
    reserved = allocated = 0
    free: list[int] = []
    for segment in segments:
        reserved += int(segment["total_size"])
        for block in segment["blocks"]:
            if block["state"] == "active_allocated":
                allocated += int(block["size"])
            elif block["state"] == "inactive":
                free.append(int(block["size"]))
    return Fragmentation(reserved, allocated, max(free, default=0), len(free))


def _segments() -> list[dict[str, Any]]:
    snapshot: Any = torch.cuda.memory_snapshot
    if "include_traces" in inspect.signature(snapshot).parameters:  # not in older versions
        # A recorded history would be copied with it: millions of events.
        return list(snapshot(include_traces=False))
    return list(snapshot())
