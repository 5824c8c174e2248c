"""Fragmentation, read from snapshots in the form of torch's own."""

from __future__ import annotations

from typing import Any

import torch

from fastsa.profiler.fragmentation import fragmentation, of_segments
from fastsa.records.profile import Fragmentation

MIB = 2**20


def segment(*blocks: tuple[str, int], device: int = 0) -> dict[str, Any]:
    """A segment cut into blocks, as `torch.cuda.memory_snapshot` lists it."""
    used = sum(size for state, size in blocks if state == "active_allocated")
    return {
        "device": device,
        "address": 0x7F0000000000,
        "total_size": sum(size for _, size in blocks),
        "allocated_size": used,
        "active_size": used + sum(s for state, s in blocks if state == "active_awaiting_free"),
        "requested_size": used,
        "stream": 0,
        "segment_type": "large",
        "segment_pool_id": (0, 0),
        "is_expandable": False,
        "frames": [],
        "blocks": [
            {"address": 0, "size": size, "requested_size": size, "state": state, "frames": []}
            for state, size in blocks
        ],
    }


def test_holes() -> None:
    found = of_segments(
        [
            segment(("active_allocated", 5 * MIB), ("inactive", 7 * MIB), ("inactive", MIB)),
            segment(("inactive", 20 * MIB)),
            segment(("active_allocated", 2 * MIB), ("active_awaiting_free", 30 * MIB)),
        ]
    )
    assert found == Fragmentation(
        reserved_bytes=65 * MIB,
        allocated_bytes=7 * MIB,
        largest_free_bytes=20 * MIB,
        free_blocks=3,
    )


def test_nothing_reserved() -> None:
    assert of_segments([]) == Fragmentation(0, 0, 0, 0)


def test_full() -> None:
    assert of_segments([segment(("active_allocated", MIB))]) == Fragmentation(MIB, MIB, 0, 0)


def test_no_gpu() -> None:
    assert fragmentation(torch.device("cpu")) is None
